"""The projector on a real PostgreSQL that goes away and comes back, and beside another one: exactly once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from eventlog.memory import MemoryLog
from eventlog.port import Entry, Record
from migrations.run import upgrade_on
from projections.applying import Tables
from projections.database import open_database
from projections.errors import ProjectionUnavailable
from projections.queries import positions
from schema.topics import EVENTS
from scripts.local_postgres import LocalPostgres
from tests.support.databases import Rows, opened
from tests.support.events import Tape, a_whole_call
from tests.support.postgres import Databases, a_server
from workers import projector
from workers.projector import Projector

PATIENCE_S = 60
PARTITIONS = 3
TOO_LARGE = 2**63 + 1  # for any database's integers


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "RETRY_S", 0.01)
    monkeypatch.setattr(projector, "LONGEST_RETRY_S", 0.05)


@pytest.fixture
def server() -> Iterator[LocalPostgres]:
    with a_server() as server:
        Databases(server.url()).order("CREATE DATABASE calls")
        with opened(server.url("calls")) as database:
            database.write(upgrade_on)
        yield server


class SharedByAll(MemoryLog):
    """A log in which every member believes that it has every partition: owners of old that do not know it yet."""

    async def join(self, group: str, topic: str, member: str) -> Any:
        return Everything(frozenset(range(PARTITIONS)))


class Everything:
    def __init__(self, assigned: frozenset[int]) -> None:
        self.assigned = assigned

    async def changed(self, *, wait_ms: int) -> bool:
        return False

    async def leave(self) -> None:
        pass


def a_log(*, shared: bool = False) -> MemoryLog:
    ticks = count(1_770_000_000_000)
    return (SharedByAll if shared else MemoryLog)(now=lambda: next(ticks))


def some_events() -> list[Entry]:
    """Of calls in three partitions; some of them fail for their own sake."""
    tapes = []
    for partition in range(PARTITIONS):
        tape = Tape(partition=partition, numbers=10_000 * (partition + 1))
        for number in range(4):
            a_whole_call(f"CA{partition}{number}", tape=tape)
            tape.say("call.started")
            tape.say("transcript.settled", start_ms=TOO_LARGE)
        tapes.append([Entry(each.key, each.value, partition) for each in tape.records])
    return [entry for together in zip(*tapes, strict=True) for entry in together]


async def written(log: MemoryLog) -> list[Record]:
    reader = log.reader(EVENTS.name, dict.fromkeys(range(PARTITIONS), 0))
    found: list[Record] = []
    while some := await reader.read(wait_ms=0):
        found += some
    await reader.close()
    return found


@asynccontextmanager
async def working(log: MemoryLog, url: str, instance: str = "one") -> AsyncIterator[Projector]:
    engine = open_database(url)
    worker = Projector(log, Tables(engine), instance=instance, now=lambda: 0)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        assert not task.done(), "the projector must not die"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.dispose()


async def caught_up(log: MemoryLog, url: str) -> None:
    ends = {partition: await log.end(EVENTS.name, partition) for partition in range(PARTITIONS)}
    await until_positions(url, lambda reached: reached == ends)


async def until_positions(url: str, wanted: Callable[[dict[int, int]], bool]) -> None:
    """The projector tells nobody: its table is asked until it is so."""
    engine = open_database(url)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not wanted(await _reached(engine)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await engine.dispose()


async def _reached(engine: AsyncEngine) -> dict[int, int]:
    try:
        return await positions(engine)
    except ProjectionUnavailable:
        return {}


async def tables_and_rebuilt(url: str, records: Sequence[Record]) -> tuple[Rows, Rows]:
    """What the projector left, and what one undisturbed pass over the log makes."""

    def compare() -> tuple[Rows, Rows]:
        with opened(url) as database:
            return database.all_rows(), database.rebuilt(records)

    return await asyncio.to_thread(compare)


async def test_a_server_that_stops_crashes_and_starts_again_leaves_every_event_applied_once(
    server: LocalPostgres,
) -> None:
    log, url, chance = a_log(), server.url("calls"), random.Random(3)
    entries = some_events()
    async with log, working(log, url) as worker:

        async def speak() -> None:
            for begin in range(0, len(entries), 5):
                await log.append(EVENTS.name, entries[begin : begin + 5])
                await asyncio.sleep(chance.random() * 0.02)

        async def ill_treat() -> None:
            for how in ("fast", "immediate", "fast", "immediate"):
                await asyncio.to_thread(server.stop, how)
                while worker.available:  # it has noticed
                    await log.append(EVENTS.name, [entries[0]])  # a repeat: void, but work
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(server.start)
                await asyncio.sleep(chance.random() * 0.1)

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(speak())
            group.create_task(ill_treat())
        await caught_up(log, url)
        records = await written(log)

    live, rebuilt = await tables_and_rebuilt(url, records)
    assert live == rebuilt
    assert len(live["calls"]) == 8 * PARTITIONS
    assert {row[6] for row in live["failures"]} == {"projection"}


async def test_sessions_that_are_cut_off_in_the_middle_of_a_batch_lose_and_double_nothing(
    server: LocalPostgres,
) -> None:
    log, url = a_log(), server.url("calls")
    cut = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = 'calls' AND xact_start IS NOT NULL"
    )
    own = open_database(server.url())
    times = 0
    async with log, working(log, url), asyncio.timeout(PATIENCE_S):
        await log.append(EVENTS.name, some_events())
        while times < 5:
            async with own.connect() as connection:
                times += (await connection.execute(cut)).scalar_one()
        await caught_up(log, url)
        records = await written(log)
    await own.dispose()

    live, rebuilt = await tables_and_rebuilt(url, records)
    assert live == rebuilt


async def test_two_projectors_that_both_believe_to_own_a_partition_apply_every_event_once(postgres: Databases) -> None:
    log, entries = a_log(shared=True), some_events()
    with postgres.fresh() as url:
        async with log, working(log, url, "old"), working(log, url, "new"):
            for begin in range(0, len(entries), 7):
                await log.append(EVENTS.name, entries[begin : begin + 7])
                await asyncio.sleep(0.002)
            await caught_up(log, url)
            records = await written(log)

        live, rebuilt = await tables_and_rebuilt(url, records)
        assert live == rebuilt
        assert sum(row[-2] for row in live["calls"]) == len(entries) == len(records)


class DeafTables:
    """A database that is away, and says when it is asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def positions(self) -> dict[int, int]:
        self.asked.set()
        raise ProjectionUnavailable("away")

    async def apply(self, records: Sequence[Record], expected: object) -> dict[int, int]:
        raise AssertionError("nothing can be applied before the positions are known")


async def test_a_share_that_is_withdrawn_goes_to_another_while_the_database_is_away(migrated_url: str) -> None:
    """The first waits for its database; it lets go of what it must all the same."""
    log = a_log()
    tables = DeafTables()
    async with log, asyncio.timeout(PATIENCE_S):
        waiting = asyncio.create_task(Projector(log, tables, instance="waiting", now=lambda: 0).run())
        await tables.asked.wait()
        partitions = await log.partitions(EVENTS.name)
        values = [(partition, a_whole_call(f"CA{partition}").records[0]) for partition in range(partitions)]
        await log.append(EVENTS.name, [Entry(each.key, each.value, partition) for partition, each in values])
        async with working(log, migrated_url, "other"):
            await until_positions(migrated_url, lambda reached: len(reached) == partitions // 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
