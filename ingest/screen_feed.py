"""What one subscriber is told: the past from the log, then the tail, joined without a gap and without a repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from eventlog.port import Log
from ingest.config import ScreenLimits
from ingest.screen_fold import FEW_LINES, CallFold, MaySee
from ingest.screen_tail import Heard, Listener, Tails, past
from ingest.screen_words import BadPosition, Cursor, Message, cursor_text
from schema.topics import EVENTS, partition_of

# Two at a time, so that many late subscribers cannot keep the log's readers from everybody else.
READERS_AT_ONCE = 2
# Of one all-calls view; beyond it sealed calls are forgotten, and read again should they be spoken of once more.
MOST_FOLDS = 5_000

# call_id -> where the call's first event stands, or could at the earliest; None: from the partition's beginning.
FirstPosition = Callable[[str], Awaitable[int | None]]
# partition -> where the first event of its oldest live call stands, or could; None: from the partition's beginning.
OldestLive = Callable[[int], Awaitable[int | None]]


class Unseen(Exception):
    """There is no such call for this subscriber."""


class TooLongAway(Exception):
    """More was missed than can be told again: begin anew."""


class Overflowed(Exception):
    """The subscriber does not keep up with the log."""


class Ended(Exception):
    """The log is no longer read here."""


@dataclass(frozen=True, slots=True)
class Newsroom:
    """What all feeds of a process share."""

    log: Log
    tails: Tails
    partitions: int
    limits: ScreenLimits
    readers: asyncio.Semaphore
    first_position: FirstPosition | None = None
    oldest_live: OldestLive | None = None

    async def first(self, call_id: str) -> int:
        known = await self.first_position(call_id) if self.first_position else None
        return 0 if known is None else known

    async def floor(self, partition: int) -> int:
        known = await self.oldest_live(partition) if self.oldest_live else None
        return 0 if known is None else known

    async def known_end(self, partition: int) -> int:
        return await self.log.end(EVENTS.name, partition)


class Feed(Protocol):
    """One subscriber's. `open` once, `take` whenever `news` is set, `close` at the end."""

    @property
    def news(self) -> asyncio.Event: ...

    @property
    def has_overflowed(self) -> bool: ...

    async def open(self, after: Cursor | None) -> list[Message]:
        """All up to now that lies after the position; without one, snapshots. Raises Unseen, BadPosition,
        TooLongAway, LogError."""

    async def take(self) -> list[Message]:
        """What has come since. Raises Overflowed, Ended, LogError."""

    def close(self) -> None:
        """Harmless when repeated."""


class CallFeed:
    """Of one call."""

    def __init__(self, room: Newsroom, call_id: str, may_see: MaySee) -> None:
        self._room = room
        self._partition = partition_of(call_id, room.partitions)
        self._fold = CallFold(call_id, may_see)
        self._listener = Listener(call_id=call_id, limit=room.limits.backlog)
        self._is_attached = False
        self._after = 0

    @property
    def news(self) -> asyncio.Event:
        return self._listener.news

    @property
    def has_overflowed(self) -> bool:
        return self._listener.has_overflowed

    async def open(self, after: Cursor | None) -> list[Message]:
        room, partition = self._room, self._partition
        if after is not None:
            self._after = await _checked(room, after, partition)
        stop = await room.tails.attach(self._listener, partition)
        self._is_attached = True
        facts: list[Message] = []
        async with room.readers:
            first = await room.first(self._fold.call_id)
            async with aclosing(past(room.log, partition, first, stop, call_id=self._fold.call_id)) as earlier:
                async for item in earlier:
                    facts += self._fact(item)
        if not self._fold.is_visible:
            raise Unseen(self._fold.call_id)
        if after is None:
            self._after = stop
            return [{**self._fold.snapshot(), "position": cursor_text({partition: stop})}]
        return facts

    async def take(self) -> list[Message]:
        return [told for item in _taken(self._listener) for told in self._fact(item)]

    def close(self) -> None:
        if self._is_attached:
            self._is_attached = False
            self._room.tails.detach(self._listener, self._partition)

    def _fact(self, item: Heard) -> list[Message]:
        """One or none. An earlier position than the subscriber's is folded all the same."""
        told = self._fold.take(item.event, item.at)
        if told is None or item.position < self._after:
            return []
        return [{**told, "position": cursor_text({item.partition: item.position + 1})}]


