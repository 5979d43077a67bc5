"""Kills one part of a house, and puts back what does not come back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltape import world
from calltape.chaos.cases import BROKER, DATABASE
from calltape.local.parts import Parts
from calltape.local.processes import MEMBERS, Processes
from eventlog.kafka import KafkaLog
from eventlog.port import Log
from schema import topics

GONE_S = 10.0  # until the kernel has taken a killed process away
# The call is over by then: it was carried to its end by the nodes that were left.
BROKER_AWAY_S = 20.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be killed. `away_s`: how long a database that died stays away."""

    house: Processes
    parts: Parts
    log: Log
    away_s: float


Put = Callable[[], Awaitable[None]]


async def strike(scene: Scene, victim: str, partition: int) -> tuple[int, Put]:
    """The moment of its death in ms since 1970, and what puts back what supervisors do not."""
    if victim == BROKER:
        return await _kill_leader(scene, partition)
    if victim == DATABASE:
        return await _kill_postgres(scene)
    was_up = scene.house.comings(victim)
    pid = scene.house.kill(victim)
    await _gone(pid)
    died_at = world.now_ms()

    async def put_back() -> None:
        if victim == "supervisor":
            await scene.house.gone()
            await scene.house.stop()
            await scene.house.start()
        else:
            await scene.house.comes(victim, was_up)

    return died_at, put_back


async def restored(scene: Scene) -> None:
    """Everything runs again that should, whatever a case that failed has left. Raises what starting raises."""
    if scene.parts.kafka is not None:
        for node in scene.parts.kafka.nodes:
            if not await asyncio.to_thread(_answers, node):
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(scene.parts.kafka.restart, node.number)
    if scene.parts.postgres is not None and not _postgres_pids(scene.parts.postgres.folder):
        await asyncio.to_thread(_started_again, scene.parts.postgres)
    if scene.house.is_gone or not all(_lives(scene.house.pid_of(member)) for member in MEMBERS):
        await scene.house.stop()
        await scene.house.start()


def _answers(node: Any) -> bool:
    try:
        return bool(node.answers())
    except Exception:  # of the starter's module, which is loaded from a file
        return False


async def _kill_leader(scene: Scene, partition: int) -> tuple[int, Put]:
    assert isinstance(scene.log, KafkaLog)
    kafka = scene.parts.kafka
    leader = await scene.log.leader(topics.EVENTS.name, partition)
    await asyncio.to_thread(kafka.kill, leader)
    died_at = world.now_ms()

    async def put_back() -> None:
        try:
            await asyncio.sleep(min(scene.away_s, BROKER_AWAY_S))
        finally:
            await asyncio.to_thread(kafka.restart, leader)

    return died_at, put_back


async def _kill_postgres(scene: Scene) -> tuple[int, Put]:
    postgres = scene.parts.postgres
    # The first is the postmaster: what it forks in this moment sees that it has gone, and ends.
    pids = _postgres_pids(postgres.folder)
    assert pids, "PostgreSQL runs"
    for pid in pids:
        _kill(pid)
    for pid in pids:
        await _gone(pid)
    died_at = world.now_ms()

    async def put_back() -> None:
        try:
            await asyncio.sleep(scene.away_s)
        finally:
            await asyncio.to_thread(_started_again, postgres)

    return died_at, put_back


def _started_again(postgres: Any) -> None:
    postgres.stop("immediate")  # the keeper of a dead server still waits for its orders
    postgres.start()


def _postgres_pids(folder: Path) -> list[int]:
    """The postmaster, then its children; empty when there is none."""
    with suppress(OSError, ValueError, IndexError):
        postmaster = int((folder / "postmaster.pid").read_text().split()[0])
        if _lives(postmaster):
            return [postmaster, *_children(postmaster)]
    return []


def _children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            if int(_status(int(folder.name))[1]) == parent:
                found.append(int(folder.name))
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _gone(pid: int) -> None:
    """Returns when no instruction of it is carried out any more. Raises TimeoutError."""
    async with asyncio.timeout(GONE_S):
        while _lives(pid):  # noqa: ASYNC110  # nobody tells of others' children
            await asyncio.sleep(0.001)


def _lives(pid: int) -> bool:
    """A zombie is dead: only its parent has not looked yet."""
    with suppress(OSError):
        return _status(pid)[0] not in ("Z", "X")
    return False


def _status(pid: int) -> list[str]:
    """State, parent and more of `/proc/PID/stat`, behind the name in brackets. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
