"""Readers of one topic: live ones are served from the tail in memory, others by short scans of the file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from eventlog.port import LogClosed, Record, UnknownTopic
from eventlog.sqlite_file import LogFile
from eventlog.sqlite_tail import Tail, wanted
from schema.topics import Topic

T = TypeVar("T")

# One SELECT looks at no more positions than this: it must not hold back the write-ahead log's checkpoint.
_SPAN = 20_000
_THREADS = 2


class ReadingThreads:
    """A few threads, each with a connection of its own."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="log-reader")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Raises what `work` raises, the driver's errors as LogError."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, work)

    async def stop(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._connections:
            connection.close()

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._file.translated():
            if not hasattr(self._own, "connection"):
                self._own.connection = self._file.connect()
                self._connections.append(self._own.connection)
            return work(self._own.connection)


class SqliteReader:
    """See `port.Reader`. Every position below `_low` is read or not wanted."""

    def __init__(
        self,
        topic: Topic,
        tail: Tail,
        threads: ReadingThreads,
        *,
        usable: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        self._topic = topic
        self._tail = tail
        self._threads = threads
        self._log_usable = usable
        self._tell_closed = closed
        self._positions: dict[int, int] = {}
        self._low = 0
        self._news = asyncio.Event()
        self._closed = False

    def assign(self, positions: Mapping[int, int]) -> None:
        self._usable()
        for partition in positions:
            known(self._topic, partition)
        self._positions = dict(positions)
        self._low = min(positions.values(), default=0)
        self._news.set()

    def positions(self) -> Mapping[int, int]:
        return dict(self._positions)

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        self._usable()
        # A reader that always finds something must let others run all the same.
        await asyncio.sleep(0)
        if records := self._take_live(max_records):
            return records
        loop = asyncio.get_running_loop()
        return await self._await_records(max_records, loop.time() + wait_ms / 1000)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._tell_closed()
            self._news.set()

    def notice(self, ends: Mapping[int, int]) -> None:
        if not self._positions.keys().isdisjoint(ends):
            self._news.set()

    def rouse(self) -> None:
        self._news.set()

    def _take_live(self, limit: int) -> list[Record]:
        if not self._tail.first <= self._low < self._tail.stop:
            return []
        records, through = self._tail.take(self._positions, self._low, limit)
        self._advance(through)
        return records

    async def _await_records(self, limit: int, until: float) -> list[Record]:
        self._tail.waiting.add(self)
        try:
            while True:
                self._news.clear()
                self._usable()
                if records := self._take_live(limit) or await self._scan(limit):
                    return records
                # Only waiting has a time-out: what can be read is read, however short the caller's patience.
                if not await self._news_before(until):
                    return []
        finally:
            self._tail.waiting.discard(self)

    async def _news_before(self, until: float) -> bool:
        if self._behind():
            return True
        try:
            async with asyncio.timeout_at(until):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _scan(self, limit: int) -> list[Record]:
        """The same from the file. A reading that is cancelled has read nothing."""
        if not self._behind():
            return []
        before = self._positions
        found, through = await self._threads.run(lambda connection: scan(connection, self._topic.name, before, limit))
        self._usable()
        if self._positions is not before:
            return []  # assigned anew meanwhile
        self._advance(through)
        return found

    def _behind(self) -> bool:
        ends = self._tail.ends
        return any(ends.get(partition, 0) > position for partition, position in self._positions.items())

    def _advance(self, through: int) -> None:
        self._positions = {partition: max(position, through) for partition, position in self._positions.items()}
        self._low = min(self._positions.values(), default=0)

    def _usable(self) -> None:
        if self._closed:
            raise LogClosed("the reader was used after it was closed")
        self._log_usable()


def scan(
    connection: sqlite3.Connection, topic: str, positions: Mapping[int, int], limit: int
) -> tuple[list[Record], int]:
    """Records from the lowest of `positions` on, and the position below which nothing is left to read.

    Looks at one span, so it may find nothing and still move on. The end is read first: all below it is committed, so
    the statements after it see all of it.
    """
    (end,) = connection.execute("SELECT max(end) FROM ends WHERE topic = ?", (topic,)).fetchone()
    (oldest,) = connection.execute(f'SELECT min(position) FROM "{topic}"').fetchone()  # noqa: S608
    low = max(min(positions.values()), end if oldest is None else oldest)
    if low >= end:
        return [], end
    stop = min(low + _SPAN, end)
    rows = _select(connection, topic, positions, low, stop, limit)
    records = wanted([Record(topic, *row) for row in rows], positions)
    return records, rows[-1][1] + 1 if len(rows) == limit else stop


def _select(
    connection: sqlite3.Connection, topic: str, positions: Mapping[int, int], low: int, stop: int, limit: int
) -> list[tuple[int, int, int, str, bytes]]:
    # Partitions that were read beyond this span already are not read again.
    partitions = json.dumps([partition for partition, position in positions.items() if position < stop])
    return connection.execute(
        f'SELECT partition, position, at, key, value FROM "{topic}" WHERE position >= ? AND position < ?'  # noqa: S608
        " AND partition IN (SELECT value FROM json_each(?)) ORDER BY position LIMIT ?",
        (low, stop, partitions, limit),
    ).fetchall()


def known(topic: Topic, partition: int) -> int:
    """The partition, if the topic has it. Raises UnknownTopic."""
    if not 0 <= partition < topic.partitions:
        raise UnknownTopic(f"{topic.name} has partitions 0 to {topic.partitions - 1}, not {partition}")
    return partition
