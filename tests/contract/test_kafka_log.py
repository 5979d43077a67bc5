"""The Kafka log keeps the contract, against a real broker, also when that or a member dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from eventlog.kafka import KafkaLog
from eventlog.kafka_driver import connection
from eventlog.kafka_topics import create_topics, delete_topics, describe_topics
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import MAX_VALUE_BYTES, Entry, EntryTooLarge, Log, LogBroken, LogError, UnknownTopic
from eventlog.uri import open_log as open_uri
from schema.topics import EVENTS, HOUR_MS, OUTBOX, PARTITIONS, TOPICS
from tests.contract.eventlog import PATIENCE_S, Clock, EventLogContract, OpenLog, entries, from_begin, read_count
from tests.support.kafka import kafka_bootstrap, kafka_topics

# The suite uses these two, and few partitions of the second; making topics is what takes time here.
USED = {EVENTS.name: EVENTS, OUTBOX.name: replace(OUTBOX, partitions=12)}


class WallClock(Clock):
    """The brokers' clock, which no test moves."""

    @property
    def ms(self) -> int:
        return time.time_ns() // 1_000_000

    @ms.setter
    def ms(self, ms: int) -> None:
        pass


@pytest.fixture
def bootstrap() -> str:
    return kafka_bootstrap()


@pytest.fixture
async def tuning(bootstrap: str) -> AsyncIterator[KafkaTuning]:
    async with kafka_topics(bootstrap, USED) as tuning:
        yield tuning


def log_at(bootstrap: str, tuning: KafkaTuning) -> KafkaLog:
    return KafkaLog(bootstrap, now=WallClock(), topics=USED, tuning=tuning)


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


class TestKafkaLog(EventLogContract):
    # A broker tells each member its share when it has asked: for these milliseconds two may believe in one partition.
    # The log's order judges, so that is harmless (ADR 8).
    waits_for_the_owner = False
    # A static member's name is all the broker knows of it: a second one is the same, started again. A supervisor
    # never starts a successor before the old process is gone.
    refuses_a_living_name = False

    @pytest.fixture
    def clock(self) -> Clock:
        return WallClock()

    def is_time(self, at: int, ms: int) -> bool:
        """The brokers have a clock of their own, so near is all there is to say; that of one batch is equal."""
        return abs(at - ms) < 60_000

    @pytest.fixture
    def open_log(self, clock: Clock, bootstrap: str, tuning: KafkaTuning) -> OpenLog:
        def open_one(name: str) -> AbstractAsyncContextManager[Log]:
            return KafkaLog(bootstrap, now=clock, topics=USED, tuning=tuning)

        self._bootstrap, self._tuning = bootstrap, tuning
        return open_one

    async def expire(self, log: Log, clock: Clock, topic: str, partition: int) -> None:
        """The brokers' janitor first looks half a minute after their start, and at their clock. What it does, moving
        the partition's beginning, is asked for at once."""
        async with admin_of(self._bootstrap) as admin:
            everything = RecordsToDelete(before_offset=await log.end(topic, partition))
            await admin.delete_records({TopicPartition(self._tuning.prefix + topic, partition): everything})


# What only Kafka has: topics that somebody else may have made, ends that are elsewhere, limits of a message


async def test_topics_that_are_missing_are_named_with_the_command_that_makes_them(bootstrap: str) -> None:
    with pytest.raises(UnknownTopic, match=r"nowhere\.calls\.events.*calltape topics create"):
        async with KafkaLog(bootstrap, now=WallClock(), tuning=KafkaTuning(prefix="nowhere.")):
            pass


async def test_a_topic_with_another_number_of_partitions_is_refused(bootstrap: str, tuning: KafkaTuning) -> None:
    other = USED | {OUTBOX.name: OUTBOX}
    with pytest.raises(LogBroken, match="12 partitions and should have 64"):
        async with KafkaLog(bootstrap, now=WallClock(), topics=other, tuning=tuning):
            pass
    with pytest.raises(LogBroken, match="the number never changes"):
        await create_topics(bootstrap, list(other.values()), tuning, 0)


async def test_making_topics_twice_makes_them_once(bootstrap: str, tuning: KafkaTuning) -> None:
    made, there = await create_topics(bootstrap, list(USED.values()), tuning, 0)
    assert made == []
    assert [(topic.partitions, topic.replication, topic.problems) for topic in there] == [(24, 1, ()), (12, 1, ())]
    events, outbox = (topic.configs for topic in there)
    assert events["retention.ms"] == "-1"
    assert outbox["retention.ms"] == str(HOUR_MS)
    for configs in (events, outbox):
        assert configs["cleanup.policy"] == "delete"
        assert configs["message.timestamp.type"] == "LogAppendTime"


