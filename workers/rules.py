"""The rule agent: answers from its profile alone, as a pure function of the conversation so far."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from workers import due
from workers.agents import (
    AgentSaid,
    CallerSaid,
    CallTool,
    Conversation,
    HandedOver,
    HandOver,
    HangUp,
    HistoryItem,
    Said,
)
from workers.agents import ToolReturned as Returned
from workers.engines.port import MadeBy
from workers.grammar import Grammar, Match
from workers.patterns import OPTIONAL_IN_TEXT, fill, template_slots
from workers.profilechecks import SAID
from workers.profiles import Intent, Profile, profile_hash
from workers.wording import SENTENCE_END, as_sentence, heard_sentences, say, spoken

CONFIRM = "confirm"  # what was asked, when it was no slot
MAX_LISTED = 3  # a list is one sentence for the count and at most three more


@dataclass(frozen=True, slots=True)
class Draft:
    """Something being made: its intent and what is known of it."""

    intent: Intent
    slots: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Where the conversation stands, derived from its history."""

    draft: Draft | None = None
    asked: str = ""  # "" nothing, CONFIRM, or the slot of `draft` that was asked for
    running: Draft | None = None  # its tool was called and has not come back
    misses: int = 0  # turns in a row that were not understood
    talked: Mapping[str, int] = field(default_factory=dict)  # intent -> how often its lines were said
    saved: tuple[str, ...] = ()  # what the tools brought home, as the list tells it
    last: AgentSaid | None = None
    arrival: tuple[Said, ...] = ()  # what is to be said first by who was handed the call


Answer = tuple[Dialogue, tuple[Said, ...]]


