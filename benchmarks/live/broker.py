"""A broker of the benchmark's own, with the topics of the house."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from eventlog.kafka_topics import create_topics
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import LogUnavailable
from schema.topics import TOPICS
from scripts.local_kafka import LocalKafka

ATTEMPTS = 40


@contextmanager
def broker() -> Iterator[LocalKafka]:
    """One node. On a busy machine it answers before it knows itself, so topics are asked for again."""
    with LocalKafka(steady=True) as kafka:
        asyncio.run(_made(kafka.bootstrap))
        yield kafka


async def _made(bootstrap: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            await create_topics(bootstrap, list(TOPICS.values()), KafkaTuning(), 1)
        except LogUnavailable:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.5)
        else:
            return
