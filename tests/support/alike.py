"""A call's events with what only its media and its door decide left out, so that two calls can be compared.

What is left out is written down here, type by type and field by field; whatever is not named here is compared. An
event's id is replaced by its type and ordinal (`turn.taken 2`), wherever it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from schema.envelope import AnyEvent, type_of
from schema.speech import SpeechStarted, SpeechStopped, TranscriptSettled
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyStarted, ReplyVoiced, TurnTaken

Said = dict[str, Any]

# How many there are depends on how long something lasted, how it was cut into pieces or when a machine got round to it.
COUNTED = frozenset({"speech.paused", "stream.measured", "playback.started", "playback.marked", "playback.cleared"})
# Whether there are any, too: guesses at words come as an engine has time for them, and these timers guard audio that is
# late, or speech that has lasted while nobody knew its words yet.
MAYBE = frozenset({"transcript.revised", "timer.rang gap", "timer.rang barge_in", "timer.rang playback"})
# The carrier's own word on its call and stream; apps have nobody who would say it.
CARRIERS = frozenset({"call.reported", "stream.reported"})

ENVELOPE = frozenset({"id", "call_id", "tenant_id", "prior", "source", "sequence", "trace", "was_at", "version"})
FIELDS: dict[str, frozenset[str]] = {
    # who called, through which door
    "call.started": frozenset({"channel", "from", "to", "user_id"}),
    "call.adopted": frozenset({"owner"}),
    "stream.opened": frozenset(
        {"stream", "door", "mailbox", "media_end", "user_id", "encoding", "sample_rate", "channels"}
        | {"out_encoding", "out_sample_rate", "out_channels", "out_packet_ms"}
    ),
    # which end closed the socket first
    "stream.closed": frozenset({"stream", "reason", "code", "last_sequence"}),
    # milliseconds, and places in the media
    "call.ended": frozenset({"duration_ms"}),
    "stream.heard": frozenset({"stream", "through_ms"}),
    "speech.started": frozenset({"stream", "at_ms"}),
    "speech.stopped": frozenset({"stream", "voiced_ms", "voiced_at"}),
    "turn.released": frozenset({"stream"}),
    "reply.finished": frozenset({"latency"}),
    # how sure an engine is of which sounds
    "transcript.settled": frozenset(
        {"stream", "start_ms", "end_ms", "through_ms", "through_position", "voiced_at"}
        | {"confidence", "words", "alternatives"}
    ),
    # the voice's settings hold its sample rate
    "reply.voiced": frozenset({"duration_ms", "made_by"}),
    # the speech, its words or the timer: whichever proved it first
    "reply.interrupted": frozenset({"cause"}),
    "recording.saved": frozenset({"path", "duration_ms", "sample_rate"}),
}


class Tape:
    """One call's admitted events, in the order of the log; `left_out`: the carrier's, as far as there were any."""

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        self.events = [event for event in events if kind(event) not in CARRIERS]
        self.left_out = {kind(event) for event in events} & CARRIERS
        self._names: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for event in self.events:
            counts[type_of(event)] += 1
            self._names[event.id] = f"{type_of(event)} {counts[type_of(event)]}"

    def kinds(self) -> Counter[str]:
        """How many events of each type; of those that media counts, only that there are some."""
        found = Counter(kind(event) for event in self.events if kind(event) not in MAYBE)
        return Counter({name: 1 if name in COUNTED else count for name, count in found.items()})

    def by(self, role: str) -> list[Said]:
        """Everything of this writer, in its order; no role: the doors. Voicing has an order of its own."""
        left = COUNTED | MAYBE | {"reply.voiced"}
        return [self.plain(event) for event in self.events if event.role == role and kind(event) not in left]

    def of(self, *types: type) -> list[Said]:
        """Everything of these types, whoever said it."""
        return [self.plain(event) for event in self.events if isinstance(event, types)]

    def words(self) -> list[Said]:
        """From the caller's voice to the agent's answer."""
        return self.of(SpeechStarted, TranscriptSettled, SpeechStopped, TurnTaken, ReplyStarted)

    def voiced(self) -> dict[str, list[Said]]:
        """By reply: its sentences as they got a voice."""
        return self._by_reply(lambda event: isinstance(event, ReplyVoiced), self.plain)

    def heard(self) -> dict[str, list[int]]:
        """By reply: its sentences as their playback ended, each once, played through or cut."""

        def is_end(event: AnyEvent) -> bool:
            return kind(event) == "playback.cleared" or (kind(event) == "playback.marked" and event.last)  # type: ignore[union-attr]

        return self._by_reply(is_end, lambda event: event.sentence)  # type: ignore[union-attr]

    def cut(self) -> list[Said]:
        """Which replies were talked over, and how they ended."""
        over = {event.reply for event in self.events if isinstance(event, ReplyInterrupted)}
        ends = (ReplyInterrupted, ReplyFinished)
        return [self.plain(event) for event in self.events if isinstance(event, ends) and event.reply in over]

    def plain(self, event: AnyEvent) -> Said:
        """The event as it is compared."""
        left = ENVELOPE | FIELDS.get(type_of(event), frozenset())
        fields = msgspec.to_builtins(event)
        return {name: self._named(value) for name, value in fields.items() if name not in left}

    def _named(self, value: Any) -> Any:
        match value:
            case str():
                return self._names.get(value, value)
            case dict():
                return {name: self._named(each) for name, each in value.items()}
            case list() | tuple():
                return [self._named(each) for each in value]
            case _:
                return value

    def _by_reply(self, wanted: Callable[[AnyEvent], bool], told: Callable[[AnyEvent], Any]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for event in self.events:
            if wanted(event):
                found.setdefault(self._names[event.reply], []).append(told(event))  # type: ignore[union-attr]
        return found


def kind(event: AnyEvent) -> str:
    """Its type; a timer's name belongs to it."""
    name = type_of(event)
    return f"{name} {event.name}" if name == "timer.rang" else name  # type: ignore[union-attr]
