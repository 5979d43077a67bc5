"""A real Kafka for tests: one broker for all tests of a run, started when the first one asks, or one of the tester's.

Names of topics are fixed, so tests are kept apart by a prefix of their own (`CALLTAPE_KAFKA_PREFIX`).
"""

from __future__ import annotations

import atexit
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from itertools import count
from uuid import uuid4

from eventlog.kafka_topics import create_topics, delete_topics
from eventlog.kafka_tuning import KafkaTuning
from schema.topics import TOPICS, Topic
from scripts.local_kafka import KafkaError, LocalKafka, missing
from tests.support.needs import require_or_skip

NAMED = "CALLTAPE_TEST_KAFKA"
# A session that ends while a test waits for it.
QUICK = KafkaTuning(session_ms=1000)
_numbers = count()
_started: list[LocalKafka] = []


def kafka_bootstrap() -> str:
    """host:port of a broker that serves this run. Skips the test where there can be none."""
    return os.environ.get(NAMED) or _shared().bootstrap


def local_kafka(nodes: int = 1) -> LocalKafka:
    """A cluster of the test's own, to be started and killed by it. Skips where there can be none."""
    if problem := missing():
        require_or_skip("kafka", problem)
    return LocalKafka(nodes)


@asynccontextmanager
async def kafka_topics(
    bootstrap: str, topics: dict[str, Topic] | None = None, tuning: KafkaTuning = QUICK
) -> AsyncIterator[KafkaTuning]:
    """Topics nobody else uses, deleted afterwards; the tuning that names them."""
    mine = replace(tuning, prefix=f"test-{uuid4().hex[:6]}-{next(_numbers)}-")
    wanted = list((TOPICS if topics is None else topics).values())
    await create_topics(bootstrap, wanted, mine, 0)
    try:
        yield mine
    finally:
        await delete_topics(bootstrap, wanted, mine)


@cache
def _shared() -> LocalKafka:
    if problem := missing():
        require_or_skip("kafka", problem)
    try:
        _started.append(LocalKafka().start())
    except KafkaError as error:
        require_or_skip("kafka", str(error))
    return _started[-1]


@atexit.register
def _stop_shared() -> None:
    # Its keeper ends it with this process in any case; so it is gone before the last line of the run.
    while _started:
        _started.pop().stop()