async def _checked(room: Newsroom, after: Cursor, partition: int) -> int:
    """The cursor's place in this partition. Raises BadPosition."""
    if partition not in after:
        raise BadPosition("this position belongs to another call")
    if after[partition] > await room.known_end(partition):
        raise BadPosition("this position lies beyond the end of the log")
    return after[partition]


def _taken(listener: Listener) -> list[Heard]:
    listener.news.clear()
    if listener.has_overflowed:
        raise Overflowed
    taken = listener.take()
    if listener.has_ended and not taken:
        raise Ended
    return taken


class AllCallsFeed:
    """Of every call one may see: a small snapshot of each live one, then the facts of all."""

    def __init__(self, room: Newsroom, may_see: MaySee) -> None:
        self._room = room
        self._may_see = may_see
        self._folds: dict[str, CallFold] = {}
        self._listener = Listener(limit=10 * room.limits.backlog)
        self._attached: list[int] = []
        self._cursor: dict[int, int] = {}  # what the subscriber knows once it has read what was told last
        self._missed = 0

    @property
    def news(self) -> asyncio.Event:
        return self._listener.news

    @property
    def has_overflowed(self) -> bool:
        return self._listener.has_overflowed

    async def open(self, after: Cursor | None) -> list[Message]:
        room, told = self._room, dict(after or {})
        for partition in told:
            if partition >= room.partitions:
                raise BadPosition(f"there is no partition {partition}")
            await _checked(room, told, partition)
        stops = await self._attach_all()
        self._cursor = {partition: told.get(partition, stops[partition]) for partition in stops}
        facts: list[Message] = []
        for partition, stop in stops.items():
            facts += await self._read_past(partition, stop, told)
        anew = [fold for fold in self._folds.values() if self._is_news(fold, told)]
        facts += [fold.snapshot(lines=FEW_LINES) for fold in anew]
        self._forget()
        return [*facts, {"type": "live", "calls": len(anew), "position": cursor_text(self._cursor)}]

    async def take(self) -> list[Message]:
        facts = []
        for item in _taken(self._listener):
            facts += await self._fact(item)
        self._forget()
        return facts

    def close(self) -> None:
        while self._attached:
            self._room.tails.detach(self._listener, self._attached.pop())

    async def _attach_all(self) -> Mapping[int, int]:
        stops = {}
        for partition in range(self._room.partitions):
            stops[partition] = await self._room.tails.attach(self._listener, partition)
            self._attached.append(partition)
        return stops

    async def _read_past(self, partition: int, stop: int, told: Cursor) -> list[Message]:
        """Folds from the oldest live call on, or from the subscriber's place if that lies before it."""
        room, facts = self._room, list[Message]()
        async with room.readers:
            first = min(await room.floor(partition), told.get(partition, stop))
            async with aclosing(past(room.log, partition, first, stop)) as earlier:
                async for item in earlier:
                    facts += await self._fact(item)
                    if self._missed + len(facts) > room.limits.missed_facts:
                        raise TooLongAway
        self._missed += len(facts)
        self._cursor[partition] = max(stop, self._cursor[partition])
        return facts

    async def _fact(self, item: Heard) -> list[Message]:
        fold = self._folds.get(item.event.call_id) or await self._made_fold(item)
        told = fold.take(item.event, item.at)
        if told is None or item.position < self._cursor[item.partition]:
            return []
        self._cursor[item.partition] = item.position + 1
        return [{**told, "position": cursor_text(self._cursor)}]

    async def _made_fold(self, item: Heard) -> CallFold:
        """Of a call that is heard of for the first time here: it may have begun, and even ended, long before."""
        room, call_id = self._room, item.event.call_id
        fold = CallFold(call_id, self._may_see)
        if room.first_position is not None:
            first = await room.first(call_id)
            async with aclosing(past(room.log, item.partition, first, item.position, call_id=call_id)) as earlier:
                async for before in earlier:
                    fold.take(before.event, before.at)
        self._folds[call_id] = fold
        return fold

    def _is_news(self, fold: CallFold, told: Cursor) -> bool:
        return fold.is_live and fold.is_visible and partition_of(fold.call_id, self._room.partitions) not in told

    def _forget(self) -> None:
        """Without a read model nothing can be found again, so nothing is forgotten."""
        if len(self._folds) > MOST_FOLDS and self._room.first_position is not None:
            self._folds = {call_id: fold for call_id, fold in self._folds.items() if fold.is_live}
