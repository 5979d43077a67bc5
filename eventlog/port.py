"""The log's port: append, read, follow, share. Every backend passes `tests/contract/eventlog.py`.

Promises
1. Order: records of one partition have growing positions, and every reader sees them in that order. Positions of
   different partitions do not compare. A position is an int at this port, an opaque string outside the house.
2. No lost late commit: once a reader has been given position n of a partition, no record below n ever appears.
3. Durable: an append that returned survives the death of this process. One that raised may or may not be there.
4. Batches: the records of one `append` for one partition are adjacent and in the order given. A log over a network
   promises the order always, adjacency up to MAX_VALUE_BYTES: more travels in several batches, and others may append
   between them.
5. At least once, from the outside: a caller may append again; readers decide what it is worth.
6. `at` is the log's own time in ms since 1970, equal for the records of one `append` for one partition; it may repeat
   or step back. (SQLite gives all records of an append one time; Kafka's partitions have each their own.)
7. A group's partition has at most one owner among processes that run; a frozen owner, or one cut off from the log, may
   believe it still is one. Where owners agree by file locks or in memory a partition moves only when its owner has let
   go of it. Where a broker tells them (Kafka), both may believe for the milliseconds of the telling: readers judge by
   the log's order alone, so that is harmless. `Membership.given` tells an owner what it may have missed.
8. Bounded: a reader buffers at most what one `read` returns or, over a network, a fixed number of bytes a partition;
   `append` waits (never drops) when the log is slow, and says LogUnavailable when that lasts.
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


class LogFull(LogUnavailable):
    """The log has no room. An operator must make some; then the same call succeeds, so whoever waits for a log that is
    away waits for this one. What is on it can be read all the same."""


class LogBroken(LogError):
    """The log's data cannot be used (corrupt file, wrong version): an operator must act, and start again."""


class EntryTooLarge(LogError):
    """An entry is larger than this log takes: the caller's fault, and nothing of that append is on the log."""


class LogClosed(LogError):
    """The log or reader was used after it was closed: the caller's fault."""


class UnknownTopic(LogError):
    """No such topic or partition: the caller's fault, or `topics create` was not run."""


# Every log takes a value and a key of this size, and none a larger one, so that what is written for one log can be
# written to every other. What a broker takes in one message by default, less its envelope and our key.
MAX_VALUE_BYTES = 1_000_000
MAX_KEY_CHARACTERS = 7_500


@dataclass(frozen=True, slots=True)
class Entry:
    """What is appended. `partition` None: by the key's hash. Above MAX_VALUE_BYTES or MAX_KEY_CHARACTERS a log raises
    EntryTooLarge; a broker that an operator allowed less may do so sooner."""

    key: str
    value: bytes
    partition: int | None = None


def bytes_of(entries: Sequence[Entry]) -> int:
    """Bytes of all their values. Raises EntryTooLarge."""
    sizes = [len(entry.value) for entry in entries]
    if sizes and max(sizes) > MAX_VALUE_BYTES:
        raise EntryTooLarge(f"a value of {max(sizes):,} bytes was to be appended; {MAX_VALUE_BYTES:,} is the most")
    longest = max([len(entry.key) for entry in entries], default=0)
    if longest > MAX_KEY_CHARACTERS:
        raise EntryTooLarge(f"a key of {longest:,} characters was to be appended; {MAX_KEY_CHARACTERS:,} is the most")
    return sum(sizes)


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
        """The next records, oldest first within a partition; empty after `wait_ms` without any. Nothing for `wait_ms=0`
        means that everything was read which was on the log when it was asked.

        Returns as soon as there is something. Raises LogUnavailable, LogBroken, LogClosed.
        """

    async def close(self) -> None: ...


class Membership(Protocol):
    """One process's share of a group's partitions."""

    @property
    def assigned(self) -> frozenset[int]: ...

    @property
    def given(self) -> Mapping[int, int]:
        """For each of `assigned`, how often it was given to this member; it only grows. More than when it was last
        looked at: it left and came back in between, so another may have owned it, and what was known of it is stale.
        """

    async def changed(self, *, wait_ms: int) -> bool:
        """Waits until `assigned` or `given` differs from when `assigned` was last looked at here, at most `wait_ms`.

        A partition that has left `assigned` goes to another member when `changed` is called after `assigned` was
        looked at: by then its owner here has stopped (Kafka does not wait for that: promise 7). Raises LogClosed after
        `leave`, LogUnavailable, and what a lock's disk raises.
        """

    async def leave(self) -> None:
        """Give all partitions up at once. Harmless when repeated."""


class Log(Protocol):
    """An append-only log of topics and partitions."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        """Durably append; returns places in the order given. Raises LogUnavailable (LogFull), LogBroken, LogClosed,
        UnknownTopic, EntryTooLarge. After LogUnavailable it may still appear, never behind what this process appended
        later to the same partition."""

    def reader(self, topic: str, positions: Mapping[int, int]) -> Reader: ...

    async def partitions(self, topic: str) -> int: ...

    async def begin(self, topic: str, partition: int) -> int:
        """The oldest position still kept, or one below it with nothing kept between (equal to `end` when empty)."""

    async def end(self, topic: str, partition: int) -> int:
        """One more than the newest position; an append that returned lies below it. A reader that has read everything
        stands at it or above."""

    async def join(self, group: str, topic: str, member: str) -> Membership:
        """Share the topic's partitions with the group's other members. `member` is static: a restarted process
        with the same name gets its share back at once. Raises LogUnavailable while one of that name lives, if the log
        can know (Kafka cannot: there the newcomer takes the other's place)."""

    async def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        """Remember where the group has to start reading, by partition. Never moves back. From a member of the group
        whose partition is another's by now it is nothing: the owner knows better."""

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """The remembered positions; partitions never committed are absent (read them from `begin`)."""

    async def now(self) -> int:
        """The log's clock, ms since 1970."""

    async def healthy(self) -> None:
        """Raises LogUnavailable (LogFull) or LogBroken when an append would."""

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
