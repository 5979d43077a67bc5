"""The log's port: append, read, follow, share. Every backend passes `tests/contract/eventlog.py`.

Promises
1. Order: records of one partition have growing positions, and every reader sees them in that order. Positions of
   different partitions do not compare. A position is an int at this port, an opaque string outside the house.
2. No lost late commit: once a reader has been given position n of a partition, no record below n ever appears.
3. Durable: an append that returned survives the death of this process. One that raised may or may not be there.
4. Batches: the records of one `append` for one partition are adjacent and in the order given.
5. At least once, from the outside: a caller may append again; readers decide what it is worth.
6. `at` is the log's own time in ms since 1970, equal for all records of a batch; it may repeat or step back.
7. A group's partition has at most one owner among processes that run; a frozen owner may believe it still is one.
8. Bounded: a reader buffers at most what one `read` returns; `append` waits (never drops) when the log is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


class LogError(Exception):
    """The log's tree of errors."""


class LogUnavailable(LogError):
    """The log cannot be reached now; the same call may succeed later. Nobody's fault here."""


class LogBroken(LogError):
    """The log's data cannot be used (corrupt file, full disk, wrong version): an operator must act."""


class LogClosed(LogError):
    """The log or reader was used after it was closed: the caller's fault."""


class UnknownTopic(LogError):
    """No such topic or partition: the caller's fault, or `topics create` was not run."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is appended. `partition` None: by the key's hash."""

    key: str
    value: bytes
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What is read."""

    topic: str
    partition: int
    position: int
    at: int
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an entry went."""

    partition: int
    position: int
    at: int


class Reader(Protocol):
    """Reads partitions of one topic in order, each from where it was told. Not safe for two tasks at once."""

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, each from this position on; others no more. Kept ones keep their place only if
        given again with it (see `positions`)."""

    def positions(self) -> Mapping[int, int]:
        """The next position to be read, by partition."""

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        """The next records, oldest first within a partition; empty after `wait_ms` without any.

        Returns as soon as there is something. Raises LogUnavailable, LogBroken, LogClosed.
        """

    async def close(self) -> None: ...


class Membership(Protocol):
    """One process's share of a group's partitions."""

    @property
    def assigned(self) -> frozenset[int]: ...

    async def changed(self, *, wait_ms: int) -> bool:
        """Waits until `assigned` differs from when it was last looked at here, at most `wait_ms`.

        A partition that has left `assigned` goes to another member when `changed` is called after `assigned` was
        looked at: by then its owner here has stopped. Raises LogClosed after `leave`, and what a lock's disk raises.
        """

    async def leave(self) -> None:
        """Give all partitions up at once. Harmless when repeated."""


class Log(Protocol):
    """An append-only log of topics and partitions."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        """Durably append; returns places in the order given. Raises LogUnavailable, LogBroken, LogClosed,
        UnknownTopic. After LogUnavailable it may still appear."""

    def reader(self, topic: str, positions: Mapping[int, int]) -> Reader: ...

    async def partitions(self, topic: str) -> int: ...

    async def begin(self, topic: str, partition: int) -> int:
        """The oldest position still kept, or one below it with nothing kept between (equal to `end` when empty)."""

    async def end(self, topic: str, partition: int) -> int:
        """One more than the newest position; an append that returned lies below it. A reader that has read everything
        stands at it or above."""

    async def join(self, group: str, topic: str, member: str) -> Membership:
        """Share the topic's partitions with the group's other members. `member` is static: a restarted process
        with the same name gets its share back at once. Raises LogUnavailable while one of that name lives."""

    async def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        """Remember where the group has to start reading, by partition. Never moves back."""

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """The remembered positions; partitions never committed are absent (read them from `begin`)."""

    async def now(self) -> int:
        """The log's clock, ms since 1970."""

    async def healthy(self) -> None:
        """Raises LogUnavailable or LogBroken when an append would."""

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
