"""Tables rebuilt from the log are those that were built while it grew, whatever happened in between."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from eventlog.port import Record
from projections.base import read_positions
from projections.rebuild import rebuild
from projections.tables import METADATA
from schema.envelope import Unknown
from schema.registry import decode
from tests.support.databases import Database, Killed, Rows, opened
from tests.support.events import DATA, ROLES, Tape, a_whole_call
from tests.support.postgres import Databases

CALLS = ("CA1", "CA2", "CA3")
TOO_LARGE = 2**63 + 1  # for any database's integers: an event that fails for its own sake


def a_log(chance: random.Random, *, steps: int, partition: int = 0) -> list[Record]:
    """Calls that begin, talk, end and begin again, with voids, repeats, unknown and broken records among them."""
    tape = Tape(partition=partition)
    calls = tuple(f"{call_id}-{partition}" for call_id in CALLS)
    tape.numbers = 1_000_000 * (partition + 1)
    if chance.random() < 0.5:
        a_whole_call(calls[0], tape=tape)
    known: dict[str, list[str]] = {}
    for _ in range(steps):
        tape.call_id = chance.choice(calls)
        if not known.get(tape.call_id) or chance.random() < 0.03:
            known.setdefault(tape.call_id, []).append(tape.say("call.started").id)
        elif chance.random() < 0.15:
            _something_odd(chance, tape)
        else:
            _something_said(chance, tape, known[tape.call_id])
    return tape.records


def _something_odd(chance: random.Random, tape: Tape) -> None:
    odd = chance.randrange(5)
    last = tape.records[-1]
    if odd == 0:  # appended twice
        tape.append(decode(chance.choice([each for each in tape.records if each.value != b"{"]).value))
    elif odd == 1:  # a zombie's word
        tape.say(chance.choice(["turn.taken", "reply.started", "call.ended", "transcript.settled"]), prior="long-gone")
    elif odd == 2:
        tape.append(Unknown(type="moon.rose", id="m", call_id=tape.call_id, raw=_unknown(tape.call_id)))
    elif odd == 3:
        tape.records.append(Record(last.topic, last.partition, last.position + 1, tape.at, tape.call_id, b"{"))
    else:
        tape.say("transcript.settled", start_ms=TOO_LARGE)


def _unknown(call_id: str) -> bytes:
    return b'{"type":"moon.rose","id":"m","call_id":"%s","source":"moon","sequence":1}' % call_id.encode()


def _something_said(chance: random.Random, tape: Tape, known: list[str]) -> None:
    name = chance.choice(sorted(DATA))
    if name == "call.sealed" and chance.random() < 0.7:
        return
    overrides: dict[str, Any] = {}
    for field in DATA[name]:
        if field in ("reply", "in_answer_to", "call"):
            overrides[field] = chance.choice(known)
        elif field in ("heard_ms", "duration_ms"):
            overrides[field] = chance.randrange(3_000)
        elif field in ("index", "sentence", "revision"):
            overrides[field] = chance.randrange(2)
        elif field == "stream":
            overrides[field] = chance.choice(["MZ1", "MZ2"])
        elif field == "interrupted":
            overrides[field] = chance.random() < 0.5
    if "stream" in overrides and name not in ROLES:
        overrides["source"] = overrides["stream"]  # so that a superseded stream falls silent
    said = tape.say(name, cause=chance.choice(known), after_ms=chance.randrange(-20, 500), **overrides)
    if name in ("reply.started", "turn.taken", "tool.called", "tool.returned", "speech.started"):
        known.append(said.id)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_rebuilt_tables_equal_the_live_ones_whatever_happened_meanwhile(reused: Database, seed: int) -> None:
    chance = random.Random(seed)
    records = a_log(chance, steps=chance.randrange(1, 120))
    reused.apply_with_accidents(records, chance)
    live = reused.all_rows()

    assert live == reused.rebuilt(records)


@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_partitions_do_not_care_how_they_are_interleaved(reused: Database, seed: int) -> None:
    chance = random.Random(seed)
    logs = [a_log(chance, steps=30, partition=partition) for partition in range(3)]
    one_after_the_other = [record for log in logs for record in log]
    mixed: list[Record] = []
    while logs := [log for log in logs if log]:
        mixed.append(chance.choice(logs).pop(0))

    assert reused.rebuilt(mixed) == reused.rebuilt(one_after_the_other)


def test_a_random_log_is_worth_its_name(reused: Database) -> None:
    tables = reused.rebuilt(a_log(random.Random(7), steps=1_500))

    assert [name for name, rows in tables.items() if not rows] == []
    assert {row[6] for row in tables["failures"]} == {"projection", "stt"}
    assert len(tables["calls"]) > len(CALLS)  # some began again
    assert sum(row[-1] for row in tables["calls"]) > 50  # void events


def test_both_databases_say_the_same(postgres: Databases) -> None:
    records = a_log(random.Random(11), steps=600)
    with postgres.fresh() as url, opened(url) as there, opened(":memory:") as here:
        here.write(METADATA.create_all)

        assert _sorted(there.rebuilt(records)) == _sorted(here.rebuilt(records))


def _sorted(tables: Rows) -> Rows:
    """Databases order texts differently."""
    return {name: sorted(rows, key=lambda row: repr(row[:3])) for name, rows in tables.items()}


def test_a_rebuild_leaves_the_old_tables_to_readers_until_it_is_committed(reused: Database) -> None:
    records = a_whole_call().records
    before = reused.rebuilt(records)

    def rebuild_and_die(connection: Connection) -> None:
        rebuild(connection, records[:10])
        raise Killed

    with pytest.raises(Killed):
        reused.write(rebuild_and_die)
    assert reused.all_rows() == before
    assert reused.write(rebuild, records) == reused.write(read_positions)
    assert reused.all_rows() == before
