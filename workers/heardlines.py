"""The transcript of a call as it was really heard, folded from its events: what summaries and tools rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schema import speech, stream, turn
from schema.envelope import AnyEvent
from schema.heard import heard_words, presumed_duration_ms
from schema.private import plain
from workers.engines.port import SpokenLine, ToolOutcome

TELLING = 3  # letters of a word that says what a line is about


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the agent and what of it was heard."""

    id: str
    text: str
    duration_ms: int = 0
    heard_ms: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class HeardLines:
    """`order` names the lines as they came: caller's by event id, agent's by (reply, index)."""

    order: tuple[str, ...] = ()
    caller: Mapping[str, str] = field(default_factory=dict)
    agent: Mapping[str, Sentence] = field(default_factory=dict)
    turns: tuple[str, ...] = ()  # utterances of the turns since the last tool was called
    turn: tuple[str, ...] = ()  # those of the last turn
    taken: frozenset[str] = frozenset()  # those of every turn
    called: Mapping[str, ToolOutcome] = field(default_factory=dict)
    tools: tuple[ToolOutcome, ...] = ()

    def lines(self) -> tuple[SpokenLine, ...]:
        """Every line somebody heard, in order."""
        return tuple(line for key in self.order if (line := self._line(key)) is not None)

    def _line(self, key: str) -> SpokenLine | None:
        if key in self.caller:
            return SpokenLine(key, "caller", self.caller[key], taken=key in self.taken)
        sentence = self.agent[key]
        duration_ms = sentence.duration_ms or presumed_duration_ms(sentence.text)
        heard = sentence.text if sentence.whole else heard_words(sentence.text, duration_ms, sentence.heard_ms)
        return SpokenLine(sentence.id, "agent", heard) if heard else None


def fold(lines: HeardLines, event: AnyEvent) -> HeardLines:
    """The state after one admitted event."""
    match event:
        case speech.TranscriptSettled() | stream.TextTyped() if text := plain(event.text).strip():
            return replace(lines, order=(*lines.order, event.id), caller={**lines.caller, event.id: text})
        case turn.TurnTaken():
            taken = lines.taken.union(event.utterances)
            return replace(lines, turns=(*lines.turns, *event.utterances), turn=event.utterances, taken=taken)
        case turn.ReplySentence() if (key := f"{event.reply}:{event.index}") not in lines.agent:
            sentence = Sentence(event.id, plain(event.text))
            return replace(lines, order=(*lines.order, key), agent={**lines.agent, key: sentence})
        case turn.ReplyVoiced():
            return _heard(lines, event.reply, event.index, duration_ms=event.duration_ms)
        case stream.PlaybackMarked():
            return _heard(lines, event.reply, event.sentence, heard_ms=event.heard_ms, whole=event.last)
        case stream.PlaybackCleared():
            return _heard(lines, event.reply, event.sentence, heard_ms=event.heard_ms)
        case turn.ToolCalled():
            arguments = {name: plain(value) for name, value in event.arguments.items()}
            outcome = ToolOutcome(event.name, arguments, False, _led_to(lines, arguments))
            return replace(lines, called={**lines.called, event.id: outcome}, turns=())
        case turn.ToolReturned() if event.call in lines.called:
            outcome = replace(lines.called[event.call], ok=event.status == "ok")
            return replace(lines, tools=(*lines.tools, outcome))
    return lines


def _led_to(lines: HeardLines, arguments: Mapping[str, str]) -> tuple[str, ...]:
    """The caller's lines a tool call rests on: the last turn, and those before it that share a word with it."""
    words = {word for value in arguments.values() for word in value.lower().split() if len(word) >= TELLING}
    earlier = (
        id_ for id_ in lines.turns if id_ not in lines.turn and words & set(lines.caller.get(id_, "").lower().split())
    )
    return (*earlier, *lines.turn)


def _heard(
    lines: HeardLines, reply: str, index: int, *, duration_ms: int = 0, heard_ms: int = 0, whole: bool = False
) -> HeardLines:
    key = f"{reply}:{index}"
    sentence = lines.agent.get(key)
    if sentence is None:
        return lines
    sentence = replace(
        sentence,
        duration_ms=max(sentence.duration_ms, duration_ms),
        heard_ms=max(sentence.heard_ms, heard_ms),
        whole=sentence.whole or whole,
    )
    return replace(lines, agent={**lines.agent, key: sentence})
