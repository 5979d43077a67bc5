"""What is on its way to Kafka: the parts of each append, and a queue for each partition."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from eventlog.port import Entry, LogError, Placed, bytes_of

# What a record takes beside its value in memory, roughly.
_RECORD_BYTES = 200
# Under a broker's default message.max.bytes (1,048,588), with room for the largest value and its key.
BATCH_BYTES = 1_040_000


class Ticket:
    """One append, until all its parts have landed or one has not."""

    def __init__(self, count: int, parts: int, size: int, answer: asyncio.Future[list[Placed]]) -> None:
        self.placed: list[Placed | None] = [None] * count
        self.size = size
        self.answer = answer
        self._parts = parts

    def landed(self) -> None:
        """One of its parts is on the log."""
        self._parts -= 1
        if not self._parts and not self.answer.done():
            self.answer.set_result([place for place in self.placed if place is not None])

    def fail(self, error: LogError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Part:
    """The entries of one append for one partition; `sent` of them have left."""

    __slots__ = ("entries", "indices", "sent", "ticket")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.indices: list[int] = []
        self.sent = 0
        self.ticket: Ticket | None = None


# Which entries of a part are in a batch: part, first, end.
Cargo = list[tuple[Part, int, int]]


class Lane:
    """One partition's queue. `under_way` is the cargo of the one batch that has left."""

    __slots__ = ("partition", "topic", "under_way", "waiting")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[Part] = deque()
        self.under_way: Cargo | None = None


def parts_by_partition(entries: Sequence[Entry], partitions: Sequence[int]) -> dict[int, Part]:
    """The entries of one append, each partition's in the order given."""
    parts: dict[int, Part] = {}
    for index, partition in enumerate(partitions):
        part = parts.get(partition)
        if part is None:
            part = parts[partition] = Part()
        part.indices.append(index)
        part.entries.append(entries[index])
    return parts


def place_in_order(cargo: Cargo, partition: int, base: int, at: int) -> None:
    """Tell each append where its entries of a batch went."""
    position = base
    for part, first, end in cargo:
        ticket = part.ticket
        assert ticket is not None
        placed = ticket.placed
        for index in part.indices[first:end]:
            placed[index] = Placed(partition, position, at)
            position += 1
        if end == len(part.indices):
            ticket.landed()


def size_of(entries: Sequence[Entry]) -> int:
    """Bytes in memory, roughly. Raises EntryTooLarge."""
    return bytes_of(entries) + _RECORD_BYTES * len(entries)
