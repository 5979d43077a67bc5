"""Looks on while one role uses the log, so that how it does can be told without looking into the role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from eventlog.port import Entry, Log, LogUnavailable, Membership, Placed, Reader, Record


class Meter:
    """What one role did with the log since it started."""

    def __init__(self) -> None:
        self.records_read = 0
        self.append_retries = 0  # appends the log refused for the moment; the role tries each again
        self.is_joined = False
        self.assigned: frozenset[int] = frozenset()  # as the role saw it last: looking oneself gives partitions away
        self.followers: list[tuple[str, Reader]] = []  # (topic, reader) of what the role follows without end

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → the next position to be read."""
        found: dict[tuple[str, int], int] = {}
        for topic, reader in self.followers:
            for partition, position in reader.positions().items():
                found[topic, partition] = max(position, found.get((topic, partition), 0))
        return found


def metered(log: Log, meter: Meter) -> Log:
    """The same log; `meter` counts."""
    return cast(Log, _MeteredLog(log, meter))


class _Through:
    """Whatever is not looked at is the other's own."""

    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _MeteredLog(_Through):
    async def append(self, topic: str, entries: list[Entry]) -> list[Placed]:
        try:
            placed: list[Placed] = await self._inner.append(topic, entries)
        except LogUnavailable:
            self._meter.append_retries += 1
            raise
        return placed

    def reader(self, topic: str, positions: Mapping[int, int]) -> Reader:
        # Who begins with partitions looks something up and is done; who begins with none follows a share.
        follows = "" if positions else topic
        return cast(Reader, _MeteredReader(self._inner.reader(topic, positions), self._meter, follows))

    async def join(self, group: str, topic: str, member: str) -> Membership:
        membership = await self._inner.join(group, topic, member)
        self._meter.is_joined = True
        return cast(Membership, _MeteredMembership(membership, self._meter))


class _MeteredReader(_Through):
    def __init__(self, inner: Reader, meter: Meter, follows: str) -> None:
        super().__init__(inner, meter)
        self._entry = (follows, inner)
        if follows:
            meter.followers.append(self._entry)

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        records: list[Record] = await self._inner.read(max_records=max_records, wait_ms=wait_ms)
        self._meter.records_read += len(records)
        return records

    async def close(self) -> None:
        if self._entry in self._meter.followers:
            self._meter.followers.remove(self._entry)
        await self._inner.close()


class _MeteredMembership(_Through):
    @property
    def assigned(self) -> frozenset[int]:
        self._meter.assigned = self._inner.assigned
        return self._meter.assigned

    async def leave(self) -> None:
        self._meter.is_joined, self._meter.assigned = False, frozenset()
        await self._inner.leave()
