"""One hop of the log, SQLite and Kafka side by side, and what an append costs next to aiokafka's own batches.

`python -m benchmarks.log_hop [--seconds 6] [--rounds 3] [--rate 5000] [--warm 12] [--json]`. It starts a broker of its
own (`scripts/local_kafka.py`), on the cores it measures, and warms it up. In each round, each for as many seconds:

    sqlite hop  append in this process, read in another one, 24 partitions, one append a tick of 5 ms
    kafka hop   the same through the broker
    ours        the Kafka log's append alone, one append a tick of 10 ms: CPU of this process a record
    bare        the same records by `create_batch` and `send_batch`, idempotent, acks=all, nothing else

A figure is the median of the rounds. A hop is from before the append to after the read; both processes have one clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from aiokafka import AIOKafkaProducer

from eventlog.kafka_topics import create_topics
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import Entry, Log
from eventlog.uri import bootstrap_of, open_log
from schema.topics import MEDIA, PARTITIONS, TOPICS
from scripts.local_kafka import LocalKafka

HOP_TICK_S, COST_TICK_S = 0.005, 0.010
PAYLOAD = os.urandom(160)
TUNING = KafkaTuning(prefix="bench.")
Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--warm", type=float, default=12)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--read", metavar="URI", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = read(options.read) if options.read else measure(options)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, LocalKafka(steady=True) as kafka:
        uri = f"kafka://{kafka.bootstrap}"
        await create_topics(kafka.bootstrap, list(TOPICS.values()), TUNING, 1)
        logs = {"sqlite": f"sqlite:///{Path(folder, 'log.sqlite')}", "kafka": uri}
        # A fresh JVM is slow for its first seconds.
        await hop(uri, options.warm, options.rate)
        figures: Figures = {}
        for _ in range(options.rounds):
            for name, one in logs.items():
                p50, p99 = await hop(one, options.seconds, options.rate)
                figures.setdefault(f"{name} hop p50 ms", []).append(p50)
                figures.setdefault(f"{name} hop p99 ms", []).append(p99)
            ours = await cost_of_ours(uri, options.seconds, options.rate)
            bare = await cost_of_bare(uri, options.seconds, options.rate)
            figures.setdefault("ours CPU us a record", []).append(ours)
            figures.setdefault("bare CPU us a record", []).append(bare)
            figures.setdefault("ours / bare", []).append(ours / bare)
    show(figures, as_json=options.json)


def opened(uri: str) -> Any:
    return open_log(uri, now=lambda: time.time_ns() // 1_000_000, kafka=TUNING)


async def hop(uri: str, seconds: float, rate: int) -> tuple[float, float]:
    """p50 and p99 in ms."""
    async with opened(uri) as log, reading(uri) as reader:
        await paced(log_writer(log), seconds, rate, HOP_TICK_S)
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write_eof()
        p50, p99, count = json.loads(await reader.stdout.readline())
    assert count > 0.95 * seconds * rate, f"only {count} records were read"
    return p50, p99


@asynccontextmanager
async def reading(uri: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that reads what comes, once it says that it is ready."""
    command = (sys.executable, "-m", "benchmarks.log_hop", "--read", uri)
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=Path(__file__).parent.parent)
    try:
        assert child.stdout is not None
        await child.stdout.readline()
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def read(uri: str) -> None:
    """Until stdin ends; then says p50, p99 and how many."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    hops: list[float] = []
    async with opened(uri) as log:
        places = {partition: await log.end(MEDIA.name, partition) for partition in range(PARTITIONS)}
        reader = log.reader(MEDIA.name, places)
        await reader.read(wait_ms=0)
        print("ready", flush=True)
        while not ended.done():
            records = await reader.read(wait_ms=200)
            now = time.monotonic_ns()
            hops += [(now - int.from_bytes(record.value[:8], "big")) / 1e6 for record in records]
        await reader.close()
    cut = statistics.quantiles(hops, n=100)
    print(json.dumps([cut[49], cut[98], len(hops)]), flush=True)


Write = Callable[[list[tuple[int, bytes]]], Awaitable[None]]


async def paced(write: Write, seconds: float, rate: int, tick_s: float) -> int:
    """Writes so many records a second, a batch a tick, each with the moment it was handed over."""
    a_tick, number, begun = round(rate * tick_s), 0, time.monotonic()
    under_way: set[asyncio.Task[None]] = set()
    for tick in range(round(seconds / tick_s)):
        await asyncio.sleep(max(0.0, begun + tick * tick_s - time.monotonic()))
        value = time.monotonic_ns().to_bytes(8, "big") + PAYLOAD
        batch = [((number + index) % PARTITIONS, value) for index in range(a_tick)]
        number += a_tick
        task = asyncio.ensure_future(write(batch))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return number


def log_writer(log: Log) -> Write:
    async def write(batch: list[tuple[int, bytes]]) -> None:
        await log.append(MEDIA.name, [Entry("call", value, partition) for partition, value in batch])

    return write


def bare_writer(producer: Any) -> Write:
    name = TUNING.prefix + MEDIA.name

    async def write(batch: list[tuple[int, bytes]]) -> None:
        builders: dict[int, Any] = {}
        for partition, value in batch:
            builder = builders.get(partition) or builders.setdefault(partition, producer.create_batch())
            builder.append(timestamp=None, key=b"call", value=value)
        landings = [await producer.send_batch(one, name, partition=partition) for partition, one in builders.items()]
        for landing in landings:
            await landing

    return write


async def cost_of_ours(uri: str, seconds: float, rate: int) -> float:
    async with opened(uri) as log:
        return await cost_of(log_writer(log), seconds, rate)


async def cost_of_bare(uri: str, seconds: float, rate: int) -> float:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_of(uri), enable_idempotence=True, max_batch_size=1_000_000)
    await producer.start()
    try:
        return await cost_of(bare_writer(producer), seconds, rate)
    finally:
        await producer.stop()


async def cost_of(write: Write, seconds: float, rate: int) -> float:
    """CPU of this process in us a record."""
    before = time.process_time()
    written = await paced(write, seconds, rate, COST_TICK_S)
    return (time.process_time() - before) / written * 1e6


def show(figures: Figures, *, as_json: bool) -> None:
    medians = {name: statistics.median(found) for name, found in figures.items()}
    if as_json:
        print(json.dumps({"medians": medians, "rounds": figures}, indent=2))
        return
    width = max(map(len, figures))
    print(f"{'':{width}}  median   each round")
    for name, found in figures.items():
        print(f"{name:{width}}  {medians[name]:6.2f}   {'  '.join(f'{one:.2f}' for one in found)}")


if __name__ == "__main__":
    main()
