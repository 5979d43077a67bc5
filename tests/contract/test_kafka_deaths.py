"""What dies beside a Kafka log: members, brokers, and the numbers of a producer."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, errors

from eventlog.kafka import KafkaLog
from eventlog.kafka_append import Sender
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import Entry, LogClosed, LogUnavailable, Membership, Reader
from schema.topics import EVENTS, PARTITIONS
from scripts.local_kafka import LocalKafka
from tests.contract.eventlog import PATIENCE_S, TOPIC, entries, from_begin, read_count, settled
from tests.contract.test_kafka_log import WallClock
from tests.support.kafka import kafka_bootstrap, kafka_topics, local_kafka

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
USED = {TOPIC: EVENTS}
ALL = frozenset(range(PARTITIONS))
# Everything a broker's death and return may take on a busy machine.
OUTAGE_S = 120


def log_at(bootstrap: str, tuning: KafkaTuning) -> KafkaLog:
    return KafkaLog(bootstrap, now=WallClock(), topics=USED, tuning=tuning)


@pytest.fixture
def bootstrap() -> str:
    return kafka_bootstrap()


@pytest.fixture
async def tuning(bootstrap: str) -> AsyncIterator[KafkaTuning]:
    async with kafka_topics(bootstrap, USED) as tuning:
        yield tuning


@asynccontextmanager
async def member(bootstrap: str, tuning: KafkaTuning, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A member in a real process, killed -9 at the end if it still runs."""
    pipe = asyncio.subprocess.PIPE
    told = (bootstrap, tuning.prefix, str(tuning.session_ms), name)
    command = (sys.executable, "-m", "tests.contract.kafka_process", *told)
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return (await child.stdout.readline()).decode().strip()


async def line_with(child: asyncio.subprocess.Process, beginning: str) -> str:
    while not (said := await line(child)).startswith(beginning):
        assert said, f"it ended without saying {beginning!r}"
    return said


# Members


async def test_a_killed_member_that_is_started_again_has_its_share_at_once(bootstrap: str, tuning: KafkaTuning) -> None:
    # The test's patience ends before this session: nothing moves by a time-out.
    tuning = replace(tuning, session_ms=60_000)
    async with log_at(bootstrap, tuning) as log:
        heir = await log.join("workers", TOPIC, "heir")
        async with member(bootstrap, tuning, "conversation:victim") as victim:
            assert (await line(victim)).startswith("owns 12 ")
            before = await settled(heir, 12), heir.given
            victim.kill()
        async with member(bootstrap, tuning, "conversation:victim") as again:
            assert (await line(again)).startswith("owns 12 ")
            assert not await heir.changed(wait_ms=0)
            assert (heir.assigned, heir.given) == before


