"""Effect and position are one transaction, and an event that fails harms nobody but itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from eventlog.port import Record
from projections import base, tables
from projections.admissions import Gate
from projections.applying import Tables
from projections.base import apply_batch, read_positions
from projections.database import for_writing, open_database
from projections.errors import PositionTaken, ProjectionUnavailable
from projections.queries import list_calls, positions
from projections.types import EARLIEST_MS, LATEST_MS
from schema.registry import EVENTS
from tests.support.databases import Database, Killed, opened
from tests.support.events import Tape, a_record, a_whole_call, an_event

TOO_LARGE = 2**63 + 1  # for any database's integers


def test_a_batch_that_is_not_committed_leaves_neither_effect_nor_position(database: Database) -> None:
    def apply_and_die(connection: Connection) -> None:
        assert apply_batch(connection, a_whole_call().records) == {0: 46}
        raise Killed

    with pytest.raises(Killed):
        database.write(apply_and_die)

    assert database.rows(tables.calls) == database.rows(tables.positions) == database.rows(tables.admissions) == []


def test_records_read_again_change_nothing(database: Database) -> None:
    records = a_whole_call().records
    for batch in (records[:20], records[10:30], records, records):
        database.apply(batch)

    assert database.rows(tables.calls)[0]["events"] == len(records)
    assert database.rows(tables.calls)[0]["void"] == 0


def test_the_second_of_two_projectors_is_told(database: Database) -> None:
    records = a_whole_call().records
    database.apply(records[:20], expected={})
    with pytest.raises(PositionTaken, match="stands at 20, not at 0"):
        database.apply(records[:30], expected={0: 0})
    assert database.apply(records[20:], expected={0: 20}) == {0: 46}


def test_a_restarted_projector_goes_on_from_the_table(database: Database) -> None:
    records = a_whole_call().records
    database.apply(records[:17])
    begin = database.write(read_positions)[0]
    database.apply(records[begin:], expected={0: begin})

    assert database.rows(tables.calls)[0]["events"] == len(records)


async def test_a_projector_waits_for_the_other_ones_commit_and_then_finds_the_position_taken(migrated_url: str) -> None:
    one, other = open_database(migrated_url), open_database(migrated_url)
    records = a_whole_call().records
    async with one.connect() as winner:
        await winner.run_sync(for_writing)
        async with winner.begin():
            await winner.run_sync(apply_batch, records[:20], expected={})
            loser = asyncio.create_task(Tables(other).apply(records[:20], {}))
            await _until_it_waits(one, loser)
    with pytest.raises(PositionTaken):
        await loser
    assert await positions(one) == {0: 20}
    for engine in (one, other):
        await engine.dispose()


async def _until_it_waits(engine: AsyncEngine, loser: asyncio.Task[Any]) -> None:
    """PostgreSQL knows who waits for a lock. SQLite's driver waits in a thread, of which nobody tells."""
    if engine.dialect.name == "sqlite":
        return
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while not loser.done():
        async with engine.connect() as connection:
            if (await connection.execute(waiting)).scalar():
                return


async def test_two_projectors_that_begin_a_partition_together_apply_it_once(migrated_url: str) -> None:
    engines = [open_database(migrated_url) for _ in range(4)]
    records = a_whole_call().records
    outcomes = await asyncio.gather(*(Tables(each).apply(records, {}) for each in engines), return_exceptions=True)

    assert sorted(type(each).__name__ for each in outcomes) == ["PositionTaken"] * 3 + ["dict"]
    assert (await list_calls(engines[0])).calls[0].events == len(records)
    for engine in engines:
        await engine.dispose()


def test_an_event_that_fails_for_its_own_sake_becomes_a_row_and_the_rest_goes_on(database: Database) -> None:
    tape = Tape()
    tape.say("call.started")
    failing = tape.say("transcript.settled", start_ms=TOO_LARGE)
    tape.say("transcript.settled", text="after it")
    database.apply(tape.records)

    (failure,) = database.rows(tables.failures)
    assert (failure["position"], failure["event_id"], failure["stage"]) == (1, failing.id, "projection")
    assert failure["code"] == "Refused"
    # It was admitted all the same, as every other reader of the log admitted it.
    assert [row["text"] for row in database.rows(tables.lines)] == ["after it"]
    assert database.rows(tables.calls)[0]["events"] == 3


def test_a_record_that_is_no_event_becomes_a_row(database: Database) -> None:
    database.apply([Record("calls.events", 3, 9, 1, "CA1", b"{broken")])

    (failure,) = database.rows(tables.failures)
    assert (failure["partition"], failure["position"], failure["code"]) == (3, 9, "MalformedEvent")
    assert database.rows(tables.positions)[0]["position"] == 10


