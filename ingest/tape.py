"""Gathers what all calls received in one tick into one append a topic.

Order of things, for one stream:
1. Its `stream.opened` is acknowledged; only then does its session offer a frame (rule R11).
2. Frames get their sequence when they are put into an append, so what is dropped leaves no hole.
3. Its `stream.closed` is put down after its last frame is acknowledged, and names that frame.
While the log is slow audio is dropped, oldest first, and counted; facts never are: who says them waits (`room`).
What is larger than a log takes is refused at once, and counted: one peer's words hold up nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from eventlog.port import (
    MAX_VALUE_BYTES,
    Entry,
    EntryTooLarge,
    Log,
    LogBroken,
    LogClosed,
    LogError,
    LogUnavailable,
    Placed,
    bytes_of,
)
from ingest.lane import Closing, Fact, Heard, Lane, Line, Spoken, T
from ingest.tally import Tally
from schema.envelope import Event
from schema.registry import encode
from schema.topics import EVENTS, MEDIA

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0
MOST_PAYLOAD_BYTES = MAX_VALUE_BYTES - 10_000  # of a frame, beside which its names travel

_log = structlog.get_logger(__name__)


class Tape:
    """The process's one way of putting down what its sockets say."""

    def __init__(
        self,
        log: Log,
        *,
        clock: Callable[[], int],
        tally: Tally,
        tick_ms: int = 5,
        media_buffer_bytes: int = 16 << 20,
        facts_buffer: int = 20_000,
        flush_s: float = 5.0,
    ) -> None:
        self._log = log
        self._clock = clock
        self._tally = tally
        self._tick_s = tick_ms / 1000
        self._media_limit = media_buffer_bytes
        self._facts_limit = facts_buffer
        self._flush_s = flush_s
        self._media: Lane[Heard | Closing] = Lane(clock)
        self._facts: Lane[Fact] = Lane(clock)
        self._in_flight: list[Fact] = []
        self._media_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        tally.waiting = lambda: (self._media_bytes, len(self._facts.items))

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What puts down; ends only with the tape."""
        return tuple(self._tasks)

    def hear(self, line: Line, ms: int, payload: bytes) -> None:
        """A frame from the caller."""
        self._keep(Heard(line, ms, payload))

    def spoke(self, line: Line, *, ms: int, payload: bytes, reply: str, sentence: int, offset_ms: int) -> None:
        """Audio that was written to the socket."""
        self._keep(Spoken(line, ms, payload, reply, sentence, offset_ms))

    def close_line(self, line: Line, closed: Callable[[Line], Event]) -> None:
        """`closed` says the line's last word, after its last frame is on the log. Never waits, never fails."""
        self._media.put(Closing(line, closed))

    def say(self, event: Event, partition: int | None = None) -> None:
        """Put a fact down soon, in the order said. Look at `room` before saying many. One that is too large for the
        log is left out, and counted: its source goes on with what it says next."""
        with suppress(EntryTooLarge):
            self._put(event, partition, None)

    async def tell(self, event: Event, partition: int | None = None) -> Placed:
        """Put a fact down and return when it is durable. Raises LogClosed, and EntryTooLarge."""
        acknowledged: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        self._put(event, partition, acknowledged)
        return await acknowledged

    @property
    def full(self) -> bool:
        return not self._has_room.is_set()

    async def room(self) -> None:
        """Returns when facts may be said again."""
        await self._has_room.wait()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run_media()), loop.create_task(self._run_facts())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts down what waits, media before the facts that close it, as long as the log takes it in time."""
        try:
            async with asyncio.timeout(self._flush_s):
                await self._media.idle.wait()
                await self._facts.idle.wait()
        except TimeoutError:
            _log.error("the log did not take everything", frames=len(self._media.items), facts=len(self._facts.items))
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._refuse_waiting()

    def _put(self, event: Event, partition: int | None, acknowledged: asyncio.Future[Placed] | None) -> None:
        if self._closed:
            raise LogClosed("the tape was used after it was closed")
        entry = Entry(event.call_id, encode(event), partition)
        try:
            bytes_of((entry,))
        except EntryTooLarge as error:
            self._leave_out(EVENTS.name, entry, error)
            raise
        self._facts.put(Fact(entry, acknowledged))
        if len(self._facts.items) >= self._facts_limit:
            self._has_room.clear()

    def _keep(self, frame: Heard) -> None:
        if len(frame.payload) > MOST_PAYLOAD_BYTES:
            frame.line.dropped += 1
            self._tally.dropped += 1
            return
        self._media_bytes += frame.cost
        self._media.put(frame)
        if self._media_bytes > self._media_limit:
            self._drop()

    def _drop(self) -> None:
        """Throw the oldest audio away. What closes a line stays, in its place."""
        kept: list[Heard | Closing] = []
        items = self._media.items
        while self._media_bytes > self._media_limit and items:
            item = items.popleft()
            if isinstance(item, Closing):
                kept.append(item)
                continue
            self._media_bytes -= item.cost
            item.line.dropped += 1
            self._tally.dropped += 1
        items.extendleft(reversed(kept))

    async def _run_media(self) -> None:
        lane = self._media
        while True:
            await self._tick(lane)
            batch = lane.take()
            entries = [
                Entry(item.line.call_id, item.packed(), item.line.partition)
                for item in batch
                if not isinstance(item, Closing)
            ]
            self._media_bytes -= sum(item.cost for item in batch if not isinstance(item, Closing))
            if entries:
                await self._append(MEDIA.name, entries, lane.since)
            for item in batch:
                if isinstance(item, Closing):
                    self.say(item.closed(item.line), item.line.partition)
            self._rest(lane)

    async def _run_facts(self) -> None:
        lane = self._facts
        while True:
            await self._tick(lane)
            batch = lane.take()
            if len(lane.items) < self._facts_limit:
                self._has_room.set()
            self._in_flight = batch
            placed = await self._append(EVENTS.name, [fact.entry for fact in batch], lane.since)
            self._in_flight = []
            for fact, place in zip(batch, placed, strict=True):
                _answer(fact, place)
            self._rest(lane)

    async def _tick(self, lane: Lane[T]) -> None:
        if not lane.items:
            await lane.awake.wait()
            await asyncio.sleep(self._tick_s)

    def _rest(self, lane: Lane[T]) -> None:
        if lane.items:
            lane.since = self._clock()
            return
        lane.awake.clear()
        lane.idle.set()

    async def _append(self, topic: str, entries: Sequence[Entry], since: int) -> list[Placed | EntryTooLarge]:
        """Where each went, or why it never will: a broker may take less than every log promises. Such ones are found
        by halves, since a log refuses an append as a whole."""
        try:
            return [*await self._append_whole(topic, entries, since)]
        except EntryTooLarge as error:
            if len(entries) == 1:
                self._leave_out(topic, entries[0], error)
                return [error]
            half = len(entries) // 2
            first = await self._append(topic, entries[:half], since)
            return first + await self._append(topic, entries[half:], since)

    def _leave_out(self, topic: str, entry: Entry, error: EntryTooLarge) -> None:
        self._tally.bad_input["tape", "too_large"] += 1
        size = len(entry.value)
        _log.error("too large for the log, left out", topic=topic, call_id=entry.key, bytes=size, error=str(error))

    async def _append_whole(self, topic: str, entries: Sequence[Entry], since: int) -> list[Placed]:
        """Until it is there: no call is ended for a silence of the log. A repeat is known by its sequence."""
        wait_s = FIRST_RETRY_S
        while True:
            try:
                placed = await self._log.append(topic, entries)
            except (LogUnavailable, LogBroken) as error:
                self._tally.retries += 1
                _log.warning("append failed, trying again", topic=topic, records=len(entries), error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_RETRY_S)
            else:
                self._tally.note_append(topic, len(entries), self._clock() - since)
                return placed

    def _refuse_waiting(self) -> None:
        for fact in (*self._in_flight, *self._facts.items):
            if fact.acknowledged is not None and not fact.acknowledged.done():
                fact.acknowledged.set_exception(LogClosed("the tape was closed before this fact was on the log"))


def _answer(fact: Fact, said: Placed | EntryTooLarge) -> None:
    """To who waits for it."""
    if fact.acknowledged is None or fact.acknowledged.done():
        return
    if isinstance(said, EntryTooLarge):
        fact.acknowledged.set_exception(said)
    else:
        fact.acknowledged.set_result(said)


__all__ = ["Line", "LogError", "Tape"]
