"""The rule agent: answers from its profile alone, as a pure function of the conversation so far."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from workers import due
from workers.agents import AgentSaid, CallerSaid, CallTool, Conversation, HandOver, HangUp, HistoryItem, Said, Say
from workers.agents import ToolReturned as Returned
from workers.engines.port import MadeBy
from workers.grammar import Grammar, Match
from workers.patterns import fill
from workers.profiles import Intent, Profile, profile_hash

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
CONFIRM = "confirm"  # what was asked, when it was no slot
MAX_LISTED = 3  # a list is one sentence for the count and at most three more
# What the caller says of itself, said back to it.
MIRROR = {"my": "your", "me": "you", "i": "you", "mine": "yours"}
PROPER = re.compile(
    r"\b(monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march|april|may|june|july|august|"
    r"september|october|november|december|christmas)\b"
)


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
            return _say(self._profile.greeting)
        if conversation.cause == "request":
            return _say(conversation.instruction or self._profile.fallback)
        if conversation.cause == "prompt":
            return self._prompt(self.fold(conversation.history, now), conversation.prompts)
        *before, last = conversation.history or (CallerSaid(""),)
        dialogue = self.fold(before, now)
        if isinstance(last, Returned):
            return self._returned(dialogue, last)
        return self._turn(dialogue, last if isinstance(last, CallerSaid) else CallerSaid(""), now)[1]

    def fold(self, history: tuple[HistoryItem, ...] | list[HistoryItem], now: datetime) -> Dialogue:
        """The dialogue after this history: every turn is answered again, and only the state is kept."""
        dialogue = Dialogue()
        for item in history:
            if isinstance(item, CallerSaid):
                dialogue = self._turn(dialogue, item, now)[0]
            elif isinstance(item, Returned):
                saved = (*dialogue.saved, _item(dialogue.running, item)) if item.status == "ok" else dialogue.saved
                dialogue = replace(dialogue, running=None, saved=saved)
            else:
                dialogue = replace(dialogue, last=item)
        return dialogue

    def _turn(self, dialogue: Dialogue, said: CallerSaid, now: datetime) -> Answer:
        match = self._key(said.text) if said.kind == "dtmf" else self._choose(dialogue, said.text)
        if match is None:
            return self._missed(dialogue)
        return self._kinds[match.intent.kind](replace(dialogue, misses=0), match, now)

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
        return replace(dialogue, misses=dialogue.misses + 1), _say(text, self._question(dialogue))

    def _action(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        return self._advance(dialogue, Draft(match.intent, match.slots), now)

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
            return asking, _say(self._question(asking))
        return self._execute(dialogue, draft, now)

    def _question(self, dialogue: Dialogue) -> str:
        """What the caller was asked and has not answered."""
        if dialogue.draft is None or not dialogue.asked:
            return ""
        intent = dialogue.draft.intent
        if dialogue.asked == CONFIRM:
            return _spoken(intent.confirm, dialogue.draft.slots)
        return intent.required[dialogue.asked]

    def _execute(self, dialogue: Dialogue, draft: Draft, now: datetime) -> Answer:
        closed = replace(dialogue, draft=None, asked="")
        if draft.intent.tool is None:
            return closed, _say(_spoken(draft.intent.done or self._profile.texts.done, draft.slots))
        name = draft.intent.tool.name
        filled = ((key, fill(text, draft.slots)) for key, text in draft.intent.tool.arguments.items())
        arguments = {key: value for key, value in filled if value}
        if moment := due.resolve(arguments.get("due", ""), now):
            arguments |= {"due": moment, "due_said": arguments["due"]}
        call = CallTool(name, arguments, repeatable=name in self._profile.repeatable)
        return replace(closed, running=draft), (call,)

    def _returned(self, dialogue: Dialogue, tool: Returned) -> tuple[Said, ...]:
        texts = self._profile.texts
        if tool.status != "ok":
            return _say(texts.failed if tool.status == "failed" else texts.unknown, self._question(dialogue))
        running = dialogue.running
        done = _spoken(running.intent.done, running.slots) if running else ""
        return _say(done or texts.done, self._question(dialogue))

    def _yes(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        if dialogue.draft is not None and dialogue.asked == CONFIRM:
            return self._execute(dialogue, dialogue.draft, now)
        return dialogue, _say(self._question(dialogue) or self._profile.texts.nothing_to_confirm)

    def _no(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        texts = self._profile.texts
        text = texts.nothing_to_confirm if dialogue.draft is None else texts.dropped
        return replace(dialogue, draft=None, asked=""), _say(text)

    def _talk(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        name, lines = match.intent.name, match.intent.say or (self._profile.fallback,)
        times = dialogue.talked.get(name, 0)
        talked = {**dialogue.talked, name: times + 1}
        return replace(dialogue, talked=talked), _say(lines[min(times, len(lines) - 1)], self._question(dialogue))

    def _list(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        texts, saved = self._profile.texts, dialogue.saved
        if len(saved) <= 1:
            return dialogue, _say(texts.list_one if saved else texts.list_empty, *map(_sentence, saved))
        listed = saved if len(saved) <= MAX_LISTED else saved[: MAX_LISTED - 1]
        more = fill(texts.list_more, {"count": str(len(saved) - len(listed))}) if len(listed) < len(saved) else ""
        count = fill(texts.list_many, {"count": str(len(saved))})
        return dialogue, _say(count, *map(_sentence, listed), more)

    def _repeat(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        """What was not heard, from the sentence on in which it stopped; all of it if everything was heard."""
        if dialogue.last is None or not dialogue.last.text.strip():
            return dialogue, _say(self._profile.texts.nothing_to_repeat)
        sentences = SENTENCE_END.split(dialogue.last.text)
        return dialogue, _say(*sentences[_heard_sentences(dialogue.last) % len(sentences) :])

    def _hand_over(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        return replace(dialogue, draft=None, asked=""), (*_say(*match.intent.say[:1]), HandOver(match.intent.agent))

    def _goodbye(self, dialogue: Dialogue, match: Match, now: datetime) -> Answer:
        return dialogue, (*_say(*match.intent.say[:1]), HangUp("agent_goodbye"))

    def _prompt(self, dialogue: Dialogue, prompts: int) -> tuple[Said, ...]:
        """The first prompts ask (and repeat the open question); the one after the last says goodbye."""
        silence = self._profile.silence
        if prompts > silence.max or not silence.texts:
            return (*_say(silence.goodbye), HangUp("silence"))
        return _say(silence.texts[min(max(prompts, 1), len(silence.texts)) - 1], self._question(dialogue))


def _say(*texts: str) -> tuple[Said, ...]:
    """Each sentence of its own, so that the first is heard while the others are still being voiced."""
    return tuple(Say(sentence) for text in texts for sentence in SENTENCE_END.split(text.strip()) if sentence)


def _heard_sentences(said: AgentSaid) -> int:
    """How many whole sentences of the reply were heard."""
    heard, whole = len(said.heard.strip()), 0
    for count, sentence in enumerate(SENTENCE_END.split(said.text), 1):
        end = said.text.index(sentence, whole) + len(sentence)
        if end > heard:
            return count - 1
        whole = end
    return len(SENTENCE_END.split(said.text))


def _spoken(template: str, slots: Mapping[str, str]) -> str:
    """The template as the agent says it: the caller's "my" is "your" here, days and sentences have capitals."""
    mirrored = {name: " ".join(MIRROR.get(word, word) for word in text.split()) for name, text in slots.items()}
    text = PROPER.sub(lambda name: name[1].capitalize(), fill(template, mirrored))
    return " ".join(_sentence(sentence) for sentence in SENTENCE_END.split(text))


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def _item(draft: Draft | None, tool: Returned) -> str:
    """How the list tells of what a tool saved."""
    if draft is not None and draft.intent.item:
        return _spoken(draft.intent.item, draft.slots)
    return tool.arguments.get("title", "") or tool.name
