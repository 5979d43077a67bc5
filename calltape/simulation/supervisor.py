"""Runs the processes of a house: starts, kills, freezes and doubles them, and starts again what died."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from calltape.simulation.door import Door
from calltape.simulation.faulty_log import FaultyLog, LogPort
from calltape.simulation.loop import VirtualLoop
from calltape.simulation.process import Fate, Process, world_context
from calltape.simulation.staff import Seat, Worker

SESSION_S = 3.0  # a frozen member loses its share after this


@dataclass(slots=True)
class Incarnation:
    """One running process of a role or a door."""

    role: str
    instance: str
    process: Process
    port: LogPort
    task: asyncio.Task[Any]
    worker: Worker | None = None
    door: Door | None = None

    @property
    def name(self) -> str:
        return f"{self.role}:{self.instance}"


@dataclass(frozen=True, slots=True)
class Work:
    """What a process runs."""

    main: Coroutine[Any, Any, None]
    worker: Worker | None = None
    door: Door | None = None


class Supervisor:
    """One house's. `make` gives the work of a seat; `door_died` hears the name of a process that held sockets."""

    def __init__(
        self,
        loop: VirtualLoop,
        wire: FaultyLog,
        chance: Random,
        *,
        now: Callable[[], int],
        make: Callable[[Seat], Work],
        door_died: Callable[[str], None],
        hearing_lag_ms: int = 0,
    ) -> None:
        self.running: dict[str, Incarnation] = {}  # by role:instance
        self.crashes: list[str] = []
        self.hurt: set[str] = set()  # names of processes that were killed or frozen, or asked to leave
        self.ending = False
        self._loop = loop
        self._wire = wire
        self._chance = chance
        self._now = now
        self._make = make
        self._door_died = door_died
        self._hearing_lag_ms = hearing_lag_ms
        self._numbers = itertools.count(1)

    def start(self, role: str, instance: str) -> None:
        name = f"{role}:{instance}"
        process = self._loop.process(f"{name}:{next(self._numbers)}")
        port = self._wire.port(process, lag_ms=self._hearing_lag_ms if role == "hearing" else 0)
        work = self._make(Seat(role, instance, process, port, self._now, _ids(process.name)))
        task = process.spawn(self._loop, work.main)
        incarnation = Incarnation(role, instance, process, port, task, work.worker, work.door)
        task.add_done_callback(lambda done: self._noticed(incarnation, done))
        self.running[name] = incarnation

    def blow(self, victim: Incarnation) -> bool:
        """Kill from inside, at this very step; whether there was anything to kill."""
        if self.running.get(victim.name) is not victim:
            return False
        # The step that was about to run belongs to the victim: what follows must not.
        victim.process.stop(Fate.DEAD)
        self._loop.call_soon(self.kill, victim.name, context=world_context())
        return True

    def open_doors(self) -> list[Door]:
        """Those that would answer."""
        return [
            one.door
            for one in self.running.values()
            if one.door is not None and one.door.is_open and one.process.fate is Fate.RUNNING
        ]

    def parked(self) -> Iterator[str]:
        """Calls that somebody has given up on."""
        for one in self.running.values():
            for call_id in one.worker.parked() if one.worker is not None else ():
                yield f"{call_id} by {one.process.name}"

    def kill(self, name: str) -> None:
        """kill -9: first nothing of it reaches log or database any more, then it stops, then somebody notices."""
        incarnation = self.running.pop(name, None)
        if incarnation is not None:
            self.hurt.add(incarnation.process.name)
            incarnation.process.stop(Fate.DEAD)
            self._cut(incarnation)
            asyncio.get_running_loop().call_later(self._chance.random(), self._restart, incarnation)

    def _cut(self, incarnation: Incarnation) -> None:
        incarnation.port.cut()
        if incarnation.worker is not None and incarnation.worker.tables is not None:
            incarnation.worker.tables.cut()
        if incarnation.door is not None:
            self._door_died(incarnation.process.name)

    def _restart(self, dead: Incarnation) -> None:
        self._wire.shares.remove(dead.role, dead.name)
        self._loop.call_later(0.1 + self._chance.random(), self.start, dead.role, dead.instance)

    def freeze(self, name: str, ms: int) -> bool:
        """SIGSTOP, then SIGCONT: it wakes up believing what it believed. Whether there was anything to freeze."""
        incarnation = self.running.get(name)
        if incarnation is None or incarnation.process.fate is not Fate.RUNNING:
            return False
        self.hurt.add(incarnation.process.name)
        incarnation.process.stop(Fate.FROZEN)
        if ms / 1000 > SESSION_S:
            self._loop.call_later(SESSION_S, self._wire.shares.take_from, incarnation.role, name)
        self._loop.call_later(ms / 1000, self._thaw, incarnation, name)
        return True

    def _thaw(self, incarnation: Incarnation, name: str) -> None:
        self._loop.thaw(incarnation.process)
        self._wire.shares.settle(incarnation.role)
        self._loop.call_later(self._chance.random() * 4, self._wire.shares.tell, incarnation.role, name)

    def rebalance(self, role: str, believes_ms: int) -> bool:
        """The partitions move, and the old owner hears of it later; whether there was somebody to move them to."""
        name = self._wire.shares.owner(role)
        if not name or not self._wire.shares.take_from(role, name):
            return False
        self._loop.call_later(believes_ms / 1000, self._wire.shares.tell, role, name)
        return True

    def _noticed(self, incarnation: Incarnation, done: asyncio.Task[Any]) -> None:
        """A process that ended by itself: a door that was asked to leave, or a crash."""
        if self.ending or done.cancelled() or incarnation.process.dead:
            return
        error = done.exception()
        if error is not None:
            self.crashes.append(f"{incarnation.process.name}: {_innermost(error)!r}")
        self.kill(incarnation.name)


def _ids(owner: str) -> Callable[[], str]:
    """Names that say who made them, so that a list of events reads like a story."""
    numbers = itertools.count(1)
    return lambda: f"{owner}-{next(numbers)}"


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
