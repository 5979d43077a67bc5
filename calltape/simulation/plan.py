"""What goes wrong in one run, and when: drawn from the seed, over before the call must end."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from calltape.simulation.faulty_log import NO_FAULTS, Faults

Mishap = Literal["kill", "fuse", "mail", "freeze", "rebalance", "stall"]
WINDOW_S = 40.0
MISHAPS = 8
MISHAPS_S = 25.0  # most calls are over by then
ROLES = ("conversation", "hearing", "door")


@dataclass(frozen=True, slots=True)
class Event:
    """One mishap. `steps`: for a fuse, the steps of the process until it is killed; for mail, its appends."""

    at_s: float
    what: Mishap
    who: str = ""
    ms: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """`faults` hold until `until_s`."""

    events: tuple[Event, ...] = ()
    faults: Faults = NO_FAULTS
    until_s: float = 0.0
    standby: bool = False  # a second member of each group
    lag_ms: int = 0  # hearing reads so much later
    engines_fail: float = 0.0
    tick_ms: int = 100
    latency_ms: int = 20
    calls: int = 1  # that begin within a few seconds
    jitter_ms: int = 0  # the log's times step back by at most this


def drawn_plan(seed: int) -> Plan:
    """One seed in ten sees no fault at all."""
    chance = Random(f"plan-{seed}")
    tick_ms = chance.choice((20, 60, 100, 100))
    latency_ms = chance.choice((5, 20, 80))
    calls = chance.choice((1, 1, 1, 1, 2, 3))
    if chance.random() < 0.1:
        return Plan(tick_ms=tick_ms, latency_ms=latency_ms, calls=calls)
    mishaps = [_drawn(chance) for _ in range(chance.randint(0, MISHAPS))]
    if chance.random() < 0.1:
        mishaps += to_and_fro(chance.choice(ROLES[:2]), chance.uniform(1.5, 5))
    events = tuple(sorted(mishaps, key=lambda event: event.at_s))
    faults = _drawn_faults(chance) if chance.random() < 0.6 else NO_FAULTS
    return Plan(
        events,
        faults,
        WINDOW_S,
        standby=chance.random() < 0.6 or len(events) > MISHAPS,
        lag_ms=chance.choice((0, 0, 0, 500, 3000)),
        engines_fail=chance.choice((0.0, 0.0, 0.05, 0.2)),
        tick_ms=tick_ms,
        latency_ms=latency_ms,
        calls=calls,
        jitter_ms=chance.choice((0, 0, 5, 40)),
    )


def to_and_fro(who: str, every_s: float) -> list[Event]:
    """A group that cannot agree: its partitions come back to who has just lost them."""
    return [Event(every_s * number, "rebalance", who, ms=100) for number in range(1, 8)]


def _drawn(chance: Random) -> Event:
    who = chance.choices(ROLES, (5, 3, 1))[0]
    draw = chance.random()
    at_s = chance.random() * MISHAPS_S
    if draw < 0.15:
        return Event(at_s, "kill", who)
    if draw < 0.3:
        return Event(at_s, "fuse", who, steps=chance.randint(1, 200))
    if draw < 0.55:
        return Event(at_s, "mail", who, steps=chance.randint(1, 12))
    if draw < 0.75:
        return Event(at_s, "freeze", who, ms=chance.choice((300, 2500, 6000, 12_000)))
    if draw < 0.9:
        return Event(at_s, "rebalance", chance.choice(ROLES[:2]), ms=chance.randint(0, 5000))
    return Event(at_s, "stall", ms=chance.choice((200, 1500, 4000)))


def _drawn_faults(chance: Random) -> Faults:
    def rarely(most: float) -> float:
        return chance.choice((0.0, most / 4, most))

    return Faults(
        lose=rarely(0.08),
        lose_answer=rarely(0.08),
        hide_answer=rarely(0.05),
        double=rarely(0.2),
        slow=rarely(0.2),
        slow_ms=chance.choice((100, 700, 2500)),
        late_ms=chance.choice((500, 4000)),
        lag=rarely(0.1),
    )
