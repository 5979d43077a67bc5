"""Takes over a partition of live calls: `taker.py URI ROLE CALLS [--last-sequence N] [--profile FILE]`.

Starts when it reads a line. Says how long it took from being given the partition until the adoption of every call was
read back, and for hearing until every ear had heard what lies in calls.media. Engines cost nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import resource
import sys
import time
from pathlib import Path
from typing import Any

import structlog
import uvloop
from child import tell
from histories import PARTITION
from role import worker

from calltape import world
from eventlog.port import Reader
from eventlog.uri import open_log
from workers.listening import HearingRuntime
from workers.runtime import Runtime

PATIENCE_S = 300.0


class Timing:
    """Moments of one take-over."""

    def __init__(self, calls: int, last_sequence: int) -> None:
        self.calls, self.last_sequence = calls, last_sequence
        self.at: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.over = asyncio.Event()

    def note(self, what: str) -> None:
        if what not in self.at:
            self.at[what], self.cpu[what] = time.perf_counter(), time.process_time()

    def look(self, runtime: Runtime[Any], until: str) -> None:
        """After a step."""
        cases = runtime.calls.cases
        if "folded" not in self.at and PARTITION in runtime.calls.live:
            self.note("folded")
        if "adopted" not in self.at and len(cases) == self.calls and all(one.owned for one in cases.values()):
            self.note("adopted")
        if until in self.at:
            self.over.set()


def timed(kind: type[Any], timing: Timing, until: str) -> type[Any]:
    class Timed(kind):  # type: ignore[misc]
        async def _assign(self, given: dict[int, int], reader: Reader) -> None:
            timing.note("assigned")
            await super()._assign(given, reader)
            timing.note("looked_up")

        async def _step(self, *given: Any) -> None:
            await super()._step(*given)
            timing.look(self, until)

        async def _listen_once(self, reader: Reader) -> None:
            await super()._listen_once(reader)
            if "adopted" in timing.at and "heard" not in timing.at:
                cases = self.calls.cases.values()
                if all(ear.last_sequence >= timing.last_sequence for one in cases for ear in one.work.ears.values()):
                    timing.note("heard")
                    timing.look(self, until)

    return Timed


async def main(options: argparse.Namespace) -> None:
    hears = options.role == "hearing"
    async with open_log(options.log, now=world.now_ms) as log:
        timing = Timing(options.calls, options.last_sequence)
        kind = timed(HearingRuntime if hears else Runtime, timing, "heard" if hears else "adopted")
        runtime = worker(options.role, log, "bench:1", kind=kind)
        gc.collect()
        before_kb = rss_kb()
        working = asyncio.create_task(runtime.run())
        over = asyncio.create_task(timing.over.wait())
        await asyncio.wait([working, over], timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        after_kb = rss_kb()
        over.cancel()
        working.cancel()
        ended = await asyncio.gather(working, return_exceptions=True)
    if not timing.over.is_set():
        raise SystemExit(f"not taken over: {timing.at.keys()} {ended}")
    began = timing.at["assigned"]
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu = {what: used - timing.cpu["assigned"] for what, used in timing.cpu.items()}
    seconds = {what: at - began for what, at in timing.at.items()}
    tell(seconds=seconds, cpu_s=cpu, rss_mb=(after_kb - before_kb) / 1024, peak_mb=(peak_kb - before_kb) / 1024)


def rss_kb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("role", choices=("conversation", "hearing"))
    parser.add_argument("calls", type=int)
    parser.add_argument("--last-sequence", type=int, default=0)
    parser.add_argument("--profile", default="")
    parsed = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    tell(ready=True)
    sys.stdin.readline()
    seen = cProfile.Profile()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        if parsed.profile:
            seen.enable()
        loop.run(main(parsed))
    if parsed.profile:
        seen.disable()
        seen.dump_stats(parsed.profile)
