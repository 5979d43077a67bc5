"""An older calltape beside a newer one: fields it does not know and events it has no word for, through every role."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import Column, Table, create_engine, select

from clients.script import Hangup, Say, WaitFor
from eventlog.port import Entry, Log, Placed, Record
from eventlog.uri import open_log
from projections.rebuild import rebuild
from projections.tables import METADATA, admissions, calls, lines, positions
from schema import topics
from schema.envelope import Unknown
from schema.registry import decode
from tests.support.calls import running

pytestmark = pytest.mark.long

WORDS = "remind me to pay the rent on monday"
NEW_FIELDS = {"mood": {"valence": 0.3}, "noted_by": ["v9"], "urgent": None}
NEW_EVENT = "mood.sensed"
# How far the log was read, and of whom: a new event counts there, as one that nobody understands.
OF_THE_LOG = frozenset({positions, admissions})
COUNTED = frozenset({calls.c.events, calls.c.void})


class Newer:
    """A log whose writers are all of a later version: new fields in every event, and a new event after each append."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._sequences: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def __aenter__(self) -> Self:
        await self._log.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._log.__aexit__(*failure)

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if topic != topics.EVENTS.name:
            return await self._log.append(topic, entries)
        newer = [Entry(entry.key, _newer(entry.value), entry.partition) for entry in entries]
        felt = [self._felt(entry.key, entry.partition) for entry in {entry.key: entry for entry in entries}.values()]
        return (await self._log.append(topic, [*newer, *felt]))[: len(entries)]

    def _felt(self, call_id: str, partition: int | None) -> Entry:
        self._sequences[call_id] += 1
        number = self._sequences[call_id]
        event = {
            "type": NEW_EVENT,
            "version": 3,
            "id": f"{call_id}-mood-{number}",
            "call_id": call_id,
            "tenant_id": "default",
            "source": f"mood:{call_id}",
            "sequence": number,
            **NEW_FIELDS,
        }
        return Entry(call_id, json.dumps(event).encode(), partition)


def _newer(value: bytes) -> bytes:
    return json.dumps({**json.loads(value), **NEW_FIELDS}).encode()


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
            Say(say="yes that is right"),
            WaitFor(wait_for="reply"),
            Hangup(),
        )
        shown = await world.shown(report.call_id)
        records = await _records(world.house.log, report.call_id)
    assert report.ok, report.failures
    assert [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"] == [WORDS, "yes that is right"]
    assert shown["summary"] and shown["recording"] and [action["kind"] for action in shown["actions"]]
    unknown = [record for record in records if isinstance(decode(record.value), Unknown)]
    assert len(unknown) > 20, "the new event is all over the call"
    assert json.loads(unknown[0].value)["mood"] == NEW_FIELDS["mood"], "and travels on untouched"
    newer, older = _tables(records), _tables(_older(records))
    assert newer[lines.name]
    assert {name: rows for name, rows in newer.items() if rows != older[name]} == {}