async def test_a_topic_that_keeps_the_writers_time_breaks_appends_and_is_described(
    bootstrap: str, tuning: KafkaTuning
) -> None:
    tuning = replace(tuning, prefix=f"{tuning.prefix}theirs-")
    only = {EVENTS.name: EVENTS}
    async with admin_of(bootstrap) as admin:
        await admin.create_topics([NewTopic(tuning.prefix + EVENTS.name, PARTITIONS, 1)])
    async with asyncio.timeout(PATIENCE_S):
        while not (events := (await describe_topics(bootstrap, [EVENTS], tuning))[0]).partitions:
            pass  # not every broker knows it yet
    assert events.problems == (
        "it keeps the writer's time: set message.timestamp.type=LogAppendTime on it",
        "its records expire, and calls are built from them: set retention.ms=-1 on it",
    )
    async with KafkaLog(bootstrap, now=WallClock(), topics=only, tuning=tuning) as log:
        with pytest.raises(LogBroken, match="LogAppendTime"):
            await log.append(EVENTS.name, entries("a"))
    await delete_topics(bootstrap, [EVENTS], tuning)


async def test_a_value_that_is_too_large_is_refused_and_nothing_of_it_is_there(
    bootstrap: str, tuning: KafkaTuning
) -> None:
    async with log_at(bootstrap, tuning) as log:
        with pytest.raises(EntryTooLarge, match="1,000,001 bytes"):
            await log.append(EVENTS.name, [Entry("k", b"small", 1), Entry("k", b"x" * (MAX_VALUE_BYTES + 1), 1)])
        await log.append(EVENTS.name, [Entry("k", b"fits", 1)])
        assert [record.value for record in await read_count(await from_begin(log), 1)] == [b"fits"]


async def test_a_reader_beyond_the_end_waits_for_its_position(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as log:
        reader = log.reader(EVENTS.name, {4: 3})
        assert await reader.read(wait_ms=50) == []
        await log.append(EVENTS.name, [Entry("k", b"%d" % number, 4) for number in range(5)])
        records = await read_count(reader, 2)
        assert [(record.position, record.value) for record in records] == [(3, b"3"), (4, b"4")]


async def test_an_append_waits_while_too_much_is_on_its_way(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, replace(tuning, pending_bytes=10_000)) as log:
        large = [Entry("call", b"x" * 5_000)]
        appending = [asyncio.create_task(log.append(EVENTS.name, large)) for _ in range(40)]
        most = 0
        while not all(task.done() for task in appending):
            most = max(most, log.pending_bytes)
            await asyncio.sleep(0)
        assert 0 < most < 10_000 + 2 * 5_200
        assert len(await read_count(await from_begin(log), 40)) == 40


async def test_a_cancelled_append_hurts_nobody(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as log:
        appending = asyncio.create_task(log.append(EVENTS.name, entries("a")))
        await asyncio.sleep(0)
        appending.cancel()
        await log.append(EVENTS.name, entries("b"))
        assert [record.value for record in await read_count(await from_begin(log), 1)] in ([b"b"], [b"a", b"b"])


async def test_what_is_appended_while_a_batch_is_under_way_keeps_its_order(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as log:
        # More than one batch takes, of several callers at once.
        sizes = [1, 300_000, 2, 900_000, 3, 700_000, 4]
        values = [b"%d " % number + b"x" * size for number, size in enumerate(sizes * 3)]
        placed = await asyncio.gather(*(log.append(EVENTS.name, [Entry("call", value)]) for value in values))
        positions = [place.position for (place,) in placed]
        assert positions == sorted(positions)
        assert [record.value for record in await read_count(await from_begin(log), len(values))] == values


async def test_a_uri_names_brokers(bootstrap: str, tuning: KafkaTuning) -> None:
    mine = replace(tuning, prefix=f"{tuning.prefix}uri-")
    await create_topics(bootstrap, list(TOPICS.values()), mine, 0)
    try:
        async with open_uri(f"kafka://{bootstrap}", now=WallClock(), kafka=mine) as log:
            await log.append(EVENTS.name, entries("a"))
            await log.healthy()
    finally:
        await delete_topics(bootstrap, list(TOPICS.values()), mine)


@pytest.mark.parametrize("uri", ["kafka:", "kafka://", "kafka://host", "kafka://a:1,b", "kafka://a:1/x", "kafka://:1"])
def test_a_uri_without_brokers_is_refused(uri: str) -> None:
    with pytest.raises(LogError, match=r"kafka://host:port\[,host:port\]"):
        open_uri(uri, now=WallClock())


def test_a_cluster_with_users_and_certificates_is_told_who_we_are() -> None:
    open_one = connection("a:1,b:2", KafkaTuning())
    assert open_one == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}
    closed_one = connection("a:1", KafkaTuning(username="calltape", password="hush", tls=True))
    assert closed_one["security_protocol"] == "SASL_SSL"
    assert closed_one["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (closed_one["sasl_plain_username"], closed_one["sasl_plain_password"]) == ("calltape", "hush")
    assert closed_one["ssl_context"].check_hostname
    assert connection("a:1", KafkaTuning(username="u", mechanism="PLAIN"))["security_protocol"] == "SASL_PLAINTEXT"
    assert connection("a:1", KafkaTuning(tls=True))["security_protocol"] == "SSL"
    assert "hush" not in repr(KafkaTuning(password="hush"))
