"""A log that takes nothing for a while, and a database that is away: live calls notice as little as can be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path

import pytest

from clients.report import Seen
from clients.script import Hangup, Say, Script, Wait, WaitFor
from schema.envelope import AnyEvent, type_of
from schema.media import MediaReceived
from schema.stream import StreamClosed, StreamMeasured
from scripts import local_kafka, local_postgres
from tests.support.crowd import Crowd, Visit, believed, crowd, new_visit, until_seen
from tests.support.needs import require_or_skip
from tests.support.processes import eventually

pytestmark = pytest.mark.long

# Longer than doors may be silent (15 s) before their streams are given up.
AWAY_S = 30.0
BUFFER = 40_000  # bytes: five seconds of one call
FRAME_MS = 20
MOST_SPOKEN = 20  # pieces of the agent's speech among what was dropped
MOST_GROWTH = 64 << 20
WORDS = "remind me to pay the rent on monday"


def needs_servers() -> None:
    for name, why in (("kafka", local_kafka.missing()), ("postgres", local_postgres.missing())):
        if why:
            require_or_skip(name, why)


def script(away_s: float) -> Script:
    """Something is said while the log is away, and the rest when it is back."""
    return Script(
        steps=(
            WaitFor(wait_for="reply"),
            Say(say="what can you do"),
            Wait(wait=round(away_s * 1000)),
            WaitFor(wait_for="silence"),
            Say(say=WORDS),
            WaitFor(wait_for="reply"),
            Hangup(),
        )
    )


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Another process writes and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def no_broker(house: Crowd) -> AsyncIterator[None]:
    await asyncio.to_thread(house.parts.kafka.kill, 1)
    yield
    await asyncio.to_thread(house.parts.kafka.restart, 1)


async def stay(pid: int) -> int:
    """Returns after AWAY_S; by how many bytes the doors grew meanwhile at most."""
    before, most = resident_bytes(pid), 0
    clock = asyncio.get_running_loop().time
    until = clock() + AWAY_S
    while clock() < until:
        most = max(most, resident_bytes(pid))
        await asyncio.sleep(0.2)
    return most - before


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


async def hold(house: Crowd, visit: Visit, events: list[AnyEvent], grown: int) -> None:
    """What has to be so after the log was away."""
    assert visit.report is not None and visit.report.ok, visit.report
    assert visit.report.streams == 1, "the socket stayed up"
    names = [type_of(event) for event in events]
    assert "stream.lost" not in names and "stream.superseded" not in names
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["stop"]
    dropped = max(event.dropped for event in events if isinstance(event, StreamMeasured))
    heard = [frame for frame in await house.media(visit.call_id) if isinstance(frame, MediaReceived)]
    missing_ms = sum(later.ms - frame.ms - FRAME_MS for frame, later in pairwise(heard))
    missing = missing_ms // FRAME_MS
    assert 0 < missing <= dropped < missing + MOST_SPOKEN, "what is missing was counted, and nothing else is missing"
    assert all(later.ms > frame.ms for frame, later in pairwise(heard)), "in order"
    assert grown < MOST_GROWTH
    shown = await house.finished(visit.call_id)
    assert [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"][-1] == WORDS


async def test_a_log_that_another_process_locks_ends_no_call(tmp_path: Path) -> None:
    async with crowd(tmp_path, media_buffer=BUFFER) as house:
        visit = new_visit()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(house.visit(script(AWAY_S + 10), visit))
            await until_seen([visit], lambda visit: visit.has_seen(Seen.MARK_PLAYED))
            async with locked(tmp_path / "log.sqlite"):
                grown = await stay(house.starts("ingest")[-1])
        await hold(house, visit, believed(await house.events(visit.call_id)), grown)


async def test_a_broker_that_is_killed_and_comes_back_ends_no_call(tmp_path: Path) -> None:
    needs_servers()
    async with crowd(tmp_path, ground="kafka", media_buffer=BUFFER) as house:
        visit = new_visit()
        async with asyncio.TaskGroup() as tasks:
            # Its start takes a moment, and the producers find it some seconds later.
            tasks.create_task(house.visit(script(AWAY_S + 35), visit))
            await until_seen([visit], lambda visit: visit.has_seen(Seen.MARK_PLAYED))
            async with no_broker(house):
                grown = await stay(house.starts("ingest")[-1])
        await hold(house, visit, believed(await house.events(visit.call_id)), grown)


async def test_a_database_that_is_away_is_noticed_by_the_projector_alone(tmp_path: Path) -> None:
    needs_servers()
    talk = Script(steps=(WaitFor(wait_for="reply"), Say(say=WORDS), WaitFor(wait_for="reply"), Hangup()))
    async with crowd(tmp_path, ground="kafka") as house:
        await asyncio.to_thread(house.parts.postgres.stop, "immediate")
        visit = await house.visit(talk)
        assert visit.report is not None and visit.report.ok, visit.report

        async def is_over() -> bool:
            return any(type_of(event) == "call.summarised" for event in await house.events(visit.call_id))

        await eventually(is_over)
        await asyncio.to_thread(house.parts.postgres.start)
        shown = await house.finished(visit.call_id)
        assert [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"] == [WORDS]
