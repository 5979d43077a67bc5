"""How long a call is without its worker after kill -9, on an Apache Kafka and a PostgreSQL of its own.

`python -m benchmarks.dead_air [--kills 5] [--only supervised,gone] [--json]`. Spoken calls through the carrier
simulator, one at a time; in most turns, at a random moment of it, one worker of the call gets SIGKILL:

    supervised   `calltape serve --processes` brings it back: process, imports, engines, its place in the group
    gone         two members of each role, session time-out 2 s; the owner never comes back, the other takes over
                 (a new member joins once that is measured, so that there are two again)

    log      from the kill until the log has the first event of that role by another incarnation: its adoption
    heard    longest time in that turn in which neither side is audible, less the same of the undisturbed turns (median)

A kill while the agent's audio is already at the door, or while the caller speaks, may not be heard at all: that is
what `heard` says. `failed` counts, for both roles of a kind together, kills whose successor never came and calls that
went wrong: each is printed, and the exit code is 1. Recogniser and voice are the offline ones, and real; the caller's
sentences are prepared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from benchmarks.full_path import percentile
from benchmarks.live_calls import PARTS
from calltape import world
from calltape.demo import caller
from calltape.local.parts import Parts, parts, prepared
from calltape.local.processes import Processes
from clients.carrier import Carrier
from clients.report import CallReport, Observation, Seen
from clients.script import Hangup, Say, Script, Step, WaitFor
from clients.sound import SILENCE
from eventlog.port import Log
from eventlog.uri import open_log
from schema import topics
from schema.call import CallAdopted
from schema.registry import decode

sys.path.insert(0, str(PARTS))
from members import Members

ROLES = ("hearing", "conversation")
WORDS = ("remind me to pay the rent on monday", "yes that is right")
TURNS, UNDISTURBED = 10, 2
TURN_S = 5.0  # a kill falls somewhere into it
APART_S = 10.5  # who lives so long is brought back at once, not later each time
NOTICED_S = 30.0
AUDIBLE = frozenset(range(256)) - {0xFF, 0x7F, 0xFE, 0x7E}


@dataclass
class Found:
    """Of one kind of death."""

    log_ms: dict[str, list[float]] = field(default_factory=lambda: {role: [] for role in ROLES})
    heard_ms: dict[str, list[float]] = field(default_factory=lambda: {role: [] for role in ROLES})
    undisturbed_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class Stage:
    """Where the calls take place. `owners`: role -> owner of the live call, as the log has it."""

    house: Any
    carrier: Carrier
    log: Log
    comes_back: bool
    killed_at: dict[str, float] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    adopted: asyncio.Condition = field(default_factory=asyncio.Condition)
    bringing: asyncio.Task[None] | None = None  # a new member, once the death of the old one was measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each role, in each kind, 1 to 50")
    parser.add_argument("--only", default="supervised,gone")
    parser.add_argument("--session", default="2s", help="the session time-out where nobody comes back")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    kills = min(50, max(1, options.kills))
    found = {
        kind: asyncio.run(measured(kind, kills, options.session, random.Random(options.seed)))
        for kind in options.only.split(",")
    }
    show(found, as_json=options.json)
    sys.exit(1 if any(one.failures for one in found.values()) else 0)


async def measured(kind: str, kills: int, session: str, chance: random.Random) -> Found:
    found = Found()
    async with _stage(kind, session) as stage:
        while min(len(found.log_ms[role]) for role in ROLES) < kills and len(found.failures) < 3:
            await _call(stage, found, kills, chance)
    return found


@asynccontextmanager
async def _stage(kind: str, session: str) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="calltape-bench-")))
        stood_on: Parts = stack.enter_context(parts("kafka", folder))
        await prepared(stood_on)
        supervised = kind == "supervised"
        house: Any = Processes(folder, stood_on) if supervised else Members(folder, stood_on, session=session)
        carrier, rest, account, secret = await stack.enter_async_context(caller(house.address))
        house.introduce(account=account, secret=secret, rest=rest.url)
        await stack.enter_async_context(house)
        log = await stack.enter_async_context(open_log(stood_on.log, now=world.now_ms))
        yield Stage(house, carrier, log, supervised)


async def _call(stage: Stage, found: Found, kills: int, chance: random.Random) -> None:
    """One call, a kill in most of its turns."""
    call_id = "CA" + world.new_hex()
    turns: asyncio.Queue[int] = asyncio.Queue()
    count = iter(range(TURNS))
    killed: dict[int, str] = {}

    def observe(seen: Observation) -> None:
        if seen.kind is Seen.CALLER_STARTED:
            turns.put_nowait(next(count))

    said: list[Step] = [WaitFor(wait_for="reply")]
    for number in range(TURNS):
        said += [Say(say=WORDS[number % 2]), WaitFor(wait_for="reply", timeout_ms=15_000, required=False)]
    partition = topics.partition_of(call_id, topics.PARTITIONS)
    # Asked before the call is placed: its adoptions come at once.
    end = await stage.log.end(topics.EVENTS.name, partition)
    following = asyncio.create_task(_follow(stage, call_id, {partition: end}))
    killing = asyncio.create_task(_kill_in(stage, turns, killed, found, kills, chance))
    try:
        report = await stage.carrier.place_call(Script(steps=(*said, Hangup())), call_sid=call_id, on_event=observe)
        await stage.carrier.settle()
    finally:
        for task in (killing, following):
            task.cancel()
        ended = await asyncio.gather(killing, following, return_exceptions=True)
        found.failures += [repr(error) for error in ended if isinstance(error, Exception)]
    if not report.ok:
        found.failures.append(f"{report.failures} {report.violations}")
    _listen(report, killed, found)


async def _follow(stage: Stage, call_id: str, positions: dict[int, int]) -> None:
    """Who owns the call, as soon as the log says so."""
    stage.owners.clear()
    reader = stage.log.reader(topics.EVENTS.name, positions)
    while True:
        for record in await reader.read(wait_ms=1000):
            event = decode(record.value)
            if isinstance(event, CallAdopted) and event.call_id == call_id:
                async with stage.adopted:
                    stage.owners[event.role] = event.owner
                    stage.adopted.notify_all()


async def _kill_in(
    stage: Stage,
    turns: asyncio.Queue[int],
    killed: dict[int, str],
    found: Found,
    kills: int,
    chance: random.Random,
) -> None:
    while True:
        number = await turns.get()
        wanted = [role for role in ROLES if len(found.log_ms[role]) < kills and _is_rested(stage, role)]
        # The call does not last long enough after its last turn to see a successor.
        if not UNDISTURBED <= number < TURNS - 1 or not wanted or not turns.empty():
            continue
        if stage.bringing is not None:
            await stage.bringing
        role = min(wanted, key=lambda one: len(found.log_ms[one]))
        await asyncio.sleep(chance.uniform(0, TURN_S))
        killed[number] = role
        before = len(found.failures)
        found.failures.append(f"the {role} killed in turn {number} was not replaced when the call ended")
        found.log_ms[role].append(await _kill(stage, role))
        del found.failures[before]


def _is_rested(stage: Stage, role: str) -> bool:
    return time.monotonic() - stage.killed_at.get(role, 0) > APART_S


async def _kill(stage: Stage, role: str) -> float:
    """Ms until another incarnation's adoption is on the log."""
    owner = stage.owners[role]
    # role:instance:incarnation, and an instance is local:1.
    name = role if stage.comes_back else f"{role}:{owner.split(':')[2]}"
    began = stage.killed_at[role] = time.monotonic()
    stage.house.kill(name)
    async with stage.adopted:
        await asyncio.wait_for(stage.adopted.wait_for(lambda: stage.owners[role] != owner), NOTICED_S)
    took_ms = (time.monotonic() - began) * 1000
    if not stage.comes_back:
        stage.bringing = asyncio.create_task(stage.house.bring(name))
    return took_ms


