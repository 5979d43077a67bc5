"""A second process on a Kafka log, for the tests: `kafka_process BOOTSTRAP PREFIX SESSION_MS NAME`.

A member of the group. Says a line for each share it is given, `owns COUNT given TIMES`, and appends each line it reads.
"""

from __future__ import annotations

import asyncio
import sys
import time

from eventlog.kafka import KafkaLog
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import Entry, Membership
from schema.topics import EVENTS
from tests.contract.eventlog import TOPIC


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def tell_shares(membership: Membership) -> None:
    while True:
        count, given = len(membership.assigned), membership.given
        say(f"owns {count} given {sum(given.values())}")
        await membership.changed(wait_ms=3_600_000)


async def main(bootstrap: str, prefix: str, session_ms: str, name: str) -> None:
    tuning = KafkaTuning(prefix=prefix, session_ms=int(session_ms))
    log = KafkaLog(bootstrap, now=lambda: time.time_ns() // 1_000_000, topics={TOPIC: EVENTS}, tuning=tuning)
    async with log, asyncio.TaskGroup() as tasks:
        tasks.create_task(tell_shares(await log.join("workers", TOPIC, name)))
        while words := await asyncio.to_thread(sys.stdin.readline):
            await log.append(TOPIC, [Entry("call", words.strip().encode())])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
