"""How many frame events a second the SQLite log takes, next to a bare SQLite loop that does the least possible.

`python -m benchmarks.log_append [--seconds 10] [--rate 50000] [--json]`. Four runs of as many seconds:

    bare       one thread, one connection, `executemany` of 500 rows a transaction, nothing else: the floor
    flat_out   the log, 8 appends of 500 under way at any time
    paced      the log at `--rate` in ticks of 5 ms, one append a tick, as ingest appends
    followed   the same with one reader following; its lag is from before the append to after the read

CPU is that of the whole process, packing the events included except in `bare` and `flat_out`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from eventlog.port import Entry, Record
from eventlog.sqlite import SqliteLog
from schema.media import MediaReceived
from schema.registry import pack
from schema.topics import MEDIA, PARTITIONS

BATCH = 500
TICK_S = 0.005
CALLS = 1_000
PAYLOAD = os.urandom(160)


@dataclass(frozen=True)
class Figure:
    name: str
    rows_per_s: float
    cpu_us_per_row: float
    append_p50_ms: float
    append_p99_ms: float
    lag_p50_ms: float
    lag_p99_ms: float
    rss_before_mb: float
    rss_after_mb: float
    rss_most_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--folder", help="where the files go: a directory on the disk to be measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs: dict[str, Callable[[Path, Meter], Awaitable[None]]] = {
        "bare": lambda path, meter: bare(path, meter, options.seconds),
        "flat_out": lambda path, meter: flat_out(path, meter, options.seconds),
        "paced": lambda path, meter: paced(path, meter, options.seconds, options.rate),
        "followed": lambda path, meter: followed(path, meter, options.seconds, options.rate),
    }
    figures = [run(name, work, options.folder) for name, work in runs.items()]
    show(figures, as_json=options.json)


def run(name: str, work: Callable[[Path, Meter], Awaitable[None]], folder: str | None) -> Figure:
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        meter = Meter(name)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measured(work, Path(directory) / "log.sqlite", meter))
        return meter.figure()


async def measured(work: Callable[[Path, Meter], Awaitable[None]], path: Path, meter: Meter) -> None:
    await work(path, meter)


class Meter:
    """Counts one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.appends_s: list[float] = []
        self.lags_s: list[float] = []
        self.rss_before = self.rss_most = _rss_mb()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def appended(self, rows: int, since: float) -> None:
        self.rows += rows
        self.appends_s.append(time.perf_counter() - since)
        if len(self.appends_s) % 50 == 0:
            self.rss_most = max(self.rss_most, _rss_mb())

    def figure(self) -> Figure:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        p50, p99 = _percentiles_ms(self.appends_s)
        lag50, lag99 = _percentiles_ms(self.lags_s)
        memory = (self.rss_before, _rss_mb(), self.rss_most)
        return Figure(self.name, self.rows / wall, cpu / max(1, self.rows) * 1e6, p50, p99, lag50, lag99, *memory)


async def bare(path: Path, meter: Meter, seconds: float) -> None:
    value = _frame(0, 0)
    until = time.perf_counter() + seconds
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, value BLOB)")
        while (since := time.perf_counter()) < until:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(meter.rows + number, value) for number in range(BATCH)]
            connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)
            connection.execute("COMMIT")
            meter.appended(BATCH, since)


async def flat_out(path: Path, meter: Meter, seconds: float) -> None:
    entries = [Entry(_call(number), _frame(number, 0)) for number in range(BATCH)]
    until = time.perf_counter() + seconds

    async def append(log: SqliteLog) -> None:
        while (since := time.perf_counter()) < until:
            await log.append(MEDIA.name, entries)
            meter.appended(BATCH, since)

    async with SqliteLog(path, now=_now) as log, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(append(log))


async def paced(path: Path, meter: Meter, seconds: float, rate: int) -> None:
    async with SqliteLog(path, now=_now) as log:
        await _append_paced(log, meter, seconds, rate)


async def followed(path: Path, meter: Meter, seconds: float, rate: int) -> None:
    async with SqliteLog(path, now=_now) as log:
        reader = log.reader(MEDIA.name, dict.fromkeys(range(PARTITIONS), 0))
        appended_at: dict[bytes, float] = {}
        done = asyncio.Event()

        async def follow() -> None:
            while (records := await reader.read(max_records=5_000, wait_ms=50)) or not done.is_set():
                _note_lags(records, appended_at, meter)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            await _append_paced(log, meter, seconds, rate, appended_at)
            done.set()


async def _append_paced(
    log: SqliteLog, meter: Meter, seconds: float, rate: int, appended_at: dict[bytes, float] | None = None
) -> None:
    """One append a tick, the next begun whether or not the one before has been answered."""
    frames = _frames(round(rate * TICK_S))
    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for tick in range(round(seconds / TICK_S)):
            # A late tick is measured from when it should have been.
            due = start + tick * TICK_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            entries = next(frames)
            if appended_at is not None:
                appended_at[entries[-1].value] = due
            tasks.create_task(_append(log, meter, entries, due))


async def _append(log: SqliteLog, meter: Meter, entries: list[Entry], due: float) -> None:
    await log.append(MEDIA.name, entries)
    meter.appended(len(entries), due)


def _frames(size: int) -> Iterator[list[Entry]]:
    calls = [_call(number) for number in range(CALLS)]
    number = 0
    while True:
        batch = []
        for _ in range(size):
            batch.append(Entry(calls[number % CALLS], _frame(number % CALLS, number // CALLS)))
            number += 1
        yield batch


def _note_lags(records: list[Record], appended_at: dict[bytes, float], meter: Meter) -> None:
    now = time.perf_counter()
    for record in records:
        since = appended_at.pop(record.value, None)
        if since is not None:
            meter.lags_s.append(now - since)


def _frame(call: int, sequence: int) -> bytes:
    frame = MediaReceived(
        call_id=_call(call), stream=f"MZ{call:032x}", sequence=sequence, ms=sequence * 20, payload=PAYLOAD
    )
    return pack(frame)


def _call(number: int) -> str:
    return f"CA{number:032x}"


def _now() -> int:
    return time.time_ns() // 1_000_000


def _rss_mb() -> float:
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def _percentiles_ms(seconds: list[float]) -> tuple[float, float]:
    ranked = sorted(seconds) or [0.0]
    return ranked[len(ranked) // 2] * 1000, ranked[len(ranked) * 99 // 100] * 1000


def show(figures: list[Figure], *, as_json: bool) -> None:
    floor = figures[0]
    if as_json:
        rows = [asdict(figure) | {"cpu_to_bare": figure.cpu_us_per_row / floor.cpu_us_per_row} for figure in figures]
        json.dump(rows, sys.stdout, indent=2)
        print()
        return
    print("run        rows/s  CPU us/row  x bare  append p50/p99 ms  lag p50/p99 ms  RSS MB before/after/most")
    for figure in figures:
        ratio = figure.cpu_us_per_row / floor.cpu_us_per_row
        print(
            f"{figure.name:9}{figure.rows_per_s:8.0f}{figure.cpu_us_per_row:12.2f}{ratio:8.1f}"
            f"{figure.append_p50_ms:12.1f}/{figure.append_p99_ms:<6.1f}{figure.lag_p50_ms:9.1f}/{figure.lag_p99_ms:<6.1f}"
            f"{figure.rss_before_mb:13.0f}/{figure.rss_after_mb:.0f}/{figure.rss_most_mb:.0f}"
        )


if __name__ == "__main__":
    main()
