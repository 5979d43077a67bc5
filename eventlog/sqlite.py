"""The log in one SQLite file: for a laptop, for one machine, for several processes on it.

Promises of the port, and what keeps them:
1 and 2. Positions are given out under SQLite's one write lock and become visible with their transaction, in order.
3. An append is answered after COMMIT. `synchronous=FULL` adds the death of the machine to that of the process.
4. A transaction's rows follow each other, those of one append too.
7. The owner of a group's partition holds a file lock (`sqlite_members`).
8. `append` waits while too much is on its way to the file; readers share one tail of bounded size.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from eventlog.port import Entry, LogClosed, LogError, Placed, UnknownTopic, bytes_of
from eventlog.sqlite_file import LogFile, Tuning
from eventlog.sqlite_members import Seat, SqliteMembership
from eventlog.sqlite_readers import ReadingThreads, SqliteReader, known
from eventlog.sqlite_tail import Tail, Watcher
from eventlog.sqlite_work import Append, Commit, Probe, Request, Slice, Trim
from eventlog.sqlite_writer import Writer
from schema.topics import TOPICS, Topic, partition_of

# A call's key is hashed once, not once a frame.
_partition_of = lru_cache(maxsize=65_536)(partition_of)
# What a record takes beside its value, roughly: key, row, Python's objects.
_RECORD_BYTES = 200


class SqliteLog:
    """See `port.Log`. Open it with `async with`."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], int],
        topics: Mapping[str, Topic] = TOPICS,
        tuning: Tuning | None = None,
    ) -> None:
        self._file = LogFile(path, topics, tuning or Tuning())
        self._now = now
        self._tails = {name: Tail(self._file.tuning.tail_bytes) for name in topics}
        self._followers: dict[str, int] = {}
        self._memberships: list[SqliteMembership] = []
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._fault: LogError | None = None
        self._closed = True
        self._closing = asyncio.Event()

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        known_topic = self._topic(topic)
        partitions = [_place(known_topic, entry) for entry in entries]
        if not partitions:
            return []
        size = bytes_of(entries) + _RECORD_BYTES * len(entries)
        while self._pending_bytes >= self._file.tuning.pending_bytes:
            self._room.clear()
            await self._room.wait()
            self._usable()
        answer: asyncio.Future[list[Placed]] = asyncio.get_running_loop().create_future()
        self._writer.submit(Append(topic, entries, partitions, size, answer))
        self._pending_bytes += size
        return await answer

    def reader(self, topic: str, positions: Mapping[int, int]) -> SqliteReader:
        followed = self._topic(topic)
        reader = SqliteReader(
            followed, self._tails[topic], self._threads, usable=self._readable, closed=lambda: self._unfollow(topic)
        )
        reader.assign(positions)
        self._followers[topic] = self._followers.get(topic, 0) + 1
        return reader

    async def partitions(self, topic: str) -> int:
        return self._topic(topic).partitions

    async def begin(self, topic: str, partition: int) -> int:
        known(self._topic(topic), partition)
        oldest = f'SELECT min(position) FROM "{topic}"'  # noqa: S608
        ends = "SELECT end FROM ends WHERE topic = ? AND partition = ?"
        kept, end = await self._threads.run(
            lambda connection: (
                connection.execute(oldest).fetchone()[0],
                connection.execute(ends, (topic, partition)).fetchone()[0],
            )
        )
        return int(end if kept is None else min(kept, end))

    async def end(self, topic: str, partition: int) -> int:
        known(self._topic(topic), partition)
        rows = await self._threads.run(
            lambda connection: connection.execute(
                "SELECT partition, end FROM ends WHERE topic = ?", (topic,)
            ).fetchall()
        )
        ends = dict(rows)
        # A reader that is to read up to here must not wait for the watcher to see it too.
        self._tails[topic].learn(ends)
        return int(ends[partition])

    async def join(self, group: str, topic: str, member: str) -> SqliteMembership:
        partitions = self._topic(topic).partitions
        folder = Path(f"{self._file.path}.groups") / f"{quote(group, safe='')}@{quote(topic, safe='')}"
        membership = SqliteMembership(self._file, Seat(folder, member, partitions))
        self._memberships.append(membership)
        try:
            await membership.start()
        except LogError:
            self._memberships.remove(membership)  # whoever tries again for hours leaves nothing behind
            raise
        return membership

    async def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        for partition in positions:
            known(self._topic(topic), partition)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.submit(Commit(group, topic, dict(positions), answer))
        await answer

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        self._topic(topic)
        rows = await self._threads.run(
            lambda connection: connection.execute(
                "SELECT partition, position FROM committed WHERE team = ? AND topic = ?", (group, topic)
            ).fetchall()
        )
        return dict(rows)

    async def now(self) -> int:
        self._usable()
        return self._now()

    async def healthy(self) -> None:
        self._readable()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.submit(Probe(answer))
        await answer

    @property
    def pending_bytes(self) -> int:
        """What is on its way to the file."""
        return self._pending_bytes

    def tail_bytes(self, topic: str) -> int:
        """What is kept in memory for those who follow the topic."""
        return self._tails[topic].size

    async def close(self) -> None:
        """Writes what is pending."""
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        self._room.set()
        self._rouse()
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._file.create)
        async with contextlib.AsyncExitStack() as parts:
            # Ended in reverse: members leave, then what is pending is written, then nobody reads any more.
            self._threads = ReadingThreads(self._file)
            parts.push_async_callback(self._threads.stop)
            self._watcher = Watcher(self._file, news=self._learn, failed=self._fail)
            parts.push_async_callback(self._watcher.stop)
            self._writer = Writer(self._file, now=self._now, followed=self._followers.keys(), done=self._settle)
            parts.push_async_callback(self._writer.stop)
            self._closed = False
            for name in self._file.topics:
                await self.end(name, 0)
            self._janitor = asyncio.create_task(self._drop_expired(), name="log-janitor")
            parts.push_async_callback(self._stop_tasks)
            self._parts = parts.pop_all()
        return self

    async def _stop_tasks(self) -> None:
        for membership in self._memberships:
            await membership.leave()
        await self._janitor

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _settle(self, batch: Sequence[Request], slices: Sequence[Slice], error: LogError | None) -> None:
        """A transaction is over: answer those who asked, wake those who read."""
        for piece in slices:
            self._tails[piece.topic].extend(piece)
        for request in batch:
            if isinstance(request, Append):
                self._pending_bytes -= request.size
            if request.answer.done():
                continue  # its caller was cancelled
            if error is not None:
                request.answer.set_exception(error)
            elif isinstance(request, Append):
                request.answer.set_result(request.placed)
            else:
                request.answer.set_result(None)
        if self._pending_bytes < self._file.tuning.pending_bytes:
            self._room.set()

    def _learn(self, ends: Mapping[str, Mapping[int, int]]) -> None:
        self._fault = None
        for topic, tail in self._tails.items():
            tail.learn(ends.get(topic, {}))

    def _fail(self, error: LogError) -> None:
        self._fault = error
        self._rouse()

    def _rouse(self) -> None:
        for tail in self._tails.values():
            for reader in tuple(tail.waiting):
                reader.rouse()

    def _unfollow(self, topic: str) -> None:
        self._followers[topic] -= 1
        if not self._followers[topic]:
            del self._followers[topic]

    async def _drop_expired(self) -> None:
        """Retention, a few rows at a time between the appends of others."""
        while not self._closed:
            for topic in self._file.topics.values():
                with contextlib.suppress(LogError):  # those who append hear of it
                    await self._trim(topic)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._file.tuning.retention_every_ms / 1000):
                    await self._closing.wait()

    async def _trim(self, topic: Topic) -> None:
        rows = self._file.tuning.retention_rows
        while topic.retention_ms is not None and not self._closed:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            request = Trim(topic.name, self._now() - topic.retention_ms, rows, answer)
            self._writer.submit(request)
            await answer
            if request.dropped < rows:
                return

    def _usable(self) -> None:
        if self._closed:
            raise LogClosed(f"{self._file.path} was used before it was opened or after it was closed")

    def _readable(self) -> None:
        self._usable()
        if self._fault is not None:
            raise self._fault

    def _topic(self, name: str) -> Topic:
        self._usable()
        topic = self._file.topics.get(name)
        if topic is None:
            raise UnknownTopic(f"no topic {name!r}; the topics are {', '.join(sorted(self._file.topics))}")
        return topic


def _place(topic: Topic, entry: Entry) -> int:
    if entry.partition is None:
        return _partition_of(entry.key, topic.partitions)
    return known(topic, entry.partition)
