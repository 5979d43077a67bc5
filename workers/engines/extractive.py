"""The offline summariser: every word of its summary was said in the call or done by a tool, and is cited."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from workers.engines.port import ActionFound, CallSummary, KeyPoint, MadeBy, SpokenLine, ToolOutcome
from workers.grammar import Grammar, Match
from workers.patterns import fill
from workers.profiles import Profile, profile_hash

WORD = re.compile(r"[a-z']+")
MAX_KEY_POINTS = 8
MAX_CITES = 500  # a summary rests on these; a call may have tens of thousands of lines
LONGEST_QUOTE = 160  # characters of a caller's line in the summary
# Said after which the words around them count the other way: "not good".
NEGATIONS = frozenset("not no never don't doesn't didn't isn't wasn't won't can't cannot".split())
POSITIVE = frozenset(
    "thanks thank great good perfect excellent wonderful lovely nice happy glad pleased love like helpful awesome "
    "fantastic brilliant amazing appreciate correct welcome".split()
)
NEGATIVE = frozenset(
    "bad wrong terrible awful horrible angry annoyed annoying hate useless broken problem complaint disappointed "
    "disappointing frustrated frustrating unacceptable late slow worse worst sorry sad stupid refund".split()
)
# A line of these kinds says nothing a reader of a summary wants to know.
SMALL = frozenset(("talk", "yes", "no", "help", "repeat", "goodbye", "cancel", "list"))
NAMES = {"follow_up": "follow up", "action_item": "action item"}


class Extractive:
    """Implements `workers.engines.port.Summariser` from the rules of one profile."""

    def __init__(self, profile: Profile, grammar: Grammar | None = None) -> None:
        self._grammar = grammar or Grammar(profile)
        self._made_by = MadeBy(engine="extractive", model=profile.name, settings=profile_hash(profile))

    def made_by(self) -> MadeBy:
        return self._made_by

    async def summarise(self, lines: Sequence[SpokenLine], tools: Sequence[ToolOutcome]) -> CallSummary:
        caller = [line for line in lines if line.speaker == "caller" and line.text.strip()]
        done = [outcome for outcome in tools if outcome.ok and outcome.arguments.get("title")]
        actions = (*_from_tools(done), *self._unconfirmed(lines, caller, tools))
        points = _key_points(actions) or self._quotes(caller)
        text = _summary(caller, points, saved=len(done), open_=len(actions) - len(done))
        cites = tuple(dict.fromkeys(cite for point in points for cite in point.cites)) or _ids(caller)
        cites = cites[:MAX_CITES]
        return CallSummary(text, points, actions, sentiment(line.text for line in caller), cites)

    def _unconfirmed(
        self, lines: Sequence[SpokenLine], caller: Sequence[SpokenLine], tools: Sequence[ToolOutcome]
    ) -> tuple[ActionFound, ...]:
        """Wishes the caller voiced that no tool fulfilled, unless the caller took them back.

        A line of no turn is no wish: the call ended before anybody knew that the sentence did.
        """
        cited = {cite for outcome in tools if outcome.ok for cite in outcome.cites}
        done = {outcome.arguments.get("title", "") for outcome in tools if outcome.ok}
        found: dict[str, ActionFound] = {}
        latest = ""
        for line in caller:
            match = self._grammar.understand(line.text)
            if match is None:
                continue
            if match.intent.kind in ("no", "cancel"):
                found.pop(latest, None)
            elif match.intent.kind == "action" and line.taken:
                action = _wish(match, line)
                latest = action.title if action else ""
                if action and line.id not in cited and action.title not in done:
                    found[action.title] = action
        return tuple(found.values())

    def _quotes(self, caller: Sequence[SpokenLine]) -> tuple[KeyPoint, ...]:
        """Without any action, the caller's own longest lines, in the order they were said."""
        telling = [line for line in caller if not self._is_small(line.text)]
        longest = sorted(telling, key=lambda line: -len(line.text))[:3]
        return tuple(KeyPoint(_quote(line.text), (line.id,)) for line in telling if line in longest)

    def _is_small(self, text: str) -> bool:
        match = self._grammar.understand(text)
        return match is not None and match.intent.kind in SMALL


def sentiment(texts: Iterable[str]) -> str:
    """positive, neutral or negative, by counting words; a word after a negation counts the other way."""
    score = sum(_line_score(WORD.findall(text.lower())) for text in texts)
    return "positive" if score > 0 else "negative" if score < 0 else "neutral"


def _line_score(words: Sequence[str]) -> int:
    score = 0
    for index, word in enumerate(words):
        value = (word in POSITIVE) - (word in NEGATIVE)
        negated = any(before in NEGATIONS for before in words[max(0, index - 3) : index])
        # "no thank you" is polite, not sad.
        score += -value if negated and word not in ("thank", "thanks") else value
    return score


def _from_tools(done: Sequence[ToolOutcome]) -> tuple[ActionFound, ...]:
    return tuple(
        ActionFound(
            title=outcome.arguments["title"],
            kind=outcome.arguments.get("kind", outcome.name),
            cites=outcome.cites,
            due=outcome.arguments.get("due", ""),
            assignee=outcome.arguments.get("with", "") if outcome.arguments.get("kind") == "action_item" else "",
        )
        for outcome in done
    )


def _wish(match: Match, line: SpokenLine) -> ActionFound | None:
    """What the intent's tool would have been given; none while its title is unknown."""
    tool = match.intent.tool
    if tool is None:
        return None
    arguments = {name: fill(text, match.slots) for name, text in tool.arguments.items()}
    if not arguments.get("title") or not match.slots:
        return None
    assignee = arguments.get("with", "") if arguments.get("kind") == "action_item" else ""
    return ActionFound(arguments["title"], arguments.get("kind", ""), (line.id,), arguments.get("due", ""), assignee)


def _key_points(actions: Sequence[ActionFound]) -> tuple[KeyPoint, ...]:
    return tuple(KeyPoint(_described(action), action.cites) for action in actions[:MAX_KEY_POINTS] if action.cites)


def _described(action: ActionFound) -> str:
    due_part = f", {_readable(action.due)}" if action.due else ""
    return f"{NAMES.get(action.kind, action.kind).capitalize()}: {action.title}{due_part}"


def _readable(moment: str) -> str:
    return moment.replace("T", " ")


def _summary(caller: Sequence[SpokenLine], points: Sequence[KeyPoint], *, saved: int, open_: int) -> str:
    if not caller:
        return "The caller said nothing that was understood."
    told = "; ".join(point.text for point in points)
    if not saved and not open_:
        return f"The caller said: {told}." if told else "Nothing was asked for."
    counts = f"{_things(saved)} saved" + (f", {_things(open_)} mentioned but not saved" if open_ else "")
    return f"{counts.capitalize()}. {told}."


def _things(count: int) -> str:
    return "one thing was" if count == 1 else f"{count} things were" if count else "nothing was"


def _quote(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE].rsplit(" ", 1)[0] + " …"


def _ids(lines: Sequence[SpokenLine]) -> tuple[str, ...]:
    return tuple(line.id for line in lines)
