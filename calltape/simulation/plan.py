"""What goes wrong in one run, and when: drawn from the seed, over before the call must end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from calltape.simulation.faulty_log import NO_FAULTS, Faults

Mishap = Literal[
    "kill",  # at this moment
    "fuse",  # after so many of its steps
    "mail",  # after so many of its appends left it
    "said",  # after the next append that says `fact` left it
    "unsaid",  # before the next append that says `fact` leaves it
    "asked",  # when it asks the carrier next, and its request never leaves
    "commit",  # the projector's, between effect and commit
    "copy",  # before the next copy of `fact` into the outbox leaves it
    "freeze",  # SIGSTOP
    "restart",  # SIGTERM, doors only
    "rebalance",  # its partitions move, and it learns of it later
    "stall",  # the log takes nothing
    "away",  # no broker answers
    "database",  # the database is away
]
WINDOW_S = 40.0
MISHAPS = 8
STORM = 25
MISHAPS_S = 25.0  # most calls are over by then
OWNERS = ("conversation", "hearing")
LATE = ("projector", "summariser", "recorder")
ROLES = (*OWNERS, "door", *LATE)
FACTS = {
    "conversation": ("reply.sentence", "reply.interrupted", "turn.taken", "tool.called", "call.ended", "call.sealed"),
    "hearing": ("transcript.settled", "speech.started", "stream.heard"),
    "door": ("stream.opened", "stream.closed", "playback.cleared", "playback.marked"),
    "summariser": ("call.summarised",),
    "recorder": ("recording.saved",),
}
COPIED = ("reply.interrupted", "reply.started", "reply.resumed", "call.adopted", "stream.superseded", "call.ended")


@dataclass(frozen=True, slots=True)
class Event:
    """One mishap. `steps`: for a fuse, the steps of the process until it is killed; for mail, its appends."""

    at_s: float
    what: Mishap
    who: str = ""
    ms: int = 0
    steps: int = 0
    fact: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`faults` hold until `until_s`."""

    events: tuple[Event, ...] = ()
    faults: Faults = NO_FAULTS
    until_s: float = 0.0
    standby: bool = False  # a second member of each group
    doors: int = 2
    lag_ms: int = 0  # hearing reads so much later
    engines_fail: float = 0.0
    engines_late: float = 0.0
    tick_ms: int = 100  # so often the caller's line says something
    frame_ms: int = 100  # in pieces of this; carriers use 20
    latency_ms: int = 20
    calls: int = 1  # that begin within a few seconds
    user_id: str = ""  # whose the calls are; empty: anybody's who has their ids
    jitter_ms: int = 0  # the log's times step back by at most this
    records: bool = False  # whether calls are recorded
    database_ms: int = 3000  # the slowest answer of the database
    forgetful: float = 0.0  # how often it loses the answer to a commit
    refusals: int = 0  # of the carrier's API, before it obeys


def drawn_plan(seed: int) -> Plan:
    """One seed in ten sees no fault at all."""
    chance = Random(f"plan-{seed}")
    tick_ms = chance.choice((20, 60, *(100,) * 4, *(200,) * 6))
    frame_ms = chance.choice((20, tick_ms, tick_ms, tick_ms))
    latency_ms = chance.choice((5, 20, 80))
    calls = chance.choice((*(1,) * 6, 2, 3))
    records = chance.random() < 0.25
    user_id = chance.choice(("", "", "mia"))
    quiet = Plan(
        tick_ms=tick_ms, frame_ms=frame_ms, latency_ms=latency_ms, calls=calls, user_id=user_id, records=records
    )
    if chance.random() < 0.1:
        return quiet
    is_storm = chance.random() < 0.25
    mishaps = [_drawn(chance) for _ in range(STORM if is_storm else chance.randint(0, MISHAPS))]
    if chance.random() < 0.1:
        mishaps += to_and_fro(chance.choice(OWNERS), chance.uniform(1.5, 5))
    # Drawn apart: what a seed drew before the carrier was slow and refused, it draws still.
    carrier = Random(f"carrier-{seed}")
    refusals = carrier.choice((0, 0, 0, 0, 1, 2, 4))
    if carrier.random() < 0.15:
        mishaps.append(Event(carrier.random() * MISHAPS_S, "asked", "conversation"))
    events = tuple(sorted(mishaps, key=lambda event: event.at_s))
    faults = _drawn_faults(chance) if chance.random() < 0.6 else NO_FAULTS
    return replace(
        quiet,
        events=events,
        faults=faults,
        until_s=WINDOW_S,
        standby=chance.random() < 0.6 or len(events) > MISHAPS,
        doors=chance.choice((1, 2, 2)),
        lag_ms=chance.choice((0, 0, 0, 500, 3000)),
        engines_fail=chance.choice((0.0, 0.0, 0.05, 0.2)),
        engines_late=chance.choice((0.0, 0.0, 0.0, 0.02)),
        jitter_ms=chance.choice((0, 0, 5, 40)),
        database_ms=chance.choice((200, 2000, 4000, 8000)),
        forgetful=chance.choice((0.0, 0.0, 0.1)),
        refusals=refusals,
    )


def to_and_fro(who: str, every_s: float) -> list[Event]:
    """A group that cannot agree: its partitions come back to who has just lost them."""
    return [Event(every_s * number, "rebalance", who, ms=100) for number in range(1, 8)]


def _drawn(chance: Random) -> Event:
    who = chance.choices(ROLES, (5, 3, 2, 1, 0.5, 0.5))[0]
    draw = chance.random()
    at_s = chance.random() * MISHAPS_S
    if draw < 0.13:
        return Event(at_s, "kill", who)
    if draw < 0.27:
        return Event(at_s, "fuse", who, steps=chance.randint(1, 200))
    if draw < 0.4:
        return Event(at_s, "mail", who, steps=chance.randint(1, 12))
    if draw < 0.54:
        return _drawn_trap(chance, at_s, who)
    if draw < 0.72:
        return Event(at_s, "freeze", who, ms=chance.choice((300, 2500, 6000, 12_000)))
    if draw < 0.86:
        return Event(at_s, "rebalance", chance.choice((*OWNERS, *OWNERS, *LATE)), ms=chance.randint(0, 5000))
    if draw < 0.93:
        return Event(at_s, "stall", ms=chance.choice((200, 1500, 4000)))
    if draw < 0.96:
        return Event(at_s, "away", ms=chance.choice((500, 4000, 30_000)))
    if draw < 0.98:
        return Event(at_s, "restart", "door")
    return Event(at_s, "database", ms=chance.choice((1000, 10_000)))


def _drawn_trap(chance: Random, at_s: float, who: str) -> Event:
    """Death between two things that should have happened both."""
    if chance.random() < 0.3:
        return Event(at_s, "copy", "conversation", fact=chance.choice(COPIED))
    if who == "projector":
        return Event(at_s, "commit", who)
    return Event(at_s, chance.choice(("said", "unsaid")), who, fact=chance.choice(FACTS[who]))


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
