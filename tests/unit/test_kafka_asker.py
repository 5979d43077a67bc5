"""Questions about positions that several ask together, and some stop waiting for."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from aiokafka import errors

from eventlog.kafka_reader import Asker
from eventlog.kafka_tuning import KafkaTuning


class Unreachable:
    """A consumer whose broker answers when it is told to, and then with an error."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def end_offsets(self, partitions: Any) -> Any:
        self.asked.set()
        await self.answers.wait()
        raise errors.KafkaConnectionError("nobody there")


async def test_a_question_nobody_waits_for_any_more_fails_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Unreachable()
    monkeypatch.setattr("eventlog.kafka_reader.consumer", lambda bootstrap, tuning: consumer)
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    waiting = asyncio.create_task(Asker("127.0.0.1:1", KafkaTuning()).ends("calls.events", [0]))
    await consumer.asked.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    consumer.answers.set()
    await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "log-asker"])
    del waiting
    gc.collect()
    assert told == []
