"""An older calltape beside a newer one: fields it does not know and events it has no word for, through every role."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table, create_engine, select

from clients.report import Seen
from clients.script import Hangup, Say, Script, WaitFor
from eventlog.port import Log, Record
from eventlog.uri import open_log
from projections.rebuild import rebuild
from projections.tables import METADATA, admissions, calls, lines, positions
from schema import topics
from schema.envelope import Unknown
from schema.registry import decode
from tests.support.calls import running
from tests.support.crowd import crowd, new_visit, until_seen
from tests.support.newer import NEW_EVENT, NEW_FIELDS, Newer, becomes_newer

pytestmark = pytest.mark.long

WORDS = "remind me to pay the rent on monday"
ANSWER = "yes that is right"
# How far the log was read, and of whom: a new event counts there, as one that nobody understands.
OF_THE_LOG = frozenset({positions, admissions})
COUNTED = frozenset({calls.c.events, calls.c.void})


def _older(records: Sequence[Record]) -> list[Record]:
    """The same log as today's version would have written it, each record in its place."""
    kept = []
    for record in records:
        event = json.loads(record.value)
        if event["type"] != NEW_EVENT:
            own = {name: value for name, value in event.items() if name not in NEW_FIELDS}
            kept.append(
                Record(record.topic, record.partition, record.position, record.at, record.key, json.dumps(own).encode())
            )
    return kept


def _tables(records: Sequence[Record]) -> dict[str, list[tuple[Any, ...]]]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        METADATA.create_all(connection)
        rebuild(connection, records)
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(*_of_the_call(table)))), key=repr)
            for table in METADATA.sorted_tables
            if table not in OF_THE_LOG
        }


def _of_the_call(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if column not in COUNTED]


async def _records(log: Log, call_id: str) -> list[Record]:
    partition = topics.partition_of(call_id, await log.partitions(topics.EVENTS.name))
    end = await log.end(topics.EVENTS.name, partition)
    reader = log.reader(topics.EVENTS.name, {partition: await log.begin(topics.EVENTS.name, partition)})
    found: list[Record] = []
    while reader.positions()[partition] < end:
        found += await reader.read(max_records=5000, wait_ms=50)
    await reader.close()
    return found


async def test_a_call_among_writers_of_a_later_version_is_the_call_it_would_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calltape.wiring.open_log", lambda *given, **named: Newer(open_log(*given, **named)))
    async with running(tmp_path) as world:
        report = await world.call(
            WaitFor(wait_for="reply"),
            Say(say=WORDS),
            WaitFor(wait_for="reply"),
            Say(say=ANSWER),
            WaitFor(wait_for="reply"),
            Hangup(),
        )
        shown = await world.shown(report.call_id)
        records = await _records(world.house.log, report.call_id)
    assert report.ok, report.failures
    assert [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"] == [WORDS, ANSWER]
    assert shown["summary"] and shown["recording"] and [action["kind"] for action in shown["actions"]]
    unknown = [record for record in records if isinstance(decode(record.value), Unknown)]
    assert len(unknown) > 20, "the new event is all over the call"
    assert json.loads(unknown[0].value)["mood"] == NEW_FIELDS["mood"], "and travels on untouched"
    newer, older = _tables(records), _tables(_older(records))
    assert newer[lines.name]
    assert {name: rows for name, rows in newer.items() if rows != older[name]} == {}


async def test_both_versions_work_side_by_side_during_a_rolling_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts after a new version was put on disk is of it; who ran before goes on as the old one."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = Script(
        steps=(
            WaitFor(wait_for="reply"),
            Say(say=WORDS),
            WaitFor(wait_for="reply"),
            Say(say=ANSWER),
            WaitFor(wait_for="reply"),
            Hangup(),
        )
    )
    async with crowd(tmp_path) as house:
        visits = [new_visit() for _ in range(2)]
        async with asyncio.TaskGroup() as tasks:
            for visit in visits:
                tasks.create_task(house.visit(script, visit))
            await until_seen(visits, lambda visit: visit.has_seen(Seen.AGENT_STARTED))
            becomes_newer(tmp_path)
            await house.renew()
        for visit in visits:
            assert visit.report is not None and visit.report.ok, visit.report
            shown = await house.finished(visit.call_id)
            said = [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"]
            assert said == [WORDS, ANSWER]
            assert shown["recording"] and [action["kind"] for action in shown["actions"]] == ["reminder"]
            of_partition = await house.records(topics.EVENTS.name, visit.call_id)
            records = [record for record in of_partition if decode(record.value).call_id == visit.call_id]
            of_newer = ["mood" in json.loads(record.value) for record in records]
            assert False in of_newer and True in of_newer, "one call, written by both"
            newer, older = _tables(records), _tables(_older(records))
            assert newer == older