class RuleAgent:
    """Implements `workers.agents.Agent`. Holds nothing of any call."""

    def __init__(self, profile: Profile, grammar: Grammar | None = None) -> None:
        self._profile = profile
        self._grammar = grammar or Grammar(profile)
        self._intents = {intent.name: intent for intent in profile.intents}
        self._zone: tzinfo = UTC if profile.timezone == "UTC" else ZoneInfo(profile.timezone)
        self._made_by = MadeBy(engine="rules", model=profile.name, settings=profile_hash(profile))
        self._kinds: dict[str, Callable[[Dialogue, Match, datetime], Answer]] = {
            "action": self._action,
            "detail": self._detail,
            "yes": self._yes,
            "no": self._no,
            "cancel": self._no,
            "list": self._list,
            "talk": self._talk,
            "help": self._talk,
            "repeat": self._repeat,
            "hand_over": self._hand_over,
            "goodbye": self._goodbye,
        }

    def made_by(self) -> MadeBy:
        return self._made_by

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        for said in self.answer(conversation):
            yield said

    def answer(self, conversation: Conversation) -> tuple[Said, ...]:
        """Everything said and done next; at least one thing, always the same for the same conversation."""
        now = conversation.started_at.astimezone(self._zone)
        if conversation.cause == "greeting":
            return say(self._profile.greeting)
        if conversation.cause == "request":
            return say(conversation.instruction or self._profile.fallback)
        history, agent = conversation.history, conversation.agent
        if conversation.cause == "prompt":
            return self._prompt(self.fold(history, now, agent), conversation.prompts)
        if conversation.cause == "handover":
            return self.fold(history, now, agent).arrival or self._introduction()
        *before, last = history or (CallerSaid(""),)
        dialogue = self.fold(before, now, agent)
        if isinstance(last, Returned):
            return self._returned(dialogue, last)
        return self._turn(dialogue, last if isinstance(last, CallerSaid) else CallerSaid(""), now)[1]

    def fold(self, history: Sequence[HistoryItem], now: datetime, agent: str = "") -> Dialogue:
        """The dialogue after this history: every turn of this agent is answered again, and only the state is kept.

        What was said to other agents is theirs; what their tools saved is the call's.
        """
        dialogue, wish = Dialogue(), CallerSaid("")
        for item, mine in _with_owner(history, agent):
            match item:
                case CallerSaid(cut_off=True):
                    pass  # asked for again: the whole of it follows
                case CallerSaid():
                    dialogue, wish = (self._turn(dialogue, item, now)[0] if mine else dialogue), item
                case Returned():
                    saved = (*dialogue.saved, _item(dialogue.running, item)) if item.status == "ok" else dialogue.saved
                    dialogue = replace(dialogue, running=None, saved=saved)
                case HandedOver():
                    dialogue = replace(dialogue, draft=None, asked="", running=None, misses=0)
                    dialogue = self._arrive(dialogue, wish, now) if mine else dialogue
                case _:
                    dialogue = replace(dialogue, last=item)
        return dialogue

    def _turn(self, dialogue: Dialogue, said: CallerSaid, now: datetime) -> Answer:
        match = self._key(said.text) if said.kind == "dtmf" else self._choose(dialogue, said.text)
        if match is None and said.kind != "dtmf" and said.text.strip() and self._profile.otherwise:
            match = Match(self._intents[self._profile.otherwise], {SAID: said.text.strip()})
        if match is None:
            return self._missed(dialogue)
        return self._kinds[match.intent.kind](replace(dialogue, misses=0), match, now)

    def _arrive(self, dialogue: Dialogue, wish: CallerSaid, now: datetime) -> Dialogue:
        """What the caller said to the other one is done, if it can be done here; else the agent introduces itself."""
        match = self._choose(dialogue, wish.text) if wish.kind != "dtmf" else None
        if match is not None and match.intent.kind == "action":
            dialogue, said = self._action(dialogue, match, now)
            return replace(dialogue, arrival=said)
        return replace(dialogue, arrival=self._introduction())

    def _introduction(self) -> tuple[Said, ...]:
        return say(self._profile.introduction or self._profile.greeting)

    def _key(self, keys: str) -> Match | None:
        """The last key decides: who presses again has changed their mind."""
        name = self._profile.dtmf.get(keys.strip()[-1:], "")
        return Match(self._intents[name], {}) if name else None

    def _choose(self, dialogue: Dialogue, text: str) -> Match | None:
        """The reading that answers the open question, else the first one that makes sense on its own."""
        matches = self._grammar.matches(text)
        details = [match for match in matches if match.intent.kind == "detail" and self._fits(dialogue, match)]
        if dialogue.asked and dialogue.asked != CONFIRM:
            details.sort(key=lambda match: dialogue.asked not in match.slots)
            if details and dialogue.asked in details[0].slots:
                return details[0]
        others = [match for match in matches if match.intent.kind != "detail"]
        return next(iter([*others, *details]), None)

    def _fits(self, dialogue: Dialogue, match: Match) -> bool:
        return dialogue.draft is not None and set(match.slots) <= self._grammar.slots[dialogue.draft.intent.name]

    def _missed(self, dialogue: Dialogue) -> Answer:
        texts = self._profile.texts.not_understood
        text = texts[min(dialogue.misses, len(texts) - 1)]
        return replace(dialogue, misses=dialogue.misses + 1), say(text, self._question(dialogue))

    def _action(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        after, said = self._advance(dialogue, Draft(match.intent, match.slots), now)
        return after, (*say(*match.intent.say[:1]), *said)

    def _detail(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        if dialogue.draft is None:
            return self._missed(dialogue)
        draft = replace(dialogue.draft, slots={**dialogue.draft.slots, **match.slots})
        return self._advance(dialogue, draft, now)

    def _advance(self, dialogue: Dialogue, draft: Draft, now: datetime) -> Answer:
        """Ask for what is missing, then whether it is right, then do it."""
        missing = next((slot for slot in draft.intent.required if not draft.slots.get(slot)), "")
        if missing or draft.intent.confirm:
            asking = replace(dialogue, draft=draft, asked=missing or CONFIRM)
            return asking, say(self._question(asking))
        return self._execute(dialogue, draft, now)

    def _question(self, dialogue: Dialogue) -> str:
        """What the caller was asked and has not answered."""
        if dialogue.draft is None or not dialogue.asked:
            return ""
        intent = dialogue.draft.intent
        if dialogue.asked == CONFIRM:
            return spoken(intent.confirm, dialogue.draft.slots)
        return intent.required[dialogue.asked]

    def _execute(self, dialogue: Dialogue, draft: Draft, now: datetime) -> Answer:
        closed = replace(dialogue, draft=None, asked="")
        if draft.intent.tool is None:
            return closed, say(spoken(draft.intent.done or self._profile.texts.done, draft.slots))
        name = draft.intent.tool.name
        filled = ((key, fill(text, draft.slots)) for key, text in draft.intent.tool.arguments.items())
        arguments = {key: value for key, value in filled if value}
        if moment := due.resolve(arguments.get("due", ""), now):
            arguments |= {"due": moment, "due_said": arguments["due"]}
        call = CallTool(name, arguments, repeatable=name in self._profile.repeatable)
        return replace(closed, running=draft), (*say(draft.intent.tool.say), call)

    def _returned(self, dialogue: Dialogue, tool: Returned) -> tuple[Said, ...]:
        texts, running = self._profile.texts, dialogue.running
        failed = (running.intent.failed if running else "") or texts.failed
        if tool.status != "ok":
            return say(failed if tool.status == "failed" else texts.unknown, self._question(dialogue))
        if running is None or not running.intent.done:
            return say(texts.done, self._question(dialogue))
        needed = template_slots(OPTIONAL_IN_TEXT.sub("", running.intent.done)) & set(_results(running))
        if not all(tool.result.get(name) for name in needed):
            return say(failed, self._question(dialogue))
        results = {name: tool.result.get(name, "") for name in _results(running)}
        return say(spoken(running.intent.done, running.slots, results), self._question(dialogue))

    def _yes(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        if dialogue.draft is not None and dialogue.asked == CONFIRM:
            return self._execute(dialogue, dialogue.draft, now)
        return dialogue, say(self._question(dialogue) or self._profile.texts.nothing_to_confirm)

    def _no(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        texts = self._profile.texts
        text = texts.nothing_to_confirm if dialogue.draft is None else texts.dropped
        return replace(dialogue, draft=None, asked=""), say(text)

    def _talk(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        name, lines = match.intent.name, match.intent.say or (self._profile.fallback,)
        times = dialogue.talked.get(name, 0)
        talked = {**dialogue.talked, name: times + 1}
        return replace(dialogue, talked=talked), say(lines[min(times, len(lines) - 1)], self._question(dialogue))

    def _list(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        texts, saved = self._profile.texts, dialogue.saved
        if len(saved) <= 1:
            return dialogue, say(texts.list_one if saved else texts.list_empty, *map(as_sentence, saved))
        listed = saved if len(saved) <= MAX_LISTED else saved[: MAX_LISTED - 1]
        more = fill(texts.list_more, {"count": str(len(saved) - len(listed))}) if len(listed) < len(saved) else ""
        count = fill(texts.list_many, {"count": str(len(saved))})
        return dialogue, say(count, *map(as_sentence, listed), more)

    def _repeat(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        """What was not heard, from the sentence on in which it stopped; all of it if everything was heard."""
        if dialogue.last is None or not dialogue.last.text.strip():
            return dialogue, say(self._profile.texts.nothing_to_repeat)
        sentences = SENTENCE_END.split(dialogue.last.text)
        return dialogue, say(*sentences[heard_sentences(dialogue.last) % len(sentences) :])

    def _hand_over(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        return replace(dialogue, draft=None, asked=""), (*say(*match.intent.say[:1]), HandOver(match.intent.agent))

    def _goodbye(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        return dialogue, (*say(*match.intent.say[:1]), HangUp("agent_goodbye"))

    def _prompt(self, dialogue: Dialogue, prompts: int) -> tuple[Said, ...]:
        """The first prompts ask (and repeat the open question); the one after the last says goodbye."""
        silence = self._profile.silence
        if prompts > silence.max or not silence.texts:
            return (*say(silence.goodbye), HangUp("silence"))
        return say(silence.texts[min(max(prompts, 1), len(silence.texts)) - 1], self._question(dialogue))


def _with_owner(history: Sequence[HistoryItem], agent: str) -> Iterator[tuple[HistoryItem, bool]]:
    """Each item, and whether this agent had the call then. A hand-over is his who was handed the call.

    The last stretch is this agent's whatever it is called: it is the one that is asked.
    """
    changes = [item for item in history if isinstance(item, HandedOver)]
    stretch, owner = len(changes), changes[0].previous if changes else agent
    for item in history:
        if isinstance(item, HandedOver):
            stretch, owner = stretch - 1, item.agent
        yield item, stretch == 0 or owner == agent


def _results(draft: Draft) -> tuple[str, ...]:
    return draft.intent.tool.results if draft.intent.tool is not None else ()


def _item(draft: Draft | None, tool: Returned) -> str:
    """How the list tells of what a tool saved."""
    if draft is not None and draft.intent.item:
        return spoken(draft.intent.item, draft.slots)
    return tool.arguments.get("title", "") or tool.name
