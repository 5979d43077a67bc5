"""The real workers with toy engines, as wiring would make them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from calltape.simulation.fakes import PROFILE, ToyAgent, ToyDetector, ToySpeechToText, ToyTextToSpeech, ToyTool
from calltape.simulation.faulty_log import LogPort
from calltape.simulation.process import Process
from workers.appender import Appender
from workers.conversation import ConversationRole, Desk
from workers.hearing import HearingDesk, HearingRole
from workers.lifecycle import LifeRules
from workers.listening import HearingRuntime
from workers.outbound import Outbound
from workers.runtime import Runtime

# The real ones, shorter: an hour of waiting proves no more than a minute.
LIFE_RULES = LifeRules(grace_ms=15_000, idle_ms=60_000, longest_ms=600_000, ingest_silent_ms=15_000, seal_ms=60_000)


class Staff(Protocol):
    """Makes the workers of a house."""

    def worker(
        self,
        role: str,
        log: LogPort,
        *,
        instance: str,
        process: Process,
        now: Callable[[], int],
        new_id: Callable[[], str],
    ) -> Coroutine[Any, Any, None]:
        """What the process of a role runs."""


@dataclass(slots=True)
class RealStaff:
    """Conversation and hearing as they ship. `effects` counts what tools did in the world."""

    seed: int
    effects: dict[str, int]
    engines_fail: float = 0.0
    rules: LifeRules = LIFE_RULES
    chance: Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = Random(f"engines-{self.seed}")

    def worker(
        self,
        role: str,
        log: LogPort,
        *,
        instance: str,
        process: Process,
        now: Callable[[], int],
        new_id: Callable[[], str],
    ) -> Coroutine[Any, Any, None]:
        incarnation = process.name.rpartition(":")[2]
        if role == "hearing":
            return self._hearing(log, instance, incarnation, now, new_id).run()
        return self._conversation(log, instance, incarnation, now, new_id).run()

    def _conversation(
        self, log: LogPort, instance: str, incarnation: str, now: Callable[[], int], new_id: Callable[[], str]
    ) -> Runtime[Any]:
        appender = Appender(log)
        role = ConversationRole(
            Desk(
                profile_of=lambda name: PROFILE,
                agent_of=lambda profile: ToyAgent(self.chance, failing=self.engines_fail / 4),
                tts=ToyTextToSpeech(self.chance, failing=self.engines_fail / 4),
                tools={name: ToyTool(name, self.chance, self.effects) for name in ("remind", "book")},
                outbound=Outbound(appender),
                now=now,
                new_id=new_id,
                life_rules=self.rules,
            )
        )
        runtime = Runtime(
            log, role, instance=instance, incarnation=incarnation, now=now, new_id=new_id, appender=appender
        )
        role.pump = runtime.calls.pump
        return runtime

    def _hearing(
        self, log: LogPort, instance: str, incarnation: str, now: Callable[[], int], new_id: Callable[[], str]
    ) -> HearingRuntime:
        stt = ToySpeechToText(self.chance, failing=self.engines_fail)
        role = HearingRole(HearingDesk(stt=stt, detector=lambda rate: ToyDetector(), new_id=new_id))
        return HearingRuntime(log, role, instance=instance, incarnation=incarnation, now=now, new_id=new_id)
