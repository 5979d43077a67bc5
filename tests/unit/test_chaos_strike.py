"""Chaos kills with SIGKILL, in the moment that the log shows, and waits for what it killed to be back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from calltape import world
from calltape.chaos.calling import Disturber
from calltape.chaos.cases import DATABASE, Case
from calltape.chaos.strike import Scene, strike
from calltape.local.parts import Parts
from eventlog.memory import MemoryLog
from eventlog.port import Entry
from schema.topics import EVENTS
from scripts import local_postgres
from tests.support.needs import require_or_skip
from tests.unit.chaos_call import a_real_call, place_of

CASE = Case("hearing", "tool open")


class House:
    """One real process as its only member; whether it is back is for the test to say."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.back = asyncio.Event()

    def comings(self, role: str) -> int:
        return 1

    def kill(self, role: str) -> int:
        self.process.kill()
        return self.process.pid

    async def comes(self, role: str, was: int) -> None:
        await self.back.wait()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    process = await asyncio.create_subprocess_exec("sleep", "600")
    yield House(process)
    if process.returncode is None:
        process.kill()
    await process.wait()


def scene(house: Any, log: Any, parts: Parts | None = None) -> Scene:
    return Scene(house, parts or Parts("memory:", ""), log, away_s=0)


async def said(log: MemoryLog, until: int) -> None:
    """The call's events up to there are on the log."""
    await log.append(EVENTS.name, [Entry(one.key, one.value, 0) for one in a_real_call()[:until]])


async def test_the_victim_dies_in_the_moment_and_is_waited_for(house: House) -> None:
    log = MemoryLog(now=world.now_ms)
    disturber = Disturber(scene(house, log), CASE, a_real_call()[0].key)
    running = asyncio.create_task(disturber.run(0, 0))
    await said(log, place_of(a_real_call(), "tool.called", 1))
    assert house.process.returncode is None, "the moment has not come"
    await said(log, place_of(a_real_call(), "tool.called", 1) + 1)
    assert await house.process.wait() == -signal.SIGKILL
    over = asyncio.create_task(disturber.over(running, watch_s=0))
    await asyncio.wait((over, running), timeout=0)
    assert not over.done() and not running.done(), "a strike that has begun is not given up"
    house.back.set()
    died_at = await over
    assert died_at is not None and died_at <= world.now_ms()
    assert running.done() and not running.cancelled()


async def test_a_moment_that_does_not_come_is_watched_for_no_longer(house: House) -> None:
    log = MemoryLog(now=world.now_ms)
    disturber = Disturber(scene(house, log), CASE, a_real_call()[0].key)
    running = asyncio.create_task(disturber.run(0, 0))
    await said(log, place_of(a_real_call(), "tool.called", 1))
    assert await disturber.over(running, watch_s=0) is None
    await asyncio.wait((running,))
    assert running.cancelled()
    assert house.process.returncode is None


async def test_another_call_is_not_the_one_that_is_watched(house: House) -> None:
    log = MemoryLog(now=world.now_ms)
    disturber = Disturber(scene(house, log), CASE, "CAother")
    running = asyncio.create_task(disturber.run(0, 0))
    await said(log, len(a_real_call()))
    assert await disturber.over(running, watch_s=0) is None


async def test_postgresql_is_killed_and_comes_back_as_another_process() -> None:
    if problem := local_postgres.missing():
        require_or_skip("postgres", problem)
    with local_postgres.LocalPostgres() as postgres:
        pid_file = postgres.folder / "postmaster.pid"
        before = pid_file.read_text().split()[0]
        died_at, put_back = await strike(scene(None, None, Parts("", "", None, postgres)), DATABASE, 0)
        assert died_at <= world.now_ms()
        assert pid_file.read_text().split()[0] == before, "who is killed does not clean up"
        await put_back()
        assert pid_file.read_text().split()[0] != before
        assert "was not properly shut down" in (postgres.folder / "log").read_text()
