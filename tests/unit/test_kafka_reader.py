"""A reader ends with everything it opened, wherever its brokers are and whoever stops waiting for its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.client import AIOKafkaClient

from eventlog import kafka_reader
from eventlog.kafka import KafkaLog
from eventlog.kafka_reader import KafkaReader
from eventlog.kafka_tuning import KafkaTuning
from schema.topics import EVENTS

TUNING = KafkaTuning(ask_ms=1000)
# Far more rounds of the loop than a fetch takes to be cancelled.
ROUNDS = 12


class Away(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's way to its brokers: known, and away."""

    def __init__(self) -> None:
        super().__init__(bootstrap_servers="127.0.0.1:1")
        self.cluster.leader_for_partition = lambda place: 1
        self.asked, self.lets_go, self.is_closed = asyncio.Event(), asyncio.Event(), False
        self.lets_go.set()

    async def bootstrap(self) -> None:
        return None

    def force_metadata_update(self) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()

    async def send(self, node: int, request: Any, **how: Any) -> Any:
        self.asked.set()
        raise errors.KafkaConnectionError("nobody there")

    async def close(self) -> None:
        await self.lets_go.wait()
        self.is_closed = True


@pytest.fixture
async def brokers(monkeypatch: pytest.MonkeyPatch) -> Away:
    brokers = Away()
    honest = kafka_reader.consumer

    def consumer(bootstrap: str, tuning: KafkaTuning) -> Any:
        made = honest(bootstrap, tuning)
        made._client = brokers
        return made

    monkeypatch.setattr(kafka_reader, "consumer", consumer)
    return brokers


def reader_told(closed: list[KafkaReader]) -> KafkaReader:
    reader = KafkaReader(EVENTS, EVENTS.name, "127.0.0.1:1", TUNING, closed=closed.append)
    reader.assign({0: 0})
    return reader


async def test_a_reader_whose_broker_is_away_ends_in_silence(brokers: Away) -> None:
    before, closed = asyncio.all_tasks(), list[KafkaReader]()
    reader = reader_told(closed)
    assert await reader.read(wait_ms=10) == []
    await brokers.asked.wait()
    await reader.close()
    assert brokers.is_closed and closed == [reader]
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("rounds", range(ROUNDS))
async def test_a_reader_may_end_in_any_moment_of_a_new_assignment(brokers: Away, rounds: int) -> None:
    """aiokafka's routine takes a cancellation of its own for that of the fetch it is waiting for, and goes on."""
    before = asyncio.all_tasks()
    reader = reader_told([])
    await reader.read(wait_ms=10)
    await brokers.asked.wait()
    reader.assign({1: 0})
    reading = asyncio.create_task(reader.read(wait_ms=10))
    for _ in range(rounds):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await reader.close()
        await asyncio.gather(reading, return_exceptions=True)
    assert brokers.is_closed
    assert asyncio.all_tasks() == before


async def test_an_end_that_nobody_waits_for_any_more_comes_all_the_same(brokers: Away) -> None:
    closed: list[KafkaReader] = []
    reader = reader_told(closed)
    await reader.read(wait_ms=10)
    brokers.lets_go.clear()
    impatient = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    assert impatient.cancelled() and closed == [], "its log still waits for it"
    brokers.lets_go.set()
    await reader.close()
    assert brokers.is_closed and closed == [reader]


class Part:
    """What a log has to close; it may fail."""

    def __init__(self, order: list[str], name: str, error: BaseException | None = None) -> None:
        self._order, self._name, self._error = order, name, error

    async def close(self) -> None:
        self._order.append(self._name)
        if self._error is not None:
            raise self._error

    leave = close


async def test_a_log_closes_every_part_of_it_also_behind_one_that_fails() -> None:
    log: Any = KafkaLog("127.0.0.1:1", now=lambda: 0)
    order: list[str] = []
    log._closed = False
    log._memberships = [Part(order, "first member"), Part(order, "second member", OSError("away"))]
    log._readers = {Part(order, "reader", asyncio.CancelledError())}
    log._links = {"group": Part(order, "link")}
    log._sender, log._asker = Part(order, "sender"), Part(order, "asker")
    with pytest.raises(asyncio.CancelledError):
        await log.close()
    assert order == ["first member", "second member", "reader", "link", "sender", "asker"]
