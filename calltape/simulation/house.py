"""The whole system in one process on virtual time: workers, doors and a supervisor that a plan makes suffer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from calltape.simulation.caller import Caller
from calltape.simulation.door import Door
from calltape.simulation.faulty_log import NO_FAULTS, FaultyLog, LogPort
from calltape.simulation.loop import VirtualLoop
from calltape.simulation.plan import Event, Plan
from calltape.simulation.process import Fate, Process, world_context
from calltape.simulation.script import Step, drawn_script
from calltape.simulation.socket import Socket
from calltape.simulation.staff import Staff
from eventlog.memory import MemoryLog
from eventlog.port import Record
from schema.admit import Admission, admit
from schema.registry import decode
from schema.topics import EVENTS, MEDIA, OUTBOX, Topic

BEGAN_MS = 1_790_000_000_000
SESSION_S = 3.0  # a frozen member loses its share after this
LONGEST_S = 1200.0
NEVER_S = 60.0  # a call that has not begun by then never will
# One partition: calls that share nothing prove nothing about each other.
TOPICS = {
    EVENTS.name: Topic(EVENTS.name, "call_id", "json", None, 1),
    MEDIA.name: Topic(MEDIA.name, "call_id", "msgpack", None, 1),
    OUTBOX.name: Topic(OUTBOX.name, "mailbox", "msgpack", None, 8),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind."""

    seed: int
    events: tuple[Record, ...]
    media: tuple[Record, ...]
    effects: dict[str, int]  # key of a tool -> how often it took effect
    crashes: tuple[str, ...]
    happened: dict[str, int]
    mishaps: tuple[str, ...]
    seconds: float  # virtual
    steps: int


@dataclass(slots=True)
class Incarnation:
    """One running process of a role or a door."""

    role: str
    instance: str
    process: Process
    port: LogPort
    task: asyncio.Task[Any]
    door: Door | None = None


