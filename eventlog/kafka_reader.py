"""Reading from Kafka: partitions assigned by hand, each from the position it is told. No group, nothing committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from eventlog.kafka_driver import connection, starting, translated
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import LogClosed, LogError, LogUnavailable, Record, UnknownTopic
from schema.topics import Topic


def known(topic: Topic, partition: int) -> int:
    """Raises UnknownTopic for a partition the topic does not have."""
    if not 0 <= partition < topic.partitions:
        raise UnknownTopic(f"{topic.name} has partitions 0 to {topic.partitions - 1}, not {partition}")
    return partition


class Asker:
    """Answers where partitions begin and end. Reads nothing.

    Who asks in the same moment shares one request: a member that is given 24 partitions has 48 questions.
    """

    def __init__(self, bootstrap: str, tuning: KafkaTuning) -> None:
        self._where = f"asking {bootstrap} for positions"
        self._patience_s = tuning.ask_ms / 1000
        self._consumer = consumer(bootstrap, tuning)
        # (question, topic) -> the partitions asked for, and their answer; until the loop's next round.
        self._gathering: dict[tuple[str, str], tuple[set[int], asyncio.Task[dict[int, int]]]] = {}
        self._asking: set[asyncio.Task[dict[int, int]]] = set()

    async def start(self) -> None:
        with translated(self._where), starting():
            await self._consumer.start()

    async def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return await self._together("begins", topic, partitions)

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return await self._together("ends", topic, partitions)

    async def close(self) -> None:
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await stop(self._consumer)

    async def _together(self, question: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        if (question, topic) not in self._gathering:
            wanted: set[int] = set()
            asking = asyncio.create_task(self._ask(question, topic, wanted), name="log-asker")
            self._gathering[question, topic] = wanted, asking
            self._asking.add(asking)
            asking.add_done_callback(self._asked)
        wanted, asking = self._gathering[question, topic]
        wanted.update(partitions)
        # One who stops waiting takes nobody else's answer away.
        await asyncio.wait([asking])
        if asking.cancelled():
            raise LogClosed(f"{self._where}: the log was closed meanwhile")
        return asking.result()

    def _asked(self, asking: asyncio.Task[dict[int, int]]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # known of, also where everybody has stopped waiting for it

    async def _ask(self, question: str, topic: str, wanted: set[int]) -> dict[int, int]:
        # Asked only now: what was appended before anybody here asked lies below the end.
        del self._gathering[question, topic]
        ask = self._consumer.end_offsets if question == "ends" else self._consumer.beginning_offsets
        with translated(self._where):
            async with asyncio.timeout(self._patience_s):
                answers = await ask([TopicPartition(topic, partition) for partition in wanted])
        return {where.partition: position for where, position in answers.items()}


def consumer(bootstrap: str, tuning: KafkaTuning) -> Any:
    """A consumer without a group. What is out of range is an error: `latest` would lose, `earliest` would repeat."""
    return AIOKafkaConsumer(
        **connection(bootstrap, tuning),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=tuning.request_ms,
        fetch_max_wait_ms=tuning.fetch_wait_ms,
        max_partition_fetch_bytes=tuning.fetch_bytes,
    )


async def stop(consumer: Any) -> None:
    """End a consumer with its tasks and connections, also while its brokers are away.

    aiokafka awaits each fetch that it cancelled itself. One that was asleep before another try answers with the
    cancellation, which then is raised in a task nobody cancelled, and leaves everything behind it open.
    """
    if (fetcher := consumer._fetcher) is not None:
        # The routine first: it makes fetches. It may take a cancellation for that of a fetch it awaits, and go on.
        await _end({fetcher._fetch_task})
        await _end(fetcher._pending_tasks)
        fetcher._pending_tasks.clear()
    await consumer.stop()


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=0.1)


class KafkaReader:
    """See `port.Reader`. `read` with `wait_ms=0` gives what was on the log when it was called."""

    def __init__(
        self, topic: Topic, name: str, bootstrap: str, tuning: KafkaTuning, *, closed: Callable[[KafkaReader], None]
    ) -> None:
        self._topic = topic
        self._name = name
        self._bootstrap = bootstrap
        self._tuning = tuning
        self._tell_closed = closed
        self._where = f"reading {name} at {bootstrap}"
        self._positions: dict[int, int] = {}
        self._is_new = False  # the assignment, to the consumer
        self._beyond: set[int] = set()  # partitions whose position lies beyond their end
        self._consumer: Any = None
        self._starting: asyncio.Task[Any] | None = None
        self._closing = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    def assign(self, positions: Mapping[int, int]) -> None:
        self._usable()
        self._positions = {known(self._topic, partition): position for partition, position in positions.items()}
        self._is_new = True

    def positions(self) -> Mapping[int, int]:
        return dict(self._positions)

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        self._usable()
        if not self._positions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    await self._closing.wait()
            self._usable()
            return []
        try:
            with translated(self._where):
                found = await self._read(max_records, wait_ms)
        except LogError:
            self._usable()
            raise
        if not found:
            self._usable()
        return self._records(found)

    async def close(self) -> None:
        if self._ending is None:
            self._closing.set()
            self._ending = asyncio.create_task(self._end(), name="log-reader-end")
        # Who is cancelled meanwhile leaves nothing open: its log waits for the rest.
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        try:
            if self._starting is not None:
                self._starting.cancel()
                await asyncio.gather(self._starting, return_exceptions=True)
            if self._consumer is not None:
                await stop(self._consumer)
        finally:
            self._tell_closed(self)

    def _usable(self) -> None:
        if self._closing.is_set():
            raise LogClosed(f"the reader of {self._name} was used after it or its log was closed")

    async def _read(self, limit: int, wait_ms: int) -> dict[TopicPartition, list[Any]]:
        await self._prepare()
        found = await self._get(limit, wait_ms)
        if not found and wait_ms <= 0 and await self._is_behind():
            found = await self._get(limit, self._tuning.ask_ms)
            if not found and not self._closing.is_set():
                raise LogUnavailable(f"{self._where}: nothing came, and the end was not reached")
        return found

    async def _get(self, limit: int, wait_ms: int) -> dict[TopicPartition, list[Any]]:
        try:
            found: dict[TopicPartition, list[Any]] = await self._consumer.getmany(timeout_ms=wait_ms, max_records=limit)
        except errors.OffsetOutOfRangeError:
            await self._return_to_range()
            return {}
        return found

    async def _prepare(self) -> None:
        """A consumer that reads what was assigned last."""
        if self._consumer is None:
            if self._starting is None:
                self._starting = asyncio.create_task(self._start(), name="log-reader")
            starting = self._starting
            # A reading that is cancelled does not undo the start, and a start that is cancelled is no reading that is.
            await asyncio.wait([starting])
            self._usable()
            starting.result()
        if self._is_new:
            self._is_new = False
            self._beyond.clear()
            self._consumer.assign([self._at(partition) for partition in self._positions])
            for partition, position in self._positions.items():
                self._consumer.seek(self._at(partition), position)
        if self._beyond:
            await self._wait_for_range()

    async def _start(self) -> None:
        fresh = consumer(self._bootstrap, self._tuning)
        try:
            with starting():
                async with asyncio.timeout(self._tuning.ask_ms / 1000):
                    await fresh.start()
        except BaseException:
            await stop(fresh)
            raise
        finally:
            self._starting = None
        self._consumer = fresh

    async def _is_behind(self) -> bool:
        """Whether there is something that was not read. A position of the log is never guessed."""
        async with asyncio.timeout(self._tuning.ask_ms / 1000):
            ends = await self._consumer.end_offsets([self._at(partition) for partition in self._positions])
        return any(self._positions[where.partition] < end for where, end in ends.items())

    async def _return_to_range(self) -> None:
        """Retention took what was to be read: go on with the oldest. Beyond the end: wait until the end is there."""
        places = [self._at(partition) for partition in self._positions]
        begins = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        for place in places:
            position = self._positions[place.partition]
            if position < begins[place]:
                self._positions[place.partition] = begins[place]
                self._consumer.seek(place, begins[place])
            elif position > ends[place]:
                self._consumer.pause(place)
                self._beyond.add(place.partition)

    async def _wait_for_range(self) -> None:
        places = [self._at(partition) for partition in self._beyond]
        ends = await self._consumer.end_offsets(places)
        for place in places:
            if self._positions[place.partition] <= ends[place]:
                self._consumer.resume(place)
                self._consumer.seek(place, self._positions[place.partition])
                self._beyond.discard(place.partition)

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._name, partition)

    def _records(self, found: Mapping[TopicPartition, list[Any]]) -> list[Record]:
        topic = self._topic.name
        records: list[Record] = []
        for where, part in found.items():
            partition = where.partition
            self._positions[partition] = part[-1].offset + 1
            records += [
                Record(
                    topic,
                    partition,
                    one.offset,
                    one.timestamp,
                    (one.key or b"").decode(errors="replace"),
                    one.value or b"",
                )
                for one in part
            ]
        return records