async def test_a_killed_member_that_does_not_come_back_is_inherited(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as log:
        heir = await log.join("workers", TOPIC, "heir")
        async with member(bootstrap, tuning, "victim") as victim:
            await line_with(victim, "owns 12 ")
            await settled(heir, 12)
            victim.kill()
            assert await settled(heir, PARTITIONS) == ALL


async def test_a_frozen_member_is_inherited_and_joins_again_when_it_thaws(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as log, member(bootstrap, tuning, "zombie") as zombie:
        assert await line(zombie) == f"owns {PARTITIONS} given {PARTITIONS}"
        heir = await log.join("workers", TOPIC, "heir")
        assert await line_with(zombie, "owns 12 ") == "owns 12 given 12"
        zombie.send_signal(signal.SIGSTOP)
        assert await settled(heir, PARTITIONS) == ALL
        await log.append(TOPIC, entries("meanwhile"))
        zombie.send_signal(signal.SIGCONT)
        assert zombie.stdin is not None
        zombie.stdin.write(b"late\n")
        # It was away: whatever it is given now, another had in between.
        assert await line_with(zombie, "owns 12 given 24") == "owns 12 given 24"
        await settled(heir, 12)
        records = await read_count(await from_begin(log), 2)
        assert sorted(record.value for record in records) == [b"late", b"meanwhile"]
        # They do not take it from each other for ever: nothing changes for many heartbeats.
        assert not await heir.changed(wait_ms=8 * tuning.heartbeat_ms)


async def test_what_another_had_while_nobody_looked_is_told(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as log:
        one = await log.join("workers", TOPIC, "one")
        whole, seen = one.assigned, one.given
        two = await log.join("workers", TOPIC, "two")
        moved = await settled(two, 12)
        await two.leave()
        # `assigned` is the same as when it was looked at last.
        assert await one.changed(wait_ms=PATIENCE_S * 1000)
        assert await settled(one, PARTITIONS) == whole
        assert {partition for partition in ALL if one.given[partition] > seen[partition]} == moved


async def test_a_member_commits_for_what_it_owns_and_nothing_else(bootstrap: str, tuning: KafkaTuning) -> None:
    async with log_at(bootstrap, tuning) as here, log_at(bootstrap, tuning) as there:
        one, two = await here.join("workers", TOPIC, "one"), await there.join("workers", TOPIC, "two")
        await asyncio.gather(settled(one, 12), settled(two, 12))
        mine, others = min(one.assigned), min(two.assigned)
        await here.commit("workers", TOPIC, {mine: 5, others: 5})
        assert await there.committed("workers", TOPIC) == {mine: 5}
        await there.commit("workers", TOPIC, {others: 7})
        assert await here.committed("workers", TOPIC) == {mine: 5, others: 7}
        # Who is no member cannot know better than those who are.
        async with log_at(bootstrap, tuning) as outside:
            with pytest.raises(LogUnavailable):
                await outside.commit("workers", TOPIC, {mine: 6})


# The producer


class LosesCount(AIOKafkaProducer):
    """The first batch of the first producer is answered as a broker answers that lost count of it."""

    made = 0

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        type(self).made += 1

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        landing = await super().send_batch(batch, topic, partition=partition)
        if type(self).made > 1:
            return landing
        await asyncio.wait([landing])
        lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        lost.set_exception(errors.OutOfOrderSequenceNumber())
        return lost


async def test_a_producer_that_is_out_of_step_is_renewed_once(bootstrap: str, tuning: KafkaTuning) -> None:
    LosesCount.made = 0
    sender = Sender(bootstrap, tuning, LosesCount)
    await sender.start()
    try:
        name = tuning.prefix + TOPIC
        with pytest.raises(LogUnavailable, match="OutOfOrderSequenceNumber"):
            await sender.append(name, entries("first"), [3])
        for number in range(5):
            (placed,) = await sender.append(name, entries(str(number)), [3])
            assert placed.position == number + 1
        assert LosesCount.made == 2
        assert sender.pending_bytes == 0
    finally:
        await sender.close()


# Brokers


@pytest.fixture(scope="module")
def mortal() -> Iterator[LocalKafka]:
    """A broker of our own, to be killed."""
    with local_kafka() as kafka:
        yield kafka


async def write(log: KafkaLog, key: str, count: int) -> None:
    for number in range(count):
        await log.append(TOPIC, [Entry(key, b"%d" % number)])


async def read_patiently(reader: Reader, count: int) -> dict[str, list[int]]:
    """Reads so many records, however long the broker is away; their numbers by key."""
    found: dict[str, list[int]] = {}
    async with asyncio.timeout(OUTAGE_S):
        while sum(map(len, found.values())) < count:
            for record in await reader.read():
                found.setdefault(record.key, []).append(int(record.value))
    return found


async def test_the_only_broker_dies_and_comes_back_within_one_append(mortal: LocalKafka) -> None:
    keys = [f"call {number}" for number in range(8)]
    async with (
        kafka_topics(mortal.bootstrap, USED) as tuning,
        log_at(mortal.bootstrap, replace(tuning, append_ms=OUTAGE_S * 1000)) as log,
    ):
        reader = await from_begin(log)
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(write(log, key, 200)) for key in keys]
            await read_patiently(await from_begin(log), 200)
            await asyncio.to_thread(mortal.kill, 1)
            assert not any(writer.done() for writer in writers)
            await asyncio.to_thread(mortal.restart, 1)
            found = await read_patiently(reader, len(keys) * 200)
        # Nothing lost, nothing doubled, nothing overtaken.
        assert found == {key: list(range(200)) for key in keys}


async def test_an_append_is_refused_when_the_broker_stays_away_and_nothing_overtakes_it(mortal: LocalKafka) -> None:
    async with (
        kafka_topics(mortal.bootstrap, USED) as tuning,
        log_at(mortal.bootstrap, replace(tuning, append_ms=300, ask_ms=2000)) as log,
    ):
        reader = await from_begin(log)
        await log.append(TOPIC, entries("0"))
        await asyncio.to_thread(mortal.kill, 1)
        # The first is under way when it is refused, the second has not left and is withdrawn.
        for value in ("1", "2"):
            with pytest.raises(LogUnavailable, match="may still appear"):
                await log.append(TOPIC, entries(value))
        with pytest.raises(LogUnavailable):
            await log.healthy()
        with pytest.raises(LogUnavailable):
            await log.end(TOPIC, 0)
        await asyncio.to_thread(mortal.restart, 1)
        async with asyncio.timeout(OUTAGE_S):
            while True:
                try:
                    await log.append(TOPIC, entries("3"))
                    break
                except LogUnavailable:
                    continue
        found = await read_patiently(reader, 3)
        values = found["call"]
        assert values[:2] == [0, 1]
        assert set(values[2:]) == {3}


async def test_who_waits_for_a_broker_that_is_away_is_told_when_the_log_closes(mortal: LocalKafka) -> None:
    async with kafka_topics(mortal.bootstrap, USED) as tuning:
        async with log_at(mortal.bootstrap, replace(tuning, close_ms=100)) as log:
            await log.append(TOPIC, entries("0"))
            await asyncio.to_thread(mortal.kill, 1)
            appending = asyncio.create_task(log.append(TOPIC, entries("1")))
            await asyncio.sleep(0)
        (told,) = await asyncio.gather(appending, return_exceptions=True)
        assert isinstance(told, LogClosed)
        with pytest.raises(LogUnavailable, match="cannot be opened"):
            async with log_at(mortal.bootstrap, replace(tuning, open_ms=300)):
                pass
        await asyncio.to_thread(mortal.restart, 1)


async def test_a_log_closes_in_silence_while_its_broker_is_away(mortal: LocalKafka) -> None:
    before = asyncio.all_tasks()
    async with kafka_topics(mortal.bootstrap, USED) as tuning:
        async with log_at(mortal.bootstrap, replace(tuning, close_ms=100, ask_ms=1000)) as log:
            await log.join("workers", TOPIC, "one")
            await log.append(TOPIC, entries("0"))
            readers = [await from_begin(log) for _ in range(6)]
            for reader in readers:
                await read_patiently(reader, 1)
            await asyncio.to_thread(mortal.kill, 1)
            # By now each reader has asked a broker that is not there.
            with pytest.raises(LogUnavailable):
                await log.end(TOPIC, 0)
            await readers[0].close()
        assert asyncio.all_tasks() == before
        await asyncio.to_thread(mortal.restart, 1)


async def test_members_keep_their_shares_while_the_only_broker_is_away(mortal: LocalKafka) -> None:
    async with kafka_topics(mortal.bootstrap, USED) as tuning, log_at(mortal.bootstrap, tuning) as log:
        one = await log.join("workers", TOPIC, "one")
        given = one.given
        await asyncio.to_thread(mortal.kill, 1)
        assert one.assigned == ALL
        await asyncio.to_thread(mortal.restart, 1)
        await committed_patiently(log, one)
        assert one.assigned == ALL
        assert one.given.keys() == given.keys()


async def committed_patiently(log: KafkaLog, member: Membership) -> None:
    async with asyncio.timeout(OUTAGE_S):
        while True:
            try:
                await log.commit("workers", TOPIC, {0: 3})
                assert await log.committed("workers", TOPIC) == {0: 3}
                return
            except LogUnavailable:
                await member.changed(wait_ms=100)


async def test_one_of_three_brokers_dies() -> None:
    keys = [f"call {number}" for number in range(8)]
    with local_kafka(3) as kafka:
        async with (
            kafka_topics(kafka.bootstrap, USED) as tuning,
            log_at(kafka.bootstrap, replace(tuning, append_ms=OUTAGE_S * 1000)) as log,
        ):
            reader = await from_begin(log)
            async with asyncio.TaskGroup() as tasks:
                for key in keys:
                    tasks.create_task(write(log, key, 200))
                await read_patiently(await from_begin(log), 200)
                await asyncio.to_thread(kafka.kill, 2)
                found = await read_patiently(reader, len(keys) * 200)
            assert found == {key: list(range(200)) for key in keys}
            await asyncio.to_thread(kafka.restart, 2)