def test_a_failing_database_is_not_the_events_fault(database: Database) -> None:
    records = a_whole_call().records

    def apply_on_a_failing_one(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", _fail_at_turns)
        apply_batch(connection, records)

    with pytest.raises(ProjectionUnavailable, match="cannot be used"):
        database.write(apply_on_a_failing_one)
    assert database.rows(tables.failures) == database.rows(tables.positions) == []
    assert database.apply(records) == {0: 46}  # the same again, later


def _fail_at_turns(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    if statement.startswith("INSERT INTO turns"):
        connection.exec_driver_sql("SELECT * FROM a_table_that_is_gone")


def test_every_event_type_can_be_applied_alone_without_failing(database: Database) -> None:
    for number, name in enumerate(sorted(set(EVENTS) - {"call.started"})):
        tape = Tape(call_id=f"CA{number}", partition=number, numbers=number * 100)
        tape.say("call.started")
        tape.say(name)
        database.apply(tape.records)

    assert [row for row in database.rows(tables.failures) if row["stage"] == "projection"] == []


def test_an_event_of_a_call_that_never_began_is_void(database: Database) -> None:
    database.apply([a_record(an_event("turn.taken"))])

    assert database.rows(tables.turns) == database.rows(tables.admissions) == []


def test_every_handler_is_of_an_event_and_every_event_with_rows_has_one() -> None:
    without = {name for name, kind in EVENTS.items() if kind not in base.EFFECTS}

    assert set(base.EFFECTS) <= set(EVENTS.values())
    assert without == {
        "call.adopted", "engine.changed", "request.made", "speech.stopped", "timer.rang", "turn.released"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("transcript.settled", {"text": "nul \x00 in it", "language": "nul\x00"}),
        ("tool.called", {"arguments": {"nul\x00": "nul\x00"}}),
        ("reply.started", {"seed": 2**63 - 1}),
        ("stream.measured", {"client": {"huge": 1e308, "tiny": 5e-324, "whole": 2.0}}),
        ("stream.measured", {"jitter_ms": 1e-300}),
        ("action.found", {"title": "\u00e9\U0001f600\u202e" * 500}),
        ("call.summarised", {"summary": "word " * 40_000}),
    ],
)
def test_odd_values_are_kept_alike(database: Database, name: str, odd: dict[str, Any]) -> None:
    tape = Tape()
    tape.say("call.started")
    tape.say(name, **odd)
    database.apply(tape.records)

    assert database.rows(tables.failures) == []
    with opened(":memory:") as plain:
        plain.write(tables.METADATA.create_all)
        plain.apply(tape.records)
        assert database.all_rows() == plain.all_rows()


def test_a_value_too_large_for_an_index_is_its_events_own_fault(database: Database) -> None:
    noise = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(4_000))
    tape = Tape()
    tape.say("call.started", agent=noise)
    tape.say("call.started", call_id="after-it")
    database.apply(tape.records)

    # SQLite's indexes take anything; PostgreSQL's take 2,704 bytes.
    kept = [call["call_id"] for call in database.rows(tables.calls)]
    failed = [(each["position"], each["code"]) for each in database.rows(tables.failures)]
    assert (sorted(kept), failed) in [([tape.call_id, "after-it"], []), (["after-it"], [(0, "Refused")])]
    assert database.write(read_positions) == {0: 2}


@pytest.mark.parametrize("odd", ["x" * 3_000, "nul\x00"])
def test_ids_that_cannot_be_keys_stop_no_partition(database: Database, odd: str) -> None:
    tape = Tape()
    tape.say("call.started", call_id=odd)
    tape.say("call.ended", call_id=odd)
    tape.say("call.started", id=odd)
    tape.say("call.started")
    database.apply(tape.records)

    assert {each["code"] for each in database.rows(tables.failures)} == {"UnkeepableId"}
    assert [each["position"] for each in database.rows(tables.failures)] == [0, 1, 2]
    assert len(database.rows(tables.calls)) <= 1  # the last one is a resume to who admitted the third
    assert database.write(read_positions) == {0: 4}


def test_moments_come_back_to_the_millisecond(database: Database) -> None:
    for number, at in enumerate((0, 1, 999, 1_770_000_000_001, 1_770_000_000_999, -1, 253_000_000_000_123)):
        tape = Tape(call_id=f"CA{number}", partition=number, numbers=number * 100, at=at)
        tape.say("call.started")
        database.apply(tape.records)

    kept = {call["partition"]: call["started_at"] for call in database.rows(tables.calls)}
    assert list(kept.values()) == [0, 1, 999, 1_770_000_000_001, 1_770_000_000_999, -1, 253_000_000_000_123]


def test_a_time_beyond_the_calendar_stops_no_partition(database: Database) -> None:
    tape = Tape(at=2**62)
    tape.say("call.started")
    tape.say("call.ended", after_ms=-(2**63))
    database.apply(tape.records)

    (call,) = database.rows(tables.calls)
    assert (call["started_at"], call["ended_at"]) == (LATEST_MS, EARLIEST_MS)


def test_admission_is_kept_whole(database: Database) -> None:
    tape = a_whole_call()
    database.apply(tape.records)
    gate = Gate()
    database.write(gate.load, [tape.call_id])

    assert gate.calls[tape.call_id].admission == tape.states[tape.call_id]
