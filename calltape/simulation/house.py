"""The whole system in one process on virtual time: workers, doors and a supervisor that a plan makes suffer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from calltape.simulation.caller import Caller
from calltape.simulation.database import Rows
from calltape.simulation.door import Door
from calltape.simulation.faulty_log import NO_FAULTS, FaultyLog
from calltape.simulation.loop import VirtualLoop
from calltape.simulation.outcome import Outcome
from calltape.simulation.plan import LATE, OWNERS, Event, Plan
from calltape.simulation.script import Step, drawn_script
from calltape.simulation.socket import Socket
from calltape.simulation.staff import Seat, Staff, World
from calltape.simulation.supervisor import Incarnation, Supervisor, Work
from calltape.simulation.waiting import Waiting
from eventlog.memory import MemoryLog
from eventlog.port import Record
from schema.topics import EVENTS, MEDIA, OUTBOX, Topic

BEGAN_MS = 1_790_000_000_000
LONGEST_S = 1200.0
RING_S = 8.0  # a webhook that is not answered by then is asked again
# One partition: calls that share nothing prove nothing about each other.
TOPICS = {
    EVENTS.name: Topic(EVENTS.name, "call_id", "json", None, 1),
    MEDIA.name: Topic(MEDIA.name, "call_id", "msgpack", None, 1),
    OUTBOX.name: OUTBOX,
}


@dataclass
class House:
    """Everything that runs. `staff` makes workers; tests give their own."""

    loop: VirtualLoop
    seed: int
    plan: Plan
    script: tuple[Step, ...]
    world: World
    staff: Staff
    mishaps: list[str] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)  # what befell a process or the database -> how often
    outcome: Outcome | None = None  # as it was when the run ended, however it ended

    def __post_init__(self) -> None:
        self.chance = Random(f"house-{self.seed}")
        self.log = MemoryLog(now=self._stamp, topics=TOPICS)
        self.wire = FaultyLog(self.log, self.seed)
        self.callers = [self._caller(number) for number in range(self.plan.calls)]
        self.world.carrier.phones = {caller.call_id: caller for caller in self.callers}
        self.supervisor = Supervisor(
            self.loop,
            self.wire,
            self.chance,
            now=self.now,
            make=self._make,
            door_died=self._door_died,
            hearing_lag_ms=self.plan.lag_ms,
        )

    def _make(self, seat: Seat) -> Work:
        if seat.role == "door":
            name = f"{seat.role}:{seat.instance}"
            door = Door(seat.process, seat.log, instance=name, now=seat.now, new_id=seat.new_id)
            return Work(door.run(), door=door)
        worker = self.staff.worker(seat)
        return Work(worker.main, worker)

    def _door_died(self, process: str) -> None:
        for caller in self.callers:
            caller.socket_died(process)

    def _caller(self, number: int) -> Caller:
        """The first acts by the script given, the others by their own."""
        return Caller(
            f"call{number or ''}",
            self.script if number == 0 else drawn_script(self.seed * 1000 + number),
            chance=Random(f"caller-{self.seed}-{number}"),
            ring=self.ring,
            dial=self.dial,
            tick_ms=self.plan.tick_ms,
            frame_ms=self.plan.frame_ms,
            user_id=self.plan.user_id,
        )

    def now(self) -> int:
        """The log's clock."""
        return BEGAN_MS + int(self.loop.time() * 1000)

    def _stamp(self) -> int:
        """What the log writes on a batch: times may repeat and step back."""
        return self.now() - self.chance.randint(0, self.plan.jitter_ms)

    async def run(self) -> Outcome:
        """All calls from dialling until they are sealed, summarised, recorded and in the tables."""
        roles = [role for role in (*OWNERS, *LATE) if role != "recorder" or self.plan.records]
        for role in roles:
            self.supervisor.start(role, "a")
            if self.plan.standby:
                self.supervisor.start(role, "b")
        for instance in ("a", "b")[: self.plan.doors]:
            self.supervisor.start("door", instance)
        self.wire.faults = self.plan.faults
        self.world.database.forgetful = self.plan.forgetful
        troubles = self.loop.create_task(self._trouble())
        calling = [self.loop.create_task(self._call(caller)) for caller in self.callers]
        over = Waiting(self.plan, [caller.call_id for caller in self.callers], self.log, self.world.database)
        is_caught_up = await over.wait(calling, LONGEST_S)
        self.supervisor.ending = True
        for task in (troubles, *calling):
            task.cancel()
        self.outcome = self._outcome(is_caught_up)
        self.wire.close()
        return self.outcome

    def keep(self) -> None:
        """What a run leaves behind that did not come to its end; of one that did, nothing changes."""
        if self.outcome is None:
            self.outcome = self._outcome(False)
            self.wire.close()

    async def _call(self, caller: Caller) -> None:
        if caller is not self.callers[0]:
            await asyncio.sleep(self.chance.random() * 5)
        await caller.run()
        if caller.rings and caller.call_id not in self.world.carrier.transferred and self.chance.random() < 0.7:
            await asyncio.sleep(self.chance.random() * 3)
            if (door := self._open_door()) is not None:
                await self._ask(door, door.report(caller.call_id, "completed", 9))

    # The caller's side

    async def ring(self, call_id: str, user_id: str) -> bool:
        """The voice webhook at whichever door answers."""
        door = self._open_door()
        return door is not None and await self._ask(door, door.ring(call_id, user_id))

    async def _ask(self, door: Door, request: Any) -> bool:
        asked = door.process.spawn(self.loop, request)
        await asyncio.wait([asked], timeout=RING_S)
        return bool(asked.done() and not asked.cancelled() and asked.exception() is None and asked.result())

    def dial(self, call_id: str, stream: str, begins: bool, user_id: str) -> Socket | None:
        """A socket to a door that answers."""
        door = self._open_door()
        if door is None:
            return None
        wire = Socket(stream, call_id, begins, door.process, self.plan.latency_ms / 1000, user_id)
        door.process.context.run(door.connect, wire)
        return wire

    def _open_door(self) -> Door | None:
        doors = self.supervisor.open_doors()
        return self.chance.choice(doors) if doors else None

    # Faults

    async def _trouble(self) -> None:
        for event in self.plan.events:
            await asyncio.sleep(max(0.0, event.at_s - self.loop.time()))
            self._befall(event)
        await asyncio.sleep(max(0.0, self.plan.until_s - self.loop.time()))
        self.wire.faults = NO_FAULTS
        self.world.database.forgetful = 0.0
        self.wire.flow()

    def _befall(self, event: Event) -> None:
        name = self._victim(event)
        what = event.fact or event.ms or event.steps or ""
        self.mishaps.append(f"{self.loop.time():.3f} {event.what} {name} {what}")
        match event.what:
            case "stall":
                self.wire.stall()
                self.loop.call_later(event.ms / 1000, self.wire.flow)
            case "away":
                self.wire.leave(event.ms / 1000)
            case "database":
                self._count("database away")
                self.world.database.away = True
                self.loop.call_later(event.ms / 1000, self._database_back)
            case "rebalance":
                if self.supervisor.rebalance(event.who, event.ms):
                    self._count("move")
            case _ if name in self.supervisor.running:
                self._strike(event, self.supervisor.running[name])

    def _strike(self, event: Event, victim: Incarnation) -> None:
        name = victim.name

        def blow() -> None:
            self._blow(victim)

        match event.what:
            case "kill":
                self._count("kill")
                self.supervisor.kill(name)
            case "fuse":
                victim.process.light_fuse(event.steps, blow)
            case "mail":
                victim.port.fuse.light(event.steps, blow)
            case "said" | "unsaid":
                victim.port.fuse.set_trap(EVENTS.name, event.fact, blow, lets_pass=event.what == "said")
            case "copy":
                victim.port.fuse.set_trap(OUTBOX.name, event.fact, blow, lets_pass=False)
            case "asked":
                self.world.carrier.set_trap(victim.process, blow)
            case "commit":
                self.world.database.at_commit = blow
            case "freeze":
                if self.supervisor.freeze(name, event.ms):
                    self._count("freeze")
            case "restart" if victim.door is not None:
                self._count("restart")
                victim.door.leave()

    def _database_back(self) -> None:
        self.world.database.away = False

    def _blow(self, victim: Incarnation) -> None:
        if self.supervisor.blow(victim):
            self._count("kill")
            self.mishaps.append(f"{self.loop.time():.3f} fuse blew {victim.name}")

    def _count(self, name: str) -> None:
        self.happened[name] = self.happened.get(name, 0) + 1

    def _victim(self, event: Event) -> str:
        if event.who == "doors":  # whichever holds the caller's socket
            return self.callers[0].door.rpartition(":")[0] or "door:a"
        if event.who == "door":
            return self.chance.choice(("door:a", "door:b")[: self.plan.doors])
        return self.wire.shares.owner(event.who) or f"{event.who}:a"

    # The end

    def _records(self, topic: str) -> Sequence[Record]:
        return [record for part in self.log._shelves[topic].partitions for record in part.records]

    def _outcome(self, is_caught_up: bool) -> Outcome:
        events = tuple(self._records(EVENTS.name))
        live, rebuilt = self._tables(events) if is_caught_up or not self.world.database.is_busy else ({}, {})
        return Outcome(
            seed=self.seed,
            plan=self.plan,
            events=events,
            media=tuple(self._records(MEDIA.name)),
            effects=dict(self.world.effects),
            hung_up=dict(self.world.carrier.hung_up),
            transferred={call_id: tuple(to) for call_id, to in self.world.carrier.transferred.items()},
            received={name: bytes(audio) for one in self.callers for name, audio in one.ear.received.items()},
            unheard={name: tuple(gaps) for one in self.callers for name, gaps in one.ear.unheard.items()},
            overheard={
                name: one.frames for caller in self.callers for name, one in caller.meddlers.items() if one.frames
            },
            broken=frozenset(name for one in self.callers for name in one.broken),
            live=live,
            rebuilt=rebuilt,
            is_caught_up=is_caught_up,
            recordings=self.world.recordings,
            hurt=frozenset(self.supervisor.hurt),
            parked=tuple(self.supervisor.parked()),
            crashes=tuple(self.supervisor.crashes),
            happened={**self.wire.happened, **self.world.database.happened, **self._refused(), **self.happened},
            mishaps=tuple(self.mishaps),
            seconds=self.loop.time(),
            steps=self.loop.steps,
        )

    def _refused(self) -> dict[str, int]:
        refused = self.world.carrier.refused
        return {"refused": refused} if refused else {}

    def _tables(self, events: Sequence[Record]) -> tuple[Rows, Rows]:
        """As the projector left them, and built anew from what it has applied."""
        database = self.world.database
        reached = database.positions()
        live = database.rows()
        return live, database.rebuilt([one for one in events if one.position < reached.get(one.partition, 0)])
