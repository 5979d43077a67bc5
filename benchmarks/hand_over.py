"""How long live calls are without a door when it is replaced, and what that costs them.

`python -m benchmarks.hand_over [--calls 3] [--rounds 3] [--on sqlite|kafka] [--only restart,stopped] [--json]`. Real
processes under `calltape serve --processes`, spoken calls through the carrier simulator, all at once; in each round, at
a random moment, the door under them is replaced:

    restart   SIGHUP to the supervisor: every process is replaced, the doors last
    stopped   SIGTERM to the doors' process, from outside

    gap       from the end of the old stream on the log until the first frame of the next one is on it
    reopened  the same as the caller sees it: from the close of one socket to the start on the next
    lost      sentences a caller said that are not in the transcript
    asked     calls that were asked something again after 1.2 s of silence: their question, or to say it again

A round whose calls are over before the door goes has no gaps. `failed` are calls that did not go as the script wants;
each is printed, and the exit code is 1. Recogniser and voice are the offline ones, and real.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.full_path import percentile
from clients.report import Seen
from clients.script import Hangup, Say, Script, Wait, WaitFor
from schema.turn import TimerRang
from tests.support.crowd import Crowd, Visit, believed, crowd, new_visit, until_seen

WORDS = ("remind me to pay the rent on monday", "yes that is right")
PAUSE_MS = 700  # a caller thinks
WISHES = 5  # a call outlasts the restart of all roles
SOMEWHERE_S = {"restart": 3.0, "stopped": 14.0}  # into the calls; of a restart the doors are the last
KINDS = ("restart", "stopped")


@dataclass
class Found:
    """Of one kind of replacement."""

    calls: int = 0
    gaps_ms: list[float] = field(default_factory=list)
    reopened_ms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # until everything that was to be replaced was
    lost: list[str] = field(default_factory=list)
    asked: int = 0
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3, help="at once, 1 to 20")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind, 1 to 20")
    parser.add_argument("--on", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--drain", type=float, default=30.0, help="seconds a quiet moment is waited for")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measured(options))
    show(found, options)
    sys.exit(1 if any(one.failures for one in found.values()) else 0)


async def measured(options: argparse.Namespace) -> dict[str, Found]:
    chance = random.Random(options.seed)
    found = {kind: Found() for kind in options.only.split(",")}
    with tempfile.TemporaryDirectory(prefix="calltape-bench-") as folder:
        async with crowd(Path(folder), ground=options.on, drain_s=options.drain) as house:
            for kind, one in found.items():
                for _ in range(min(20, max(1, options.rounds))):
                    await _round(house, kind, one, min(20, max(1, options.calls)), chance)
    return found


async def _round(house: Crowd, kind: str, found: Found, calls: int, chance: random.Random) -> None:
    visits = [new_visit() for _ in range(calls)]
    async with asyncio.TaskGroup() as tasks:
        for visit in visits:
            tasks.create_task(house.visit(_script(chance), visit))
        await until_seen(visits, lambda visit: visit.has_seen(Seen.AGENT_STARTED))
        await asyncio.sleep(chance.uniform(0, SOMEWHERE_S[kind]))
        found.seconds.append(await (house.renew() if kind == "restart" else house.replace_door()))
    for visit in visits:
        await _look_at(house, visit, found)


def _script(chance: random.Random) -> Script:
    """Callers think for different times, so that they are not all in the same moment of their calls."""
    pauses = [round(PAUSE_MS * chance.uniform(0.3, 3)) for _ in range(WISHES * len(WORDS))]
    steps: list[Any] = [WaitFor(wait_for="reply")]
    for number, text in enumerate(WORDS * WISHES):
        steps += [Wait(wait=pauses[number]), Say(say=text), WaitFor(wait_for="reply", timeout_ms=25_000)]
    return Script(steps=(*steps, Hangup()))


async def _look_at(house: Crowd, visit: Visit, found: Found) -> None:
    found.calls += 1
    found.reopened_ms += visit.gaps_ms
    found.gaps_ms += await house.gaps_ms(visit.call_id)
    shown = await house.finished(visit.call_id)
    heard = [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"]
    assert visit.report is not None
    for said in visit.report.turns:
        if said.text in heard:
            heard.remove(said.text)
        else:
            found.lost.append(f"{visit.call_id}: {said.text!r} (heard: {heard})")
    events = believed(await house.events(visit.call_id))
    found.asked += any(isinstance(event, TimerRang) and event.name == "cut_off" for event in events)
    if not visit.report.ok:
        found.failures.append(f"{visit.call_id}: {visit.report.failures} {visit.report.violations}")


def show(found: dict[str, Found], options: argparse.Namespace) -> None:
    rows = [_row(kind, one) for kind, one in found.items()]
    load = os.getloadavg()[0]
    if options.json:
        print(json.dumps({"on": options.on, "cores": os.cpu_count(), "load_average": load, "rows": rows}, indent=2))
        return
    print("kind      calls  handed over  gap p50/max ms   reopened p50/max ms  lost  asked  failed  replaced in s")
    for row in rows:
        counts = f"{len(row['lost']):6}{row['asked']:7}{len(row['failures']):8}"
        gaps = f"{_two(row['gap_ms'])}   {_two(row['reopened_ms'])}"
        print(f"{row['kind']:10}{row['calls']:5}{row['handed_over']:13}  {gaps}   {counts}  {max(row['seconds']):.1f}")
        for text in (*row["lost"], *row["failures"]):
            print(f"    {text}")
    print(f"on {options.on}; {os.cpu_count()} cores; load average {load:.1f} (everything on this machine)")


def _row(kind: str, found: Found) -> dict[str, Any]:
    return {
        "kind": kind,
        "calls": found.calls,
        "handed_over": len(found.gaps_ms),
        "gap_ms": _shares(found.gaps_ms),
        "reopened_ms": _shares(found.reopened_ms),
        "lost": found.lost,
        "asked": found.asked,
        "seconds": found.seconds,
        "failures": found.failures,
    }


def _shares(values: Sequence[float]) -> list[float | None]:
    return [percentile(values, 0.5), max(values, default=None)]


def _two(values: Sequence[float | None]) -> str:
    return " / ".join("     -" if value is None else f"{value:6.0f}" for value in values)


if __name__ == "__main__":
    main()
