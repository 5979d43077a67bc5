"""From records to tables: effect and position in one transaction.

1. The partition's position is claimed first: two projectors cannot both go on from the same place.
2. Each event is admitted or void, in the log's order (`schema.admit`).
3. The admitted ones take effect. One that fails for its own sake becomes a row of `failures`, as on every rebuild.
4. Admission state is saved beside the effects, and the caller commits all of it or nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from eventlog.port import Record
from projections import calls, failures, insights, streams, texts, tools, transcript, turns
from projections.admissions import Gate
from projections.errors import REFUSED, PositionTaken, is_transient, translated
from projections.tables import calls as calls_table
from projections.tables import positions
from projections.types import clean
from projections.values import Handler, Place
from schema.envelope import AnyEvent
from schema.registry import MalformedEvent, decode

NAME = "tables"  # of the one projection that shares this transaction

# `calls` comes first: the others' rows belong to its. `texts` asks what `insights` knows.
PROJECTIONS = (calls, streams, transcript, turns, tools, insights, texts, failures)
ATTEMPTS = 3  # of an event that fails for its own sake: once with its batch, then alone
EFFECTS: Mapping[type, tuple[Handler, ...]] = {
    kind: tuple(each.HANDLERS[kind] for each in PROJECTIONS if kind in each.HANDLERS)
    for kind in {kind for each in PROJECTIONS for kind in each.HANDLERS}
}

LONGEST_ID = 512  # characters; an index of PostgreSQL takes 2,704 bytes

COUNT_EVENTS = (
    update(calls_table)
    .where(calls_table.c.life == bindparam("of_life"))
    .values(events=calls_table.c.events + bindparam("admitted"), void=calls_table.c.void + bindparam("refused"))
)


class UnkeepableId(ValueError):
    """The event's id, or its call's, cannot be a key."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """An event that is believed, the record it came in, and its place."""

    event: AnyEvent
    record: Record
    place: Place


def apply_batch(
    connection: Connection, records: Sequence[Record], *, expected: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Applies records inside the caller's transaction; returns the next position of each partition.

    `expected` are the positions the records were read from: another value in the table raises PositionTaken. Without
    it the table's word is taken. Records below the position were applied before and are passed over. Raises
    ProjectionUnavailable when the database cannot be used: roll back, wait, and do the same again.
    """
    by_partition: dict[int, list[Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    with translated():
        return {
            partition: _apply_partition(connection, partition, its, expected)
            for partition, its in sorted(by_partition.items())
        }


def read_positions(connection: Connection) -> dict[int, int]:
    """The next position to apply, by partition; partitions never applied are absent (read them from their begin)."""
    with translated():
        rows = connection.execute(select(positions).where(positions.c.projection == NAME)).mappings()
        return {row["partition"]: row["position"] for row in rows}


def _apply_partition(
    connection: Connection, partition: int, records: Sequence[Record], expected: Mapping[int, int] | None
) -> int:
    position = _claim(connection, partition)
    if expected is not None and expected.get(partition, 0) != position:
        raise PositionTaken(
            f"partition {partition} stands at {position}, not at {expected.get(partition, 0)}: another projector "
            "applied it; read the positions again"
        )
    fresh = [record for record in records if record.position >= position]
    if not fresh:
        return position
    _apply_fresh(connection, fresh)
    following = fresh[-1].position + 1
    _advance(connection, partition, position, following)
    return following


def _claim(connection: Connection, partition: int) -> int:
    """Takes the row's lock before anything is read, so that nobody else can move it until the caller commits."""
    mine = (positions.c.projection == NAME, positions.c.partition == partition)
    locked = connection.execute(update(positions).where(*mine).values(position=positions.c.position))
    if not locked.rowcount:
        row = {"projection": NAME, "partition": partition, "position": 0}
        try:
            with connection.begin_nested():
                connection.execute(positions.insert(), row)
        except REFUSED as error:
            raise PositionTaken(f"another projector began partition {partition} at the same moment") from error
        return 0
    return int(connection.execute(select(positions.c.position).where(*mine)).scalar_one())


def _advance(connection: Connection, partition: int, position: int, following: int) -> None:
    moved = connection.execute(
        update(positions)
        .where(positions.c.projection == NAME, positions.c.partition == partition, positions.c.position == position)
        .values(position=following)
    )
    if moved.rowcount != 1:
        raise PositionTaken(f"partition {partition} was moved from {position} by another projector")


def _apply_fresh(connection: Connection, records: Sequence[Record]) -> None:
    events = [(record, event) for record in records if (event := _decode(connection, record)) is not None]
    gate = Gate()
    gate.load(connection, (event.call_id for _, event in events))
    counts: Counter[tuple[str, str]] = Counter()
    believed: list[Admitted] = []
    for record, event in events:
        admitted = _judge(gate, record, event)
        counts[gate.life_of(event.call_id), "refused" if admitted is None else "admitted"] += 1
        if admitted is not None:
            believed.append(admitted)
    _take_effect(connection, believed)
    gate.save(connection)
    _count(connection, counts)


def _decode(connection: Connection, record: Record) -> AnyEvent | None:
    try:
        event = decode(record.value)
        _require_keepable(event)
        return event
    except (MalformedEvent, UnkeepableId) as error:
        failures.note_unapplied(connection, record, error)
        return None


def _require_keepable(event: AnyEvent) -> None:
    """Raises UnkeepableId: admission is kept by these ids, and must not fail for the sake of one event."""
    for each in (event.id, event.call_id):
        if len(each) > LONGEST_ID or clean(each) != each:
            raise UnkeepableId(f"an id of {len(each)} characters, or with characters that no database keeps")


def _judge(gate: Gate, record: Record, event: AnyEvent) -> Admitted | None:
    after = gate.admit(event, record.at)
    if after is None:
        return None
    place = Place(record.partition, record.position, record.at, after.admission.life, after.started_at)
    return Admitted(event, record, place)


def _take_effect(connection: Connection, believed: Sequence[Admitted]) -> None:
    """All at once; only when one of them fails, again one by one, to find which."""
    try:
        with connection.begin_nested():
            for each in believed:
                _apply(connection, each)
    except Exception as error:
        if is_transient(error):
            raise
        _take_effect_singly(connection, believed)


def _take_effect_singly(connection: Connection, believed: Iterable[Admitted]) -> None:
    for each in believed:
        error = _try(connection, each)
        if error is not None:
            failures.note_unapplied(connection, each.record, error, life=each.place.life, event_id=each.event.id)


def _try(connection: Connection, admitted: Admitted) -> Exception | None:
    """None, or why the event fails for its own sake, time and again."""
    failed: Exception | None = None
    for _ in range(ATTEMPTS - 1):
        try:
            with connection.begin_nested():
                _apply(connection, admitted)
        except Exception as error:
            if is_transient(error):
                raise
            failed = error
        else:
            return None
    return failed


def _apply(connection: Connection, admitted: Admitted) -> None:
    for handler in EFFECTS.get(type(admitted.event), ()):
        handler(connection, admitted.event, admitted.place)


def _count(connection: Connection, counts: Counter[tuple[str, str]]) -> None:
    lives = dict.fromkeys(life for life, _ in counts if life)
    rows = [
        {"of_life": life, "admitted": counts[life, "admitted"], "refused": counts[life, "refused"]} for life in lives
    ]
    if rows:
        connection.execute(COUNT_EVENTS, rows)
