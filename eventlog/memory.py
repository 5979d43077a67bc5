"""The log in memory: the test double that passes the same contract suite as the real ones.

It knows no threads and no clock but the one it is given, so it runs on an event loop of virtual time. Positions are
counted for each partition alone, as Kafka counts them, so that nobody learns to compare those of two partitions.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from eventlog.memory_groups import MemoryGroup, MemoryMembership
from eventlog.port import Entry, LogClosed, LogError, Placed, Record, UnknownTopic, bytes_of
from schema.topics import TOPICS, Topic, partition_of


class _Partition:
    """Its kept records; `first` is the position of the oldest one."""

    def __init__(self) -> None:
        self.first = 0
        self.records: list[Record] = []

    @property
    def end(self) -> int:
        return self.first + len(self.records)

    def since(self, position: int, limit: int) -> list[Record]:
        start = max(0, position - self.first)
        return self.records[start : start + limit]

    def forget_before(self, at: int) -> None:
        old = bisect_left(self.records, at, key=lambda record: record.at)
        del self.records[:old]
        self.first += old


class _Shelf:
    """One topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.partitions = [_Partition() for _ in range(topic.partitions)]
        self.waiting: set[MemoryReader] = set()


class MemoryLog:
    """`fault`, while set, is raised by whatever touches records: a log that is away or broken."""

    def __init__(self, *, now: Callable[[], int], topics: Mapping[str, Topic] = TOPICS) -> None:
        self.fault: LogError | None = None
        self._now = now
        self._shelves = {name: _Shelf(topic) for name, topic in topics.items()}
        self._groups: dict[tuple[str, str], MemoryGroup] = {}
        self._committed: dict[tuple[str, str], dict[int, int]] = {}
        self._closed = False

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        shelf = self._shelf(topic)
        wanted = [_partition(shelf, entry) for entry in entries]
        bytes_of(entries)
        # Every real log lets others run here.
        await asyncio.sleep(0)
        self._usable()
        at = self._now()
        placed = [self._put(shelf, number, at, entry) for number, entry in zip(wanted, entries, strict=True)]
        self._forget(shelf, set(wanted), at)
        for reader in tuple(shelf.waiting):
            reader.notice(wanted)
        return placed

    def reader(self, topic: str, positions: Mapping[int, int]) -> MemoryReader:
        return MemoryReader(self, self._shelf(topic), positions)

    async def partitions(self, topic: str) -> int:
        return len(self._shelf(topic).partitions)

    async def begin(self, topic: str, partition: int) -> int:
        return self._partition(topic, partition).first

    async def end(self, topic: str, partition: int) -> int:
        return self._partition(topic, partition).end

    async def join(self, group: str, topic: str, member: str) -> MemoryMembership:
        partitions = len(self._shelf(topic).partitions)
        return self._groups.setdefault((group, topic), MemoryGroup(partitions)).join(member)

    async def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        for partition in positions:
            self._partition(topic, partition)
        self._usable()
        kept = self._committed.setdefault((group, topic), {})
        for partition, position in positions.items():
            kept[partition] = max(position, kept.get(partition, 0))

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        self._shelf(topic)
        self._usable()
        return dict(self._committed.get((group, topic), {}))

    async def now(self) -> int:
        self._open()
        return self._now()

    async def healthy(self) -> None:
        self._usable()

    def kill(self, member: str) -> None:
        """What the system does for a process that was killed: its partitions are free, and it is not told."""
        for group in self._groups.values():
            group.bury(member)

    async def close(self) -> None:
        self._closed = True
        for shelf in self._shelves.values():
            for reader in tuple(shelf.waiting):
                reader.rouse()
        for group in self._groups.values():
            group.disband()

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _put(self, shelf: _Shelf, number: int, at: int, entry: Entry) -> Placed:
        partition = shelf.partitions[number]
        record = Record(shelf.topic.name, number, partition.end, at, entry.key, bytes(entry.value))
        partition.records.append(record)
        return Placed(number, record.position, at)

    def _forget(self, shelf: _Shelf, numbers: set[int], at: int) -> None:
        if shelf.topic.retention_ms is not None:
            for number in numbers:
                shelf.partitions[number].forget_before(at - shelf.topic.retention_ms)

    def _open(self) -> None:
        if self._closed:
            raise LogClosed("the log was used after it was closed")

    def _usable(self) -> None:
        self._open()
        if self.fault is not None:
            raise self.fault

    def _shelf(self, topic: str) -> _Shelf:
        self._open()
        shelf = self._shelves.get(topic)
        if shelf is None:
            raise UnknownTopic(f"no topic {topic!r}; the topics are {', '.join(sorted(self._shelves))}")
        return shelf

    def _partition(self, topic: str, partition: int) -> _Partition:
        return self._shelf(topic).partitions[_known(self._shelf(topic), partition)]


class MemoryReader:
    """See `port.Reader`."""

    def __init__(self, log: MemoryLog, shelf: _Shelf, positions: Mapping[int, int]) -> None:
        self._log = log
        self._shelf = shelf
        self._positions: dict[int, int] = {}
        self._news = asyncio.Event()
        self._closed = False
        self.assign(positions)

    def assign(self, positions: Mapping[int, int]) -> None:
        self._usable()
        self._positions = {_known(self._shelf, number): position for number, position in positions.items()}
        self._news.set()

    def positions(self) -> Mapping[int, int]:
        return dict(self._positions)

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        # A reader that always finds something must let others run all the same.
        await asyncio.sleep(0)
        self._usable()
        if records := self._take(max_records):
            return records
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await self._await_records(max_records)
        except TimeoutError:
            return []

    async def close(self) -> None:
        self._closed = True
        self._news.set()

    def notice(self, partitions: Sequence[int]) -> None:
        if not self._positions.keys().isdisjoint(partitions):
            self._news.set()

    def rouse(self) -> None:
        self._news.set()

    async def _await_records(self, limit: int) -> list[Record]:
        self._shelf.waiting.add(self)
        try:
            while True:
                self._news.clear()
                self._usable()
                if records := self._take(limit):
                    return records
                await self._news.wait()
        finally:
            self._shelf.waiting.discard(self)

    def _take(self, limit: int) -> list[Record]:
        taken: list[Record] = []
        for number in self._by_turn():
            part = self._shelf.partitions[number].since(self._positions[number], limit - len(taken))
            if part:
                self._positions[number] = part[-1].position + 1
                taken += part
        return taken

    def _by_turn(self) -> list[int]:
        """The partitions, that of the oldest unread record first: a full one cannot keep the others waiting."""
        waiting = [(part[0].at, number) for number, part in self._next().items() if part]
        return [number for _, number in sorted(waiting)]

    def _next(self) -> dict[int, list[Record]]:
        return {
            number: self._shelf.partitions[number].since(position, 1) for number, position in self._positions.items()
        }

    def _usable(self) -> None:
        if self._closed:
            raise LogClosed("the reader was used after it was closed")
        self._log._usable()


def _known(shelf: _Shelf, partition: int) -> int:
    if not 0 <= partition < len(shelf.partitions):
        raise UnknownTopic(f"{shelf.topic.name} has partitions 0 to {len(shelf.partitions) - 1}, not {partition}")
    return partition


def _partition(shelf: _Shelf, entry: Entry) -> int:
    if entry.partition is None:
        return partition_of(entry.key, len(shelf.partitions))
    return _known(shelf, entry.partition)
