"""One role with engines that cost nothing, on any log, in a process of its own.

`role.py URI ingest|hearing|conversation`. The doors are in development mode (no signatures). At its end each says what
it did; `--profile FILE` keeps what cProfile saw of it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop
from child import clock_ms, parent_is_done, tell

from calltape import world
from calltape.lifetime import settle
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import Log
from eventlog.uri import open_log


def worker(name: str, log: Log, instance: str, **kind: Any) -> Any:
    """`hearing` or `conversation`; their engines are imported by nobody else."""
    from zero import ZeroDetector, ZeroVoice
    from zero_workers import conversation, hearing

    if name == "hearing":
        return hearing(log, _identity(instance), ZeroDetector, **kind)
    return conversation(log, _identity(instance), ZeroVoice(), **kind)


def _identity(instance: str) -> dict[str, Any]:
    return {
        "instance": instance,
        "incarnation": world.new_hex()[:12],
        "now": world.now_ms,
        "new_id": world.new_id,
    }


@asynccontextmanager
async def _doors(log: Log) -> AsyncIterator[dict[str, Any]]:
    from ingest.app import Ingest
    from ingest.config import IngestConfig

    config = IngestConfig(instance="bench", dev=True)
    async with Ingest(config, log, now=world.now_ms, clock=clock_ms, new_id=world.new_id) as ingest:
        yield {"port": await ingest.start("127.0.0.1", 0)}


@asynccontextmanager
async def _working(log: Log, name: str, instance: str) -> AsyncIterator[dict[str, Any]]:
    task = asyncio.create_task(worker(name, log, instance).run())
    task.add_done_callback(lambda done: done.cancelled() or done.result())
    try:
        yield {"instance": instance}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def main(options: argparse.Namespace) -> None:
    kafka = KafkaTuning(session_ms=options.session_ms)
    async with open_log(options.log, now=world.now_ms, kafka=kafka) as log:
        working = _doors(log) if options.role == "ingest" else _working(log, options.role, options.instance)
        async with working as said:
            settle()
            tell(**said)
            await parent_is_done()
    tell(role=options.role, collections=[one["collections"] for one in gc.get_stats()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", help="as in the setting LOG")
    parser.add_argument("role", choices=("ingest", "hearing", "conversation"))
    parser.add_argument("--instance", default="bench:1")
    parser.add_argument("--session-ms", type=int, default=6000)
    parser.add_argument("--profile", default="", help="where to write what cProfile saw")
    parsed = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    seen = cProfile.Profile()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        if parsed.profile:
            seen.enable()
        loop.run(main(parsed))
    if parsed.profile:
        seen.disable()
        seen.dump_stats(parsed.profile)
