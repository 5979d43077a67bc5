"""Our ingest as `calltape ingest` runs it: the Twilio door, uvloop, every frame on a SQLite log.

`ingest_server.py LOG [--answering] [--switch-interval S]`. The door is in development mode: no signatures, and since
the load generator echoes no marks, what was heard is told by the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
import uvloop
from child import clock_ms, now_ms, parent_is_done, tell
from responder import Responder

from calltape.lifetime import settle
from eventlog.sqlite import SqliteLog
from ingest.app import Ingest
from ingest.config import IngestConfig
from schema.topics import MEDIA


class AppendTimes:
    """How long the oldest frame of each append was on its way to the log, in whole ms."""

    def __init__(self, ingest: Ingest) -> None:
        self.took_ms: Counter[int] = Counter()
        self._count = ingest.tally.note_append
        setattr(ingest.tally, "note_append", self._note)  # noqa: B010  # a plain assignment hides a method from mypy

    def _note(self, topic: str, records: int, took_ms: float) -> None:
        if topic == MEDIA.name:
            self.took_ms[int(took_ms)] += 1
        self._count(topic, records, took_ms)

    def percentile(self, share: float) -> int | None:
        ordered = sorted(self.took_ms.elements())
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


async def main(options: argparse.Namespace) -> None:
    ids = itertools.count(1)
    config = IngestConfig(instance="bench", dev=True)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(SqliteLog(Path(options.log), now=now_ms))
        ingest = Ingest(config, log, now=now_ms, clock=clock_ms, new_id=lambda: f"bench-ingest-{next(ids):012d}")
        await stack.enter_async_context(ingest)
        times = AppendTimes(ingest)
        if options.answering:
            await stack.enter_async_context(Responder(log))
        port = await ingest.start("127.0.0.1", 0)
        settle()
        tell(port=port)
        await parent_is_done()
        door = ingest.tally.door("twilio")
        tell(
            frames_in=door.frames_in,
            messages_out=door.frames_out,
            dropped=ingest.tally.dropped,
            retries=ingest.tally.retries,
            appends=ingest.tally.appends,
            append_p50_ms=times.percentile(0.50),
            append_p99_ms=times.percentile(0.99),
            bad_input=sum(ingest.tally.bad_input.values()),
            outbox={f"{kind} {fate}": count for (kind, fate), count in ingest.tally.outbox.items()},
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--answering", action="store_true", help="the responder in this process, as `calltape serve`")
    parser.add_argument("--switch-interval", type=float, default=sys.getswitchinterval())
    parsed = parser.parse_args()
    sys.setswitchinterval(parsed.switch_interval)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(parsed))
