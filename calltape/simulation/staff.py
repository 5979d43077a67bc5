"""The real workers with toy engines, as wiring would make them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from calltape.simulation.carrier import Carrier
from calltape.simulation.clerks import ToyDisk, ToySummariser
from calltape.simulation.database import Database, Tables
from calltape.simulation.fakes import PROFILE, ToyAgent, ToyDetector, ToySpeechToText, ToyTextToSpeech, ToyTool
from calltape.simulation.faulty_log import LogPort
from calltape.simulation.process import Process
from workers.appender import Appender
from workers.case import RoleWorker
from workers.conversation import ConversationRole, Desk
from workers.hearing import HearingDesk, HearingRole
from workers.lifecycle import LifeRules
from workers.listening import HearingRuntime
from workers.outbound import Outbound
from workers.projector import Projector
from workers.recorder import RecorderRole
from workers.runtime import Runtime, RuntimeLimits
from workers.summariser import SummariserRole

# The real ones, shorter: an hour of waiting proves no more than a minute.
LIFE_RULES = LifeRules(grace_ms=15_000, idle_ms=60_000, longest_ms=600_000, ingest_silent_ms=15_000, seal_ms=60_000)
# Everybody is woken by records and timers; looking around in between finds nothing else but lost partitions.
LIMITS = RuntimeLimits(wait_ms=300)
MEDIA_WAIT_MS = 150
LATE_LIMITS = RuntimeLimits(wait_ms=1000)


@dataclass(frozen=True, slots=True)
class Engines:
    """How probable (0..1) it is that one request of an engine fails, or is answered much too late."""

    failing: float = 0.0
    late: float = 0.0


@dataclass(slots=True)
class World:
    """What no process owns: whatever was done here does not die with who did it."""

    carrier: Carrier
    database: Database
    recordings: Path
    effects: dict[str, int] = field(default_factory=dict)  # key of a tool -> how often it took effect


@dataclass(frozen=True, slots=True)
class Seat:
    """What one process is given."""

    role: str
    instance: str
    process: Process
    log: LogPort
    now: Callable[[], int]
    new_id: Callable[[], str]

    @property
    def incarnation(self) -> str:
        return self.process.name.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Worker:
    """One process's work, what is cut when it is killed, and which calls it has given up on."""

    main: Coroutine[Any, Any, None]
    tables: Tables | None = None
    parked: Callable[[], Sequence[str]] = tuple


class Staff(Protocol):
    """Makes the workers of a house."""

    def worker(self, seat: Seat) -> Worker:
        """What the process of a role runs."""


@dataclass(slots=True)
class RealStaff:
    """Every worker as it ships."""

    seed: int
    world: World
    engines: Engines = Engines()
    rules: LifeRules = LIFE_RULES
    chance: Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = Random(f"engines-{self.seed}")

    def worker(self, seat: Seat) -> Worker:
        match seat.role:
            case "projector":
                tables = self.world.database.tables(seat.process)
                return Worker(Projector(seat.log, tables, instance=seat.instance, now=seat.now).run(), tables)
            case "summariser":
                return _worker(self._summariser(seat))
            case "recorder":
                return _worker(self._recorder(seat))
            case "hearing":
                return _worker(self._hearing(seat))
        return _worker(self._conversation(seat))

    def _conversation(self, seat: Seat) -> Runtime[Any]:
        appender = Appender(seat.log)
        failing, late, chance = self.engines.failing / 4, self.engines.late, self.chance
        role = ConversationRole(
            Desk(
                profile_of=lambda name: PROFILE,
                agent_of=lambda profile: ToyAgent(chance, failing=failing, late=late),
                tts=ToyTextToSpeech(chance, failing=failing, late=late),
                tools={name: ToyTool(name, chance, self.world.effects) for name in ("remind", "book")},
                outbound=Outbound(appender),
                now=seat.now,
                new_id=seat.new_id,
                hang_up=self.world.carrier.hang_up,
                transfer=self.world.carrier.transfer,
                life_rules=self.rules,
            )
        )
        runtime = _runtime(seat, role, appender=appender, limits=LIMITS)
        role.pump = runtime.calls.pump
        return runtime

    def _hearing(self, seat: Seat) -> HearingRuntime:
        # Every incarnation has its own mind about where an utterance ends.
        mind = int(seat.incarnation) % 3
        stt = ToySpeechToText(
            self.chance,
            failing=self.engines.failing,
            late=self.engines.late / 10,
            most_words=3 if mind == 1 else 0,
            tail_ms=40 if mind == 2 else None,
        )
        role = HearingRole(HearingDesk(stt=stt, detector=lambda rate: ToyDetector(), new_id=seat.new_id))
        runtime = HearingRuntime(
            seat.log,
            role,
            instance=seat.instance,
            incarnation=seat.incarnation,
            now=seat.now,
            new_id=seat.new_id,
            limits=LIMITS,
        )
        runtime.media_wait_ms = MEDIA_WAIT_MS
        return runtime

    def _summariser(self, seat: Seat) -> Runtime[Any]:
        engine = ToySummariser(self.chance, failing=self.engines.failing)
        role = SummariserRole(lambda profile: engine, seat.new_id)
        runtime = _runtime(seat, role, limits=LATE_LIMITS)
        role.pump = runtime.calls.pump
        return runtime

    def _recorder(self, seat: Seat) -> Runtime[Any]:
        disk = ToyDisk(self.chance, failing=self.engines.failing)
        role = RecorderRole(seat.log, self.world.recordings, seat.new_id, beside=disk)
        runtime = _runtime(seat, role, limits=LATE_LIMITS)
        role.pump = runtime.calls.pump
        return runtime


def _runtime(seat: Seat, role: RoleWorker[Any], **more: Any) -> Runtime[Any]:
    return Runtime(
        seat.log,
        role,
        instance=seat.instance,
        incarnation=seat.incarnation,
        now=seat.now,
        new_id=seat.new_id,
        **more,
    )


def _worker(runtime: Runtime[Any]) -> Worker:
    def parked() -> Sequence[str]:
        return [case.call_id for case in runtime.calls.cases.values() if case.parked]

    return Worker(runtime.run(), parked=parked)