@dataclass
class House:
    """Everything that runs. `staff` makes workers; tests give their own."""

    loop: VirtualLoop
    seed: int
    plan: Plan
    script: tuple[Step, ...]
    staff: Staff
    running: dict[str, Incarnation] = field(default_factory=dict)  # by role:instance
    effects: dict[str, int] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    mishaps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(f"house-{self.seed}")
        self.log = MemoryLog(now=self._stamp, topics=TOPICS)
        self.wire = FaultyLog(self.log, self.seed)
        self._numbers = itertools.count(1)
        self._ending = False
        self.callers = [self._caller(number) for number in range(self.plan.calls)]

    def _caller(self, number: int) -> Caller:
        """The first acts by the script given, the others by their own."""
        return Caller(
            f"call{number or ''}",
            self.script if number == 0 else drawn_script(self.seed * 1000 + number),
            chance=Random(f"caller-{self.seed}-{number}"),
            dial=self.dial,
            tick_ms=self.plan.tick_ms,
        )

    def now(self) -> int:
        """The log's clock."""
        return BEGAN_MS + int(self.loop.time() * 1000)

    def _stamp(self) -> int:
        """What the log writes on a batch: times may repeat and step back."""
        return self.now() - self.chance.randint(0, self.plan.jitter_ms)

    async def run(self) -> Outcome:
        """All calls from dialling until they are sealed."""
        for role in ("conversation", "hearing"):
            self.start(role, "a")
            if self.plan.standby:
                self.start(role, "b")
        self.start("door", "a")
        self.start("door", "b")
        self.wire.faults = self.plan.faults
        troubles = self.loop.create_task(self._trouble())
        calling = [self.loop.create_task(self._call(caller)) for caller in self.callers]
        await self._until_over(calling)
        self._ending = True
        for task in (troubles, *calling):
            task.cancel()
        outcome = self._outcome()
        self.wire.close()
        return outcome

    async def _call(self, caller: Caller) -> None:
        if caller is not self.callers[0]:
            await asyncio.sleep(self.chance.random() * 5)
        await caller.run()

    # Processes

    def start(self, role: str, instance: str) -> None:
        name = f"{role}:{instance}"
        process = self.loop.process(f"{name}:{next(self._numbers)}")
        port = self.wire.port(process, lag_ms=self.plan.lag_ms if role == "hearing" else 0)
        new_id = _ids(process.name)
        door = None
        if role == "door":
            door = Door(process, port, mailbox=ord(instance[0]) % 8, now=self.now, new_id=new_id)
            main = door.run()
        else:
            main = self.staff.worker(role, port, instance=instance, process=process, now=self.now, new_id=new_id)
        task = process.spawn(self.loop, main)
        incarnation = Incarnation(role, instance, process, port, task, door)
        task.add_done_callback(lambda done: self._noticed(incarnation, done))
        self.running[name] = incarnation

    def kill(self, name: str) -> None:
        """kill -9: first nothing of it reaches the log any more, then it stops, then somebody notices."""
        incarnation = self.running.pop(name, None)
        if incarnation is None:
            return
        incarnation.port.cut()
        incarnation.process.stop(Fate.DEAD)
        if incarnation.door is not None:
            for caller in self.callers:
                caller.socket_died(incarnation.process.name)
        asyncio.get_running_loop().call_later(self.chance.random(), self._restart, incarnation)

    def _restart(self, dead: Incarnation) -> None:
        self.wire.shares.remove(dead.role, f"{dead.role}:{dead.instance}")
        self.loop.call_later(0.1 + self.chance.random(), self.start, dead.role, dead.instance)

    def freeze(self, name: str, ms: int) -> None:
        """SIGSTOP, then SIGCONT: it wakes up believing what it believed."""
        incarnation = self.running.get(name)
        if incarnation is None or incarnation.process.fate is not Fate.RUNNING:
            return
        incarnation.process.stop(Fate.FROZEN)
        if ms / 1000 > SESSION_S:
            self.loop.call_later(SESSION_S, self.wire.shares.take_from, incarnation.role, name)
        self.loop.call_later(ms / 1000, self._thaw, incarnation, name)

    def _thaw(self, incarnation: Incarnation, name: str) -> None:
        self.loop.thaw(incarnation.process)
        self.wire.shares.settle(incarnation.role)
        self.loop.call_later(self.chance.random() * 4, self.wire.shares.tell, incarnation.role, name)

    def rebalance(self, role: str, believes_ms: int) -> None:
        """The partitions move; the old owner hears of it later."""
        name = self.wire.shares.owner(role)
        if name and self.wire.shares.take_from(role, name):
            self.loop.call_later(believes_ms / 1000, self.wire.shares.tell, role, name)

    def _noticed(self, incarnation: Incarnation, done: asyncio.Task[Any]) -> None:
        if self._ending or done.cancelled():
            return
        error = done.exception()
        self.crashes.append(f"{incarnation.process.name}: {_innermost(error)!r}")
        self.kill(f"{incarnation.role}:{incarnation.instance}")

    # The caller's side

    def dial(self, call_id: str, stream: str, begins: bool) -> Socket | None:
        """A socket to a door that answers."""
        doors = [one for one in self.running.values() if one.door is not None and one.process.fate is Fate.RUNNING]
        if not doors:
            return None
        chosen = self.chance.choice(doors)
        assert chosen.door is not None
        wire = Socket(stream, call_id, begins, chosen.process, self.plan.latency_ms / 1000)
        chosen.process.context.run(chosen.door.connect, wire)
        return wire

    # Faults

    async def _trouble(self) -> None:
        for event in self.plan.events:
            await asyncio.sleep(max(0.0, event.at_s - self.loop.time()))
            self._befall(event)
        await asyncio.sleep(max(0.0, self.plan.until_s - self.loop.time()))
        self.wire.faults = NO_FAULTS
        self.wire.flow()

    def _befall(self, event: Event) -> None:
        name = self._victim(event)
        self.mishaps.append(f"{self.loop.time():.3f} {event.what} {name} {event.ms or event.steps or ''}")
        match event.what:
            case "kill":
                self.kill(name)
            case "fuse" if name in self.running:
                self.running[name].process.light_fuse(event.steps, lambda: self._blow(name))
            case "mail" if name in self.running:
                self.running[name].port.light_fuse(event.steps, lambda: self._blow(name))
            case "freeze":
                self.freeze(name, event.ms)
            case "rebalance":
                self.rebalance(event.who, event.ms)
            case "stall":
                self.wire.stall()
                self.loop.call_later(event.ms / 1000, self.wire.flow)

    def _blow(self, name: str) -> None:
        self.mishaps.append(f"{self.loop.time():.3f} fuse blew {name}")
        # The step that was about to run belongs to the victim: what follows must not.
        self.kill_outside(name)

    def kill_outside(self, name: str) -> None:
        incarnation = self.running.get(name)
        if incarnation is not None:
            incarnation.process.stop(Fate.DEAD)
            self.loop.call_soon(self.kill, name, context=world_context())

    def _victim(self, event: Event) -> str:
        if event.who == "doors":  # whichever holds the caller's socket
            return self.callers[0].door.rpartition(":")[0] or "door:a"
        if event.who == "door":
            return self.chance.choice(("door:a", "door:b"))
        return self.wire.shares.owner(event.who) or f"{event.who}:a"

    # The end

    async def _until_over(self, calling: list[asyncio.Task[None]]) -> None:
        admissions: dict[str, Admission] = {}
        read = 0
        while self.loop.time() < LONGEST_S:
            await asyncio.sleep(0.5)
            records = self._records(EVENTS.name)
            for event in (decode(record.value) for record in records[read:]):
                admission = admissions.get(event.call_id, Admission())
                admissions[event.call_id] = admit(admission, event) or admission
            read = len(records)
            never_began = self.loop.time() > NEVER_S
            over = all(admissions.get(caller.call_id, Admission(sealed=never_began)).sealed for caller in self.callers)
            if over and all(task.done() for task in calling) and self.loop.time() > self.plan.until_s / 3:
                await asyncio.sleep(5)
                return

    def _records(self, topic: str) -> list[Record]:
        return [record for part in self.log._shelves[topic].partitions for record in part.records]

    def _outcome(self) -> Outcome:
        return Outcome(
            seed=self.seed,
            events=tuple(self._records(EVENTS.name)),
            media=tuple(self._records(MEDIA.name)),
            effects=dict(self.effects),
            crashes=tuple(self.crashes),
            happened=dict(self.wire.happened),
            mishaps=tuple(self.mishaps),
            seconds=self.loop.time(),
            steps=self.loop.steps,
        )


def _ids(owner: str) -> Callable[[], str]:
    """Names that say who made them, so that a list of events reads like a story."""
    numbers = itertools.count(1)
    return lambda: f"{owner}-{next(numbers)}"


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
