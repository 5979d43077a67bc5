"""Effect and position are one transaction, and an event that fails harms nobody but itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select

from eventlog.port import Record
from projections import base, tables
from projections.base import apply_batch, read_positions
from projections.database import for_writing, open_database, sync_engine
from projections.errors import PositionTaken, ProjectionUnavailable
from projections.queries import positions
from schema.registry import EVENTS
from tests.support.events import Tape, a_record, a_whole_call, an_event

TOO_LARGE = 2**63 + 1  # for any database's integers


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = sync_engine(f"sqlite:///{tmp_path}/calls.sqlite")
    tables.METADATA.create_all(engine)
    yield engine
    engine.dispose()


def rows(engine: Engine, table: Any) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def test_a_batch_that_is_not_committed_leaves_neither_effect_nor_position(engine: Engine) -> None:
    with engine.connect() as connection:
        assert apply_batch(connection, a_whole_call().records) == {0: 46}
        connection.rollback()

    assert rows(engine, tables.calls) == rows(engine, tables.positions) == rows(engine, tables.admissions) == []


def test_records_read_again_change_nothing(engine: Engine) -> None:
    records = a_whole_call().records
    for batch in (records[:20], records[10:30], records, records):
        with engine.begin() as connection:
            apply_batch(connection, batch)

    assert rows(engine, tables.calls)[0]["events"] == len(records)
    assert rows(engine, tables.calls)[0]["void"] == 0


def test_the_second_of_two_projectors_is_told(engine: Engine) -> None:
    records = a_whole_call().records
    with engine.begin() as connection:
        apply_batch(connection, records[:20], expected={})
    with pytest.raises(PositionTaken, match="stands at 20, not at 0"), engine.begin() as connection:
        apply_batch(connection, records[:30], expected={0: 0})
    with engine.begin() as connection:
        assert apply_batch(connection, records[20:], expected={0: 20}) == {0: 46}


def test_a_restarted_projector_goes_on_from_the_table(engine: Engine) -> None:
    records = a_whole_call().records
    with engine.begin() as connection:
        apply_batch(connection, records[:17])
    with engine.begin() as connection:
        begin = read_positions(connection)[0]
        apply_batch(connection, records[begin:], expected={0: begin})

    assert rows(engine, tables.calls)[0]["events"] == len(records)


def test_a_projector_waits_for_the_other_ones_commit_and_then_finds_the_position_taken(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calls.sqlite"
    one, other = sync_engine(url), sync_engine(url)
    tables.METADATA.create_all(one)
    event.listen(other, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 0"))
    records = a_whole_call().records
    with one.begin() as winner:
        apply_batch(winner, records[:20], expected={})
        with pytest.raises(ProjectionUnavailable), other.begin() as loser:
            apply_batch(loser, records[:20], expected={})
    with pytest.raises(PositionTaken), other.begin() as loser:
        apply_batch(loser, records[:20], expected={})
    one.dispose()
    other.dispose()


def test_an_event_that_fails_for_its_own_sake_becomes_a_row_and_the_rest_goes_on(engine: Engine) -> None:
    tape = Tape()
    tape.say("call.started")
    failing = tape.say("transcript.settled", start_ms=TOO_LARGE)
    tape.say("transcript.settled", text="after it")
    with engine.begin() as connection:
        apply_batch(connection, tape.records)

    (failure,) = rows(engine, tables.failures)
    assert (failure["position"], failure["event_id"], failure["stage"]) == (1, failing.id, "projection")
    assert failure["code"] == "Refused"
    # It was admitted all the same, as every other reader of the log admitted it.
    assert [row["text"] for row in rows(engine, tables.lines)] == ["after it"]
    assert rows(engine, tables.calls)[0]["events"] == 3


def test_a_record_that_is_no_event_becomes_a_row(engine: Engine) -> None:
    with engine.begin() as connection:
        apply_batch(connection, [Record("calls.events", 3, 9, 1, "CA1", b"{broken")])

    (failure,) = rows(engine, tables.failures)
    assert (failure["partition"], failure["position"], failure["code"]) == (3, 9, "MalformedEvent")
    assert rows(engine, tables.positions)[0]["position"] == 10


def test_a_failing_database_is_not_the_events_fault(engine: Engine) -> None:
    records = a_whole_call().records
    with pytest.raises(ProjectionUnavailable, match="cannot be used"), engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", _fail_at_turns)
        apply_batch(connection, records)
    assert rows(engine, tables.failures) == rows(engine, tables.positions) == []

    with engine.begin() as connection:  # the same again, later
        assert apply_batch(connection, records) == {0: 46}


def _fail_at_turns(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    if statement.startswith("INSERT INTO turns"):
        connection.exec_driver_sql("SELECT * FROM a_table_that_is_gone")


def test_every_event_type_can_be_applied_alone_without_failing(engine: Engine) -> None:
    for number, name in enumerate(sorted(set(EVENTS) - {"call.started"})):
        tape = Tape(call_id=f"CA{number}", partition=number, numbers=number * 100)
        tape.say("call.started")
        tape.say(name)
        with engine.begin() as connection:
            apply_batch(connection, tape.records)

    assert [row for row in rows(engine, tables.failures) if row["stage"] == "projection"] == []


def test_an_event_of_a_call_that_never_began_is_void(engine: Engine) -> None:
    with engine.begin() as connection:
        apply_batch(connection, [a_record(an_event("turn.taken"))])

    assert rows(engine, tables.turns) == rows(engine, tables.admissions) == []


def test_every_handler_is_of_an_event_and_every_event_with_rows_has_one() -> None:
    without = {name for name, kind in EVENTS.items() if kind not in base.EFFECTS}

    assert set(base.EFFECTS) <= set(EVENTS.values())
    assert without == {
        "call.adopted", "engine.changed", "request.made", "speech.stopped", "timer.rang", "turn.released"
    }  # fmt: skip


async def test_the_same_function_serves_an_async_database(tmp_path: Path) -> None:
    database = open_database(f"sqlite+aiosqlite:///{tmp_path}/calls.sqlite")
    async with database.connect() as connection:
        await connection.run_sync(for_writing)
        await connection.run_sync(tables.METADATA.create_all)
        reached = await connection.run_sync(apply_batch, a_whole_call().records)
        await connection.commit()

    assert await positions(database) == reached == {0: 46}
    await database.dispose()
