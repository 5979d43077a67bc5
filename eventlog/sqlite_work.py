"""What the writing thread can be asked to do, each as the SQL of one open transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from eventlog.port import Entry, Placed, Record
from eventlog.sqlite_file import insert


@dataclass(slots=True, eq=False)
class Append:
    """`partitions` and `placed` go with `entries`."""

    topic: str
    entries: Sequence[Entry]
    partitions: Sequence[int]
    size: int
    answer: asyncio.Future[list[Placed]]
    placed: list[Placed] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Commit:
    """Remember the positions of a group."""

    group: str
    topic: str
    positions: Mapping[int, int]
    answer: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class Trim:
    """Drop at most `rows` of the oldest records, older than `before`. `dropped` says how many went."""

    topic: str
    before: int
    rows: int
    answer: asyncio.Future[None]
    dropped: int = 0


@dataclass(slots=True, eq=False)
class Probe:
    """Write something, as an append would, and leave nothing behind."""

    answer: asyncio.Future[None]


Request = Append | Commit | Trim | Probe


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The records that one transaction gave a topic: every position from `start` up to `stop` is among them."""

    topic: str
    start: int
    stop: int
    ends: Mapping[int, int]
    records: Sequence[Record]  # empty when nobody in this process follows the topic
    size: int


def append_all(
    connection: sqlite3.Connection, topic: str, appends: Sequence[Append], *, at: int, followed: bool
) -> Slice:
    """Give out positions and insert, in the order given. Holds the write lock already."""
    (start,) = connection.execute("SELECT max(end) FROM ends WHERE topic = ?", (topic,)).fetchone()
    position = start
    for append in appends:
        append.placed = [
            Placed(partition, place, at) for place, partition in enumerate(append.partitions, start=position)
        ]
        position += len(append.placed)
    places = [place for append in appends for place in append.placed]
    entries = [entry for append in appends for entry in append.entries]
    values: list[object] = []
    for place, entry in zip(places, entries, strict=True):
        values += (place.position, place.partition, at, entry.key, entry.value)
    insert(connection, head=f'INSERT INTO "{topic}"', tail="", width=5, values=values)
    ends = {place.partition: place.position + 1 for place in places}
    _move_ends(connection, topic, ends)
    records = _records(topic, places, entries) if followed else ()
    return Slice(topic, start, position, ends, records, sum(append.size for append in appends))


def _records(topic: str, places: Sequence[Placed], entries: Sequence[Entry]) -> list[Record]:
    return [
        Record(topic, place.partition, place.position, place.at, entry.key, entry.value)
        for place, entry in zip(places, entries, strict=True)
    ]


def _move_ends(connection: sqlite3.Connection, topic: str, ends: Mapping[int, int]) -> None:
    insert(
        connection,
        head="INSERT INTO ends",
        tail="ON CONFLICT (topic, partition) DO UPDATE SET end = excluded.end",
        width=3,
        values=list(chain.from_iterable((topic, partition, end) for partition, end in ends.items())),
    )


def commit_positions(connection: sqlite3.Connection, commit: Commit) -> None:
    rows = [(commit.group, commit.topic, partition, position) for partition, position in commit.positions.items()]
    connection.executemany(
        "INSERT INTO committed VALUES (?, ?, ?, ?) ON CONFLICT (team, topic, partition)"
        " DO UPDATE SET position = max(position, excluded.position)",
        rows,
    )


def trim(connection: sqlite3.Connection, request: Trim) -> None:
    """Only the beginning of a table goes: what stands behind a record that is young enough stays."""
    oldest = f'SELECT position, at FROM "{request.topic}" ORDER BY position LIMIT {request.rows}'  # noqa: S608
    (young, last) = connection.execute(
        f"SELECT min(CASE WHEN at >= ? THEN position END), max(position) FROM ({oldest})",  # noqa: S608
        (request.before,),
    ).fetchone()
    if last is not None:
        until = last + 1 if young is None else young
        cursor = connection.execute(f'DELETE FROM "{request.topic}" WHERE position < ?', (until,))  # noqa: S608
        request.dropped = cursor.rowcount


def probe(connection: sqlite3.Connection) -> None:
    """New pages for a while, to see that there is room; then one small change, so that something is written."""
    connection.execute("SAVEPOINT room")
    connection.execute("INSERT INTO probe (value) VALUES (zeroblob(65536))")
    connection.execute("ROLLBACK TO room")
    connection.execute("RELEASE room")
    connection.execute("INSERT OR REPLACE INTO probe (id, value) VALUES (0, randomblob(8))")
