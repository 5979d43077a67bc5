"""How long a partition of live calls waits for its new owner, on SQLite and on Kafka, side by side.

`python -m benchmarks.catch_up [--calls 10,40,100] [--on sqlite,kafka] [--json]`. For each number: as many calls of ten
minutes and sixty turns on one partition (`live/histories.py`), about 1,600 events and the last 12 s of audio each;
then, in a fresh process, conversation takes them over, and in another one hearing.

    asked     from being given the partitions (`_assign`) until their begins and ends are known
    folded    until the events are read to their end
    adopted   until the adoption of every call was read back: from here on calls are answered
    heard     hearing only: until every ear has heard what calls.media has, from the lowest place that was settled

CPU is the taker's own from the same moment; memory is its growth, and its peak. Engines cost nothing; opening the log,
imports and joining the group are not in it (a restart has them: `dead_air.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.live_calls import PARTS, Child, counts
from calltape import world
from eventlog.uri import open_log

sys.path.insert(0, str(PARTS))
from broker import broker
from histories import write

ROLES = ("conversation", "hearing")


@dataclass(frozen=True)
class Figure:
    """One take-over. Seconds from `_assign`."""

    log: str
    role: str
    calls: int
    events: int
    frames: int
    looked_up_s: float
    folded_s: float
    adopted_s: float
    heard_s: float | None
    cpu_s: float
    cpu_us_an_event: float
    rss_mb: float
    peak_mb: float
    load_average: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=counts, default=(10, 40, 100), help="of one partition, comma separated")
    parser.add_argument("--on", default="sqlite,kafka", help="these logs, comma separated")
    parser.add_argument("--roles", default=",".join(ROLES), help="these roles, comma separated")
    parser.add_argument("--profile", default="", help="a folder for what cProfile saw of each taker")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = [one for calls in options.calls for log in options.on.split(",") for one in measured(log, calls, options)]
    show(figures, as_json=options.json)


def measured(log: str, calls: int, options: argparse.Namespace) -> list[Figure]:
    """Each role on one log of its own."""
    with tempfile.TemporaryDirectory(prefix="calltape-bench-") as folder, ExitStack() as stack:
        if log == "kafka":
            uri = f"kafka://{stack.enter_context(broker()).bootstrap}"
        else:
            uri = f"sqlite:///{Path(folder, 'log.sqlite')}"
        # Imported before the calls are written: nobody may be silent for so long that the life of a call notices.
        roles = options.roles.split(",")
        arguments = {
            role: [f"--profile={Path(options.profile, f'{log}-{calls}-{role}.prof')}"] if options.profile else []
            for role in roles
        }
        last = ["--last-sequence=30000"]
        takers = {
            role: stack.enter_context(Child("taker.py", uri, role, str(calls), *last, *arguments[role]))
            for role in roles
        }
        for taker in takers.values():
            taker.hear()
        written = asyncio.run(_write(uri, calls))
        return [_taken(log, role, calls, written, taker) for role, taker in takers.items()]


async def _write(uri: str, calls: int) -> dict[str, int]:
    async with open_log(uri, now=world.now_ms) as log:
        return await write(log, calls)


def _taken(log: str, role: str, calls: int, written: dict[str, int], taker: Child) -> Figure:
    assert taker.process.stdin is not None
    taker.process.stdin.write("go\n")
    taker.process.stdin.flush()
    said: dict[str, Any] = taker.hear()
    taker.process.wait(timeout=60)
    seconds, cpu = said["seconds"], said["cpu_s"]
    return Figure(
        log=log,
        role=role,
        calls=calls,
        events=written["events"],
        frames=written["frames"],
        looked_up_s=seconds["looked_up"],
        folded_s=seconds["folded"],
        adopted_s=seconds["adopted"],
        heard_s=seconds.get("heard"),
        cpu_s=max(cpu.values()),
        cpu_us_an_event=cpu["folded"] * 1e6 / written["events"],
        rss_mb=said["rss_mb"],
        peak_mb=said["peak_mb"],
        load_average=os.getloadavg()[0],
    )


def show(figures: list[Figure], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"cores": os.cpu_count(), "runs": [asdict(one) for one in figures]}, indent=2))
        return
    print(
        "calls log     role           events  asked s  folded s  adopted s  heard s  CPU s  us/event   MB (peak)  load"
    )
    for one in figures:
        heard = "-" if one.heard_s is None else f"{one.heard_s:.2f}"
        times = f"{one.looked_up_s:9.3f}{one.folded_s:9.2f}{one.adopted_s:10.2f}{heard:>8}{one.cpu_s:7.2f}"
        memory = f"{one.rss_mb:5.0f} ({one.peak_mb:.0f})"
        print(
            f"{one.calls:5} {one.log:7} {one.role:13}{one.events:8}{times}{one.cpu_us_an_event:9.1f}"
            f"{memory:>12}{one.load_average:6.1f}"
        )


if __name__ == "__main__":
    main()
