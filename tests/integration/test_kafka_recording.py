"""A recording survives the broker it is read from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from calltape.world import now_ms
from eventlog.kafka import KafkaLog
from eventlog.port import Entry, LogUnavailable, Reader, Record
from schema import topics
from schema.call import CallEnded, CallSealed, CallStarted
from schema.envelope import AnyEvent, type_of
from schema.media import MediaReceived
from schema.registry import decode, encode, pack
from schema.stream import StreamOpened
from scripts.local_kafka import LocalKafka
from tests.support.kafka import kafka_topics, local_kafka
from workers.recorder import RecorderRole, RecordingState
from workers.runtime import Runtime

pytestmark = pytest.mark.long

CALL = "CA1"
FRAMES, BATCH = 3000, 300
PARTITION = topics.partition_of(CALL, topics.PARTITIONS)
USED = {topic.name: topic for topic in (topics.EVENTS, topics.MEDIA)}
# Everything a broker's death and return may take on a busy machine.
OUTAGE_S = 120
OVER = [
    CallStarted(id="s", call_id=CALL, channel="twilio", source="web", sequence=1),
    StreamOpened(
        id="o", call_id=CALL, source="MZ1", sequence=1, stream="MZ1", door="twilio", mailbox=0, encoding="mulaw"
    ),
    CallEnded(id="e", call_id=CALL, role="conversation", prior="s", reason="idle"),
    CallSealed(id="x", call_id=CALL, role="conversation", prior="e", complete=True),
]


class Falling:
    """A log whose only broker is killed while its audio is read for the first time."""

    def __init__(self, log: KafkaLog, kafka: LocalKafka) -> None:
        self._log, self._kafka = log, kafka
        self.fell, self.given_up = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def reader(self, topic: str, positions: Mapping[int, int]) -> Any:
        reader = self._log.reader(topic, positions)
        return reader if self.fell.is_set() else FallingReader(reader, self)

    async def fall(self) -> None:
        await asyncio.to_thread(self._kafka.kill, 1)
        self.fell.set()


class FallingReader:
    def __init__(self, reader: Reader, log: Falling) -> None:
        self._reader, self._log = reader, log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def read(self, **how: int) -> list[Record]:
        found = await self._reader.read(**how)
        if not self._log.fell.is_set():
            await self._log.fall()
        return found

    async def close(self) -> None:
        self._log.given_up.set()
        await self._reader.close()


async def write(log: KafkaLog, frames: int) -> None:
    """Audio of the call, in batches that no compression makes small: a fetch brings one of them."""
    chance = random.Random(1)
    for first in range(0, frames, BATCH):
        heard = [
            MediaReceived(call_id=CALL, stream="MZ1", sequence=n + 1, ms=n * 20, payload=chance.randbytes(160))
            for n in range(first, first + BATCH)
        ]
        await log.append(topics.MEDIA.name, [Entry(CALL, pack(frame)) for frame in heard])


async def said(log: KafkaLog) -> AnyEvent:
    """What the recorder says of the call, however long that takes."""
    reader = log.reader(topics.EVENTS.name, {PARTITION: 0})
    async with asyncio.timeout(OUTAGE_S):
        while True:
            try:
                events = [decode(record.value) for record in await reader.read()]
            except LogUnavailable:
                continue
            for event in events:
                if event.role == "recorder":
                    return event


async def test_a_broker_that_dies_while_a_call_is_recorded_costs_no_audio(tmp_path: Path) -> None:
    with local_kafka() as kafka:
        async with kafka_topics(kafka.bootstrap, USED) as tuning:
            before = asyncio.all_tasks()
            tuning = replace(tuning, fetch_bytes=65_536, ask_ms=1000)
            async with KafkaLog(kafka.bootstrap, now=now_ms, topics=USED, tuning=tuning) as log:
                await write(log, FRAMES)
                await log.append(topics.EVENTS.name, [Entry(CALL, encode(event)) for event in OVER])
                falling, ids = Falling(log, kafka), count()
                recorder = RecorderRole(falling, tmp_path, lambda: f"rec{next(ids)}")
                runtime = Runtime[RecordingState](
                    log, recorder, instance="r", incarnation="1", now=now_ms, new_id=lambda: f"run{next(ids)}"
                )
                recorder.pump = runtime.calls.pump
                running = asyncio.create_task(runtime.run())
                await falling.given_up.wait()
                await asyncio.to_thread(kafka.restart, 1)
                saved: Any = await said(log)
                assert type_of(saved) == "recording.saved"
                assert saved.duration_ms == FRAMES * 20
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert asyncio.all_tasks() == before