def _listen(report: CallReport, killed: dict[int, str], found: Found) -> None:
    """The longest quiet of each turn."""
    quiet: dict[int, float] = {}
    for number, (one, after) in enumerate(zip(report.turns, report.turns[1:], strict=False)):
        quiet[number] = _quiet_ms(report, one.started_ms, after.started_ms)
    found.undisturbed_ms += [ms for number, ms in quiet.items() if number not in killed and number - 1 not in killed]
    usual = statistics.median(found.undisturbed_ms) if found.undisturbed_ms else 0.0
    for number, role in killed.items():
        if number in quiet:
            # What a kill late in a turn silences is the next one.
            worst = max(quiet[number], quiet.get(number + 1, 0) if number + 1 not in killed else 0)
            found.heard_ms[role].append(max(0.0, worst - usual))


def _quiet_ms(report: CallReport, from_ms: int, to_ms: int) -> float:
    longest = current = 0
    for at in range(from_ms * 8, to_ms * 8, 160):
        loud = any(_is_audible(side[at : at + 160]) for side in (report.heard, report.caller))
        current = 0 if loud else current + 20
        longest = max(longest, current)
    return float(longest)


def _is_audible(frame: bytes) -> bool:
    return frame.strip(SILENCE) != b"" and sum(byte in AUDIBLE for byte in frame) > len(frame) // 8


def show(found: dict[str, Found], *, as_json: bool) -> None:
    rows = [_row(kind, role, one) for kind, one in found.items() for role in ROLES]
    if as_json:
        print(json.dumps({"cores": os.cpu_count(), "load_average": os.getloadavg()[0], "rows": rows}, indent=2))
        return
    print(
        "kind        role          kills failed   log p50/p95/max ms"
        "        heard p50/p95/max ms (kills)   undisturbed ms"
    )
    for row in rows:
        print(
            f"{row['kind']:12}{row['role']:14}{row['kills']:5}{len(row['failures']):7}   {_three(row['log_ms'])}"
            f"   {_three(row['heard_ms'])} ({row['heard']})   {row['undisturbed_ms']:.0f}"
        )
    for kind, one in found.items():
        for failure in one.failures:
            print(f"{kind}: {failure}")
    print(f"{os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f} (everything on this machine)")


def _row(kind: str, role: str, one: Found) -> dict[str, Any]:
    return {
        "kind": kind,
        "role": role,
        "kills": len(one.log_ms[role]),
        "log_ms": _shares(one.log_ms[role]),
        "heard": len(one.heard_ms[role]),
        "heard_ms": _shares(one.heard_ms[role]),
        "undisturbed_ms": statistics.median(one.undisturbed_ms) if one.undisturbed_ms else 0.0,
        "failures": one.failures,
    }


def _shares(values: Sequence[float]) -> list[float | None]:
    return [percentile(values, 0.5), percentile(values, 0.95), max(values, default=None)]


def _three(values: Sequence[float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:6.0f}" for value in values)


if __name__ == "__main__":
    main()
