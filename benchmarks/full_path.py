"""The whole way through the log, with engines that cost nothing: frame in, reply out; voice in, `clear` out.

`python -m benchmarks.full_path [--calls 10,100] [--seconds 15] [--on sqlite,kafka] [--json]`. For each number of calls,
side by side on a SQLite file and on an Apache Kafka of its own (`scripts/local_kafka.py`, warmed up first): the Twilio
door, hearing and conversation, each in a process of its own, and callers on real sockets in another, a frame every
20 ms a call, a turn every 5 s or so, every other reply talked over.

    answer   from before the frame is written that makes 300 ms of silence, until the first audio of the reply is read:
             socket, calls.media, hearing, calls.events, conversation, calls.events (read back), calls.outbox, socket
    clear    from before the frame is written that makes 80 ms of voice over a reply, until `clear` is read

Nothing is subtracted: the callers' own lateness is in both, and stands beside them. The detector looks at a byte, the
recogniser knows the words, the agent answers at once, the voice is prepared; resampling and mu-law are ours. CPU is
each process's own, user and system, a second of one call; `broker` is the one broker.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.live_calls import PARTS, Child, counts
from scripts.local_kafka import LocalKafka

sys.path.insert(0, str(PARTS))
from broker import broker

PROCESSES = ("ingest", "hearing", "conversation")
WARM_S = 4.0
# A fresh JVM is slow for its first ten seconds, and compiles for another twenty.
BROKER_WARM_S, BROKER_WARM_CALLS = 30.0, 50
# Beyond this the callers' own lateness is a good part of what they measure.
LATE_MS = 5.0


@dataclass(frozen=True)
class Figure:
    """One log under one load. CPU in ms a second of one call."""

    log: str
    calls: int
    answers: int
    answer_p50_ms: float | None
    answer_p99_ms: float | None
    clears: int
    clear_p50_ms: float | None
    clear_p99_ms: float | None
    missed: int
    late_p99_ms: float
    cpu_ms: dict[str, float]
    cores_busy: float
    load_average: float
    ok: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=counts, default=(10, 100), help="how many at once, comma separated")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run, 5 to 120")
    parser.add_argument("--on", default="sqlite,kafka", help="these logs, comma separated")
    parser.add_argument("--profile", default="", help="a folder for what cProfile saw of each process")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.seconds = min(120.0, max(5.0, options.seconds))
    with ExitStack() as stack:
        kafka = stack.enter_context(broker()) if "kafka" in options.on else None
        if kafka is not None:
            run("kafka", BROKER_WARM_CALLS, BROKER_WARM_S, kafka)
        figures = [
            run(log, calls, options.seconds, kafka, options.profile)
            for calls in options.calls
            for log in options.on.split(",")
        ]
    show(figures, as_json=options.json)
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


def run(log: str, calls: int, seconds: float, kafka: LocalKafka | None, profiles: str = "") -> Figure:
    """One house, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="calltape-bench-") as folder, ExitStack() as children:
        uri = f"sqlite:///{Path(folder, 'log.sqlite')}" if log == "sqlite" else f"kafka://{kafka and kafka.bootstrap}"
        house = {}
        for role in PROCESSES:
            profile = [f"--profile={Path(profiles, f'{log}-{calls}-{role}.prof')}"] if profiles else []
            house[role] = children.enter_context(Child("role.py", uri, role, *profile))
        port = {role: child.hear() for role, child in house.items()}["ingest"]["port"]
        url = f"ws://127.0.0.1:{port}/ws/media-stream/bench"
        callers = children.enter_context(Child("talkers.py", url, str(calls), str(WARM_S), str(seconds)))
        callers.hear()
        before, began = cpu_of(house, kafka if log == "kafka" else None), time.perf_counter()
        report = callers.hear()
        elapsed = time.perf_counter() - began
        after = cpu_of(house, kafka if log == "kafka" else None)
        callers.process.wait(timeout=30)
        for child in house.values():
            child.finish()
    used = {name: after[name] - before[name] for name in after}
    return figure(log, calls, report, used, elapsed)


def cpu_of(house: dict[str, Child], kafka: LocalKafka | None) -> dict[str, float]:
    """CPU seconds each process has used."""
    used = {role: child.cpu_s() for role, child in house.items()}
    if kafka is not None:
        used["broker"] = time.clock_gettime((~kafka.nodes[0]._pid) << 3 | 2)
    return used


def figure(log: str, calls: int, report: dict[str, Any], used: dict[str, float], elapsed: float) -> Figure:
    late = percentile(report["late"], 0.99) or 0.0
    return Figure(
        log=log,
        calls=calls,
        answers=len(report["answer"]),
        answer_p50_ms=percentile(report["answer"], 0.50),
        answer_p99_ms=percentile(report["answer"], 0.99),
        clears=len(report["clear"]),
        clear_p50_ms=percentile(report["clear"], 0.50),
        clear_p99_ms=percentile(report["clear"], 0.99),
        missed=report["missed"],
        late_p99_ms=late,
        cpu_ms={name: spent * 1000 / elapsed / calls for name, spent in used.items()},
        cores_busy=sum(used.values()) / elapsed,
        load_average=os.getloadavg()[0],
        ok=not report["closed_early"] and bool(report["answer"]),
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def show(figures: list[Figure], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"cores": os.cpu_count(), "runs": [asdict(one) for one in figures]}, indent=2))
        return
    print("calls log     answer p50/p99 ms (n)   clear p50/p99 ms (n)   missed  CPU ms/call-s, callers late p99")
    for one in figures:
        cpu = " ".join(f"{name} {spent:.2f}" for name, spent in one.cpu_ms.items())
        print(
            f"{one.calls:5} {one.log:7}{_ms(one.answer_p50_ms):>7} /{_ms(one.answer_p99_ms):>6} ({one.answers})"
            f"{_ms(one.clear_p50_ms):>9} /{_ms(one.clear_p99_ms):>6} ({one.clears}){one.missed:8}  {cpu}"
            f"   {one.late_p99_ms:.1f} ms"
        )
        if one.late_p99_ms > LATE_MS:
            print("      the callers were late themselves: what they measured is too much")
        if not one.ok:
            print("      calls were closed early or never answered: nothing here is comparable")
    busy = statistics.fmean(one.load_average for one in figures)
    print(f"{os.cpu_count()} cores; load average {busy:.1f} (everything on this machine)")


def _ms(value: float | None) -> str:
    return "-" if value is None else format(value, ".1f")


if __name__ == "__main__":
    main()
