"""What waits for the log: each stream's place on the tape, its frames and facts, in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from eventlog.port import Entry, Placed
from schema.envelope import Event
from schema.media import MediaReceived, MediaSpoken
from schema.registry import pack

BATCH = 2_000  # records in one append
# A buffer is counted in bytes of audio; what is shorter than a usual frame costs as much memory as one.
LEAST_BYTES = 160

T = TypeVar("T")


class Line:
    """One stream's place on the tape: its partition and its counters."""

    __slots__ = ("call_id", "dropped", "event_sequence", "media_sequence", "partition", "stream", "tenant_id")

    def __init__(self, *, call_id: str, tenant_id: str, stream: str, partition: int) -> None:
        self.call_id = call_id
        self.tenant_id = tenant_id
        self.stream = stream
        self.partition = partition
        self.media_sequence = 0  # of the last frame put into an append
        self.event_sequence = 0
        self.dropped = 0

    def next_sequence(self) -> int:
        self.event_sequence += 1
        return self.event_sequence


class Heard:
    __slots__ = ("line", "ms", "payload")

    def __init__(self, line: Line, ms: int, payload: bytes) -> None:
        self.line = line
        self.ms = ms
        self.payload = payload

    @property
    def cost(self) -> int:
        return max(len(self.payload), LEAST_BYTES)

    def packed(self) -> bytes:
        line = self.line
        line.media_sequence += 1
        return pack(
            MediaReceived(
                call_id=line.call_id, stream=line.stream, sequence=line.media_sequence, ms=self.ms, payload=self.payload
            )
        )


class Spoken(Heard):
    __slots__ = ("offset_ms", "reply", "sentence")

    def __init__(self, line: Line, ms: int, payload: bytes, reply: str, sentence: int, offset_ms: int) -> None:
        super().__init__(line, ms, payload)
        self.reply = reply
        self.sentence = sentence
        self.offset_ms = offset_ms

    def packed(self) -> bytes:
        line = self.line
        line.media_sequence += 1
        return pack(
            MediaSpoken(
                call_id=line.call_id,
                stream=line.stream,
                sequence=line.media_sequence,
                ms=self.ms,
                payload=self.payload,
                reply=self.reply,
                sentence=self.sentence,
                offset_ms=self.offset_ms,
            )
        )


class Closing:
    """Stands behind a line's last frame; `closed` makes the fact once that frame is on the log."""

    __slots__ = ("closed", "line")

    def __init__(self, line: Line, closed: Callable[[Line], Event]) -> None:
        self.line = line
        self.closed = closed


class Fact:
    __slots__ = ("acknowledged", "entry")

    def __init__(self, entry: Entry, acknowledged: asyncio.Future[Placed] | None) -> None:
        self.entry = entry
        self.acknowledged = acknowledged


class Lane(Generic[T]):
    """What waits for one topic, and since when."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.items: deque[T] = deque()
        self.awake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.since = 0
        self._clock = clock

    def put(self, item: T) -> None:
        if not self.items:
            self.since = self._clock()
            self.awake.set()
            self.idle.clear()
        self.items.append(item)

    def take(self) -> list[T]:
        if len(self.items) <= BATCH:
            batch = list(self.items)
            self.items.clear()
            return batch
        return [self.items.popleft() for _ in range(BATCH)]
