"""A second process on an SQLite log, for the tests: `python -m tests.contract.log_process PATH VERB …`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from eventlog.port import Entry
from eventlog.sqlite import SqliteLog
from eventlog.sqlite_file import Tuning
from tests.contract.eventlog import TOPIC, from_begin


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def append(log: SqliteLog, name: str, count: str) -> None:
    for number in range(int(count)):
        await log.append(TOPIC, [Entry(name, f"{name} {number}".encode())])
    say("done")
    await asyncio.to_thread(sys.stdin.readline)


async def tail(log: SqliteLog, count: str) -> None:
    reader = await from_begin(log)
    say("ready")
    seen = 0
    while seen < int(count):
        for record in await reader.read():
            say(record.value.decode())
            seen += 1


async def own(log: SqliteLog, name: str) -> None:
    membership = await log.join("workers", TOPIC, name)
    await log.append(TOPIC, [Entry("call", f"{name} was here".encode())])
    say(f"owns {len(membership.assigned)}")
    words = await asyncio.to_thread(sys.stdin.readline)
    await log.append(TOPIC, [Entry("call", words.strip().encode())])
    await asyncio.to_thread(sys.stdin.readline)


def fork_idle() -> int:
    child = os.fork()
    if child == 0:
        # Outlives its parent, until the test ends it.
        time.sleep(60)
        os._exit(0)
    return child


async def fork(log: SqliteLog, name: str) -> None:
    membership = await log.join("workers", TOPIC, name)
    say(f"owns {len(membership.assigned)}")
    say(fork_idle())
    await asyncio.to_thread(sys.stdin.readline)


async def main(path: str, verb: str, *arguments: str) -> None:
    verbs: dict[str, Callable[..., Awaitable[None]]] = {"append": append, "tail": tail, "own": own, "fork": fork}
    tuning = Tuning(balance_ms=10)
    async with SqliteLog(Path(path), now=lambda: time.time_ns() // 1_000_000, tuning=tuning) as log:
        await verbs[verb](log, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
