"""The carrier's side: calls on real sockets, a frame every 20 ms, one in eight stamped.

`callers.py URL CALLS WARM_S SECONDS`: as many calls for a while to warm the server up, then new ones to be measured.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from dataclasses import asdict

import uvloop
from child import FRAME_MS, PIECE_MS, parent_is_done, tell

from clients.load import LoadCall, LoadReport, place_load


async def measured(url: str, calls: int, warm_s: float, seconds: float) -> None:
    numbers = itertools.count(1)

    async def load(for_s: float) -> LoadReport:
        placed = itertools.islice(numbers, calls)
        return await place_load(
            [LoadCall(url, f"CA{number:032d}", f"MZ{number:032d}", "AC1") for number in placed],
            seconds=for_s,
            new_key=lambda: os.urandom(16),
            clock=time.perf_counter,
            stamp_every=PIECE_MS // FRAME_MS,
        )

    warm = await load(warm_s)
    await asyncio.sleep(1.0)
    tell(began=True)
    report = asdict(await load(seconds))
    del report["lag_p99_by_call_ms"]
    cpu_s = time.process_time()
    tell(**report, frames_sent_warm=warm.frames_sent, generator_cpu_s=cpu_s)


async def main() -> None:
    url, calls, warm_s, seconds = sys.argv[1:]
    work = asyncio.create_task(measured(url, int(calls), float(warm_s), float(seconds)))
    parent = asyncio.create_task(parent_is_done())
    await asyncio.wait([work, parent], return_when=asyncio.FIRST_COMPLETED)
    parent.cancel()
    if not work.done():
        work.cancel()
        return
    work.result()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
