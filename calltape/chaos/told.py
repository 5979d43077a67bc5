"""One call of a trial: as it stands on the record, as the caller heard it, and what the caller really said when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clients.report import CallReport, Observation, Seen
from eventlog.port import Record
from projections.results import CallDetails
from schema.admit import Admission, admit
from schema.envelope import AnyEvent
from schema.media import MediaReceived, MediaSpoken
from schema.registry import decode

# From the last sound of a phrase to its last frame on the log: what a door keeps back, and what the network does.
ON_ITS_WAY_MS = 200


@dataclass(frozen=True, slots=True)
class Utterance:
    """A phrase of the script, in ms of the clock of the stream it was said to (the first is 1, 0: to none).

    `whole`: a socket was there from its first sound to its last.
    """

    text: str
    stream: int
    start_ms: int
    end_ms: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """`shown` is `calltape show --json`, sounds are mu-law 8 kHz, `events` all records of the call."""

    shown: dict[str, Any]
    heard: bytes
    caller: bytes
    media: Sequence[MediaReceived | MediaSpoken]
    events: Sequence[Record] = ()
    said: Sequence[Utterance] = ()
    details: CallDetails | None = None
    lives: int = 1  # rows of this call in the table of calls


@dataclass(slots=True)
class Difference:
    """Sentences, each about one thing that is not as it should be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        return not (self.lost or self.doubled or self.other)

    @property
    def note(self) -> str:
        return "; ".join([*self.lost, *self.doubled, *self.other])


def utterances(report: CallReport, seen: Iterable[Observation]) -> list[Utterance]:
    """What the caller said, by the carrier's own clock."""
    opened: list[int] = []
    closed: list[int] = []
    for one in seen:
        if one.kind is Seen.STREAM_OPENED:
            opened.append(one.at_ms)
        elif one.kind is Seen.STREAM_CLOSED:
            closed.append(one.at_ms)
    closed += [report.duration_ms + ON_ITS_WAY_MS] * (len(opened) - len(closed))
    found = []
    for turn in report.turns:
        stream = sum(at_ms <= turn.started_ms for at_ms in opened)
        since_ms = opened[stream - 1] if stream else 0
        whole = stream > 0 and turn.ended_ms + ON_ITS_WAY_MS <= closed[stream - 1]
        found.append(Utterance(turn.text, stream, turn.started_ms - since_ms, turn.ended_ms - since_ms, whole))
    return found


def believed(records: Iterable[Record]) -> list[AnyEvent]:
    """The events of one call that every reader admits."""
    state, found = Admission(), []
    for record in records:
        event = decode(record.value)
        if (admitted := admit(state, event)) is not None:
            state = admitted
            found.append(event)
    return found
