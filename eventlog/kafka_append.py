"""Appending to Kafka: a lane a partition, one batch of each under way, so that the order of calls is that of the log.

What is appended while a lane's batch is under way travels in the next one: batches grow with the load, and an idle
lane is never waited for. aiokafka retries a batch for as long as the broker is away. An append is refused after a
bound; what of it has not left yet is withdrawn, what is under way may still appear, and nothing overtakes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, errors

from eventlog.kafka_driver import connection, our_error, starting, translated
from eventlog.kafka_lanes import BATCH_BYTES, Cargo, Lane, Part, Ticket, parts_by_partition, place_in_order, size_of
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import Entry, LogBroken, LogClosed, LogError, LogUnavailable, Placed

logger = structlog.get_logger()


class Sender:
    """Everything that leaves this process for the log, by one idempotent producer at a time."""

    def __init__(self, bootstrap: str, tuning: KafkaTuning, make: Callable[..., Any] = AIOKafkaProducer) -> None:
        self._bootstrap = bootstrap
        self._tuning = tuning
        self._make = make
        self._producer: Any = None
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._ready: deque[Lane] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._pending_bytes = 0
        self._answers: set[asyncio.Future[list[Placed]]] = set()
        self._closed = False
        self._is_out_of_step = False
        self._task: asyncio.Task[None] | None = None

    @property
    def pending_bytes(self) -> int:
        """What waits or is under way."""
        return self._pending_bytes

    @property
    def client(self) -> Any:
        """The producer's own connection, for questions about topics."""
        return self._producer.client

    async def start(self) -> None:
        self._producer = await self._started()
        self._task = asyncio.create_task(self._send_all(), name="log-sender")

    async def append(self, topic: str, entries: Sequence[Entry], partitions: Sequence[int]) -> list[Placed]:
        """See `port.Log.append`; `topic` is the cluster's name of it."""
        size = size_of(entries)
        try:
            async with asyncio.timeout(self._tuning.append_ms / 1000):
                while self._pending_bytes >= self._tuning.pending_bytes:
                    self._room.clear()
                    await self._room.wait()
                    self._usable()
                return await self._submit(topic, entries, partitions, size)
        except TimeoutError as error:
            raise LogUnavailable(
                f"{self._bootstrap} did not take an append to {topic} for {self._tuning.append_ms / 1000:g} s; it may"
                " still appear"
            ) from error

    async def _submit(self, topic: str, entries: Sequence[Entry], partitions: Sequence[int], size: int) -> list[Placed]:
        parts = parts_by_partition(entries, partitions)
        answer: asyncio.Future[list[Placed]] = asyncio.get_running_loop().create_future()
        ticket = Ticket(len(entries), len(parts), size, answer)
        for partition, part in parts.items():
            part.ticket = ticket
            self._queue(topic, partition, part)
        self._pending_bytes += size
        self._answers.add(answer)
        self._wake.set()
        try:
            return await answer
        finally:
            self._answers.discard(answer)
            self._pending_bytes -= size
            if self._pending_bytes < self._tuning.pending_bytes:
                self._room.set()

    async def close(self) -> None:
        """Sends what waits, as long as the broker takes it in time; the rest is told that the log was closed."""
        if self._closed:
            return
        if self._answers:
            await asyncio.wait(tuple(self._answers), timeout=self._tuning.close_ms / 1000)
        self._closed = True
        self._room.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail_all(LogClosed("the log was closed before this was appended; it may still appear"))
        if self._producer is not None:
            await _end(self._producer)

    def _usable(self) -> None:
        if self._closed:
            raise LogClosed(f"the log at {self._bootstrap} was closed")

    def _queue(self, topic: str, partition: int, part: Part) -> None:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(topic, partition)
        if not lane.waiting and lane.under_way is None:
            self._ready.append(lane)
        lane.waiting.append(part)

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._is_out_of_step:
                await self._renew()
            while self._ready and not self._is_out_of_step:
                await self._send(self._ready.popleft())

    async def _send(self, lane: Lane) -> None:
        """One batch of what waits. Does not wait for it to land."""
        batch, cargo = self._load(lane)
        if not cargo:
            return
        lane.under_way = cargo
        try:
            landing = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
        except Exception as error:
            self._failed(lane, error)
        else:
            landing.add_done_callback(lambda done: self._landed(lane, cargo, done))

    def _load(self, lane: Lane) -> tuple[Any, Cargo]:
        batch = self._producer.create_batch()
        put = batch.append
        cargo: Cargo = []
        while lane.waiting:
            part = lane.waiting[0]
            assert part.ticket is not None
            first = part.sent
            # Who asked for it has gone: what has not left is not sent any more.
            rest = () if part.ticket.answer.done() else part.entries[first:] if first else part.entries
            for entry in rest:
                if put(timestamp=None, key=entry.key.encode(), value=entry.value) is None:
                    break
                part.sent += 1
            if part.sent > first:
                cargo.append((part, first, part.sent))
            if part.sent < first + len(rest):
                break  # the batch is full
            lane.waiting.popleft()
        batch.close()
        return batch, cargo

    def _landed(self, lane: Lane, cargo: Cargo, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or lane.under_way is not cargo:
            return  # of a producer that was given up
        error = done.exception()
        if error is not None:
            self._failed(lane, error)
            return
        said = done.result()
        if said.offset < 0 or said.timestamp < 0:
            self._failed(lane, _unusable(said, lane))
            return
        lane.under_way = None
        place_in_order(cargo, lane.partition, said.offset, said.timestamp)
        self._next(lane)

    def _failed(self, lane: Lane, error: BaseException) -> None:
        """The batch did not land. Its numbers are spent, so the broker would refuse what follows: a new producer."""
        cargo, lane.under_way = lane.under_way or [], None
        ours = error if isinstance(error, LogError) else our_error(error, f"append to {lane.topic}")
        for part, _, _ in cargo:
            assert part.ticket is not None
            part.ticket.fail(ours)
        self._is_out_of_step = True
        self._next(lane)
        self._wake.set()

    def _next(self, lane: Lane) -> None:
        if lane.waiting:
            self._ready.append(lane)
            self._wake.set()

    async def _renew(self) -> None:
        """A new producer. What the old one had under way may have landed or not."""
        logger.warning("the log's producer is renewed", bootstrap=self._bootstrap)
        # Gone before the new one begins: nothing of the old one comes after what the new one sends.
        await _end(self._producer)
        self._fail_under_way(LogUnavailable(f"the producer of {self._bootstrap} was renewed; this may still appear"))
        while True:
            try:
                self._producer = await self._started()
            except LogError as error:
                logger.warning("no new producer yet", bootstrap=self._bootstrap, error=str(error))
                await asyncio.sleep(0.2)
            else:
                self._is_out_of_step = False
                return

    async def _started(self) -> Any:
        producer = self._make(
            **connection(self._bootstrap, self._tuning),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES,
            request_timeout_ms=self._tuning.request_ms,
        )
        try:
            with translated(f"no broker of {self._bootstrap} can be used"), starting():
                async with asyncio.timeout(self._tuning.ask_ms / 1000):
                    await producer.start()
        except BaseException:
            await _end(producer)
            raise
        return producer

    def _fail_under_way(self, error: LogError) -> None:
        for lane in self._lanes.values():
            cargo, lane.under_way = lane.under_way or [], None
            for part, _, _ in cargo:
                assert part.ticket is not None
                part.ticket.fail(error)
        self._ready = deque(lane for lane in self._lanes.values() if lane.waiting)

    def _fail_all(self, error: LogError) -> None:
        self._fail_under_way(error)
        for lane in self._lanes.values():
            for part in lane.waiting:
                assert part.ticket is not None
                part.ticket.fail(error)
            lane.waiting.clear()


def _unusable(said: Any, lane: Lane) -> LogError:
    if said.offset < 0:
        return LogUnavailable(f"the broker has {lane.topic} {lane.partition} already, and does not say where")
    return LogBroken(
        f"topic {lane.topic} keeps the writer's time: set message.timestamp.type=LogAppendTime on it, as"
        " `calltape topics create` does"
    )


async def _end(producer: Any) -> None:
    """Let go of a producer without waiting for what it has pending: `stop` would wait for a broker that is away."""
    producer._closed = True
    await producer.client.close()
    sender = producer._sender
    # Its requests have failed with their connections; it may be asleep before another try.
    with contextlib.suppress(TimeoutError, errors.KafkaError):
        async with asyncio.timeout(1):
            await sender.close()
