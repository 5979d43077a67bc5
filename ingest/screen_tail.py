"""Live views read the log: one tail a partition, shared by all who watch and only while somebody does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from eventlog.port import Log, LogBroken, LogClosed, LogUnavailable, Record
from schema.envelope import AnyEvent
from schema.registry import MalformedEvent, decode
from schema.topics import EVENTS

_log = structlog.get_logger(__name__)
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Heard:
    """An event and its place on the log."""

    partition: int
    position: int
    at: int
    event: AnyEvent


def heard(record: Record) -> Heard | None:
    """None for a record that is no event: no fold can do anything with it."""
    try:
        return Heard(record.partition, record.position, record.at, decode(record.value))
    except MalformedEvent:
        return None


class Listener:
    """What one subscriber has not taken yet. More than `limit` waiting: it is given nothing more, and says so."""

    def __init__(self, *, call_id: str = "", limit: int) -> None:
        self.call_id = call_id  # empty: every call
        self.news = asyncio.Event()
        self.has_overflowed = False
        self.has_ended = False  # the log was closed under us
        self._limit = limit
        self._waiting: deque[Heard] = deque()

    def give(self, item: Heard) -> None:
        if len(self._waiting) >= self._limit:
            self.has_overflowed = True
            self._waiting.clear()
        if not self.has_overflowed:
            self._waiting.append(item)
        self.news.set()

    def take(self) -> list[Heard]:
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def end(self) -> None:
        self.has_ended = True
        self.news.set()


class _Tail:
    """One partition from its end on. `position`: everything below it was handed out."""

    def __init__(self, log: Log, partition: int) -> None:
        self.position = 0
        self.ready = asyncio.Event()
        self.users = 0
        self.listeners: dict[str, set[Listener]] = {}
        self._log = log
        self._partition = partition

    async def run(self) -> None:
        """Until cancelled, or the log is closed. A log that is away is asked again."""
        try:
            await self._run()
        except LogClosed:
            pass  # nothing more will be read
        finally:
            for listener in {each for some in self.listeners.values() for each in some}:
                listener.end()

    async def _run(self) -> None:
        wait_s = FIRST_RETRY_S
        while True:
            before = self.position
            try:
                if not self.ready.is_set():
                    self.position = await self._log.end(EVENTS.name, self._partition)
                    self.ready.set()
                await self._follow()
            except (LogUnavailable, LogBroken) as error:
                wait_s = FIRST_RETRY_S if self.position != before else min(wait_s * 2, LAST_RETRY_S)
                _log.warning("events cannot be read, trying again", partition=self._partition, error=str(error))
                await asyncio.sleep(wait_s)

    async def _follow(self) -> None:
        reader = self._log.reader(EVENTS.name, {self._partition: self.position})
        try:
            while True:
                for record in await reader.read(max_records=1_000, wait_ms=1_000):
                    self._hand_out(record)
                    self.position = record.position + 1
        finally:
            await reader.close()

    def _hand_out(self, record: Record) -> None:
        wanted = [*self.listeners.get(record.key, ()), *self.listeners.get("", ())]
        item = heard(record) if wanted else None
        if item is not None:
            for listener in wanted:
                listener.give(item)


class Tails:
    """`close` it at the end."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tails: dict[int, _Tail] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are read now."""
        return frozenset(self._tails)

    async def attach(self, listener: Listener, partition: int) -> int:
        """From the returned position on, and not below it, the listener is given what the log says."""
        tail = self._tails.get(partition)
        if tail is not None and self._tasks[partition].done():
            raise LogUnavailable("the events of this partition are no longer read")
        tail = tail or self._begin(partition)
        tail.users += 1
        try:
            await tail.ready.wait()
        except BaseException:
            self._let_go(partition)
            raise
        tail.listeners.setdefault(listener.call_id, set()).add(listener)
        return tail.position

    def detach(self, listener: Listener, partition: int) -> None:
        tail = self._tails[partition]
        some = tail.listeners[listener.call_id]
        some.remove(listener)
        if not some:
            del tail.listeners[listener.call_id]
        self._let_go(partition)

    def _begin(self, partition: int) -> _Tail:
        tail = self._tails[partition] = _Tail(self._log, partition)
        self._tasks[partition] = asyncio.create_task(tail.run(), name=f"screen tail {partition}")
        return tail

    def _let_go(self, partition: int) -> None:
        tail = self._tails[partition]
        tail.users -= 1
        if not tail.users:
            del self._tails[partition]
            task = self._tasks.pop(partition)
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
            task.cancel()

    async def close(self) -> None:
        """Every tail has stopped when it returns."""
        tasks = {*self._tasks.values(), *self._stopping}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def past(log: Log, partition: int, first: int, stop: int, *, call_id: str = "") -> AsyncGenerator[Heard, None]:
    """The events of a call (empty: of all) from `first` up to `stop`, which is not above the partition's end."""
    position = max(first, await log.begin(EVENTS.name, partition))
    if position >= stop:
        return
    reader = log.reader(EVENTS.name, {partition: position})
    try:
        while reader.positions()[partition] < stop:
            for record in await reader.read(max_records=1_000, wait_ms=1_000):
                if record.position >= stop:
                    return
                if call_id in ("", record.key) and (item := heard(record)) is not None:
                    yield item
    finally:
        with suppress(LogClosed):
            await reader.close()
