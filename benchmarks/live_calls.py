"""What live calls cost: our ingest with every frame on the log, next to a bare server that keeps nothing.

`python benchmarks/live_calls.py [--calls 50,200] [--seconds 15] [--json]`. One after the other, each on a fresh server
process, under the same load generator in a process of its own (a frame every 20 ms a call, at real pace):

    echo     bare aiohttp + msgspec + uvloop; every frame goes back as it came: what others quote
    floor    the same server; what goes back is what ingest's agents say: the least this traffic can cost
    ingest   the Twilio door in development mode, every frame in and out on a temporary SQLite log; agents speak 2 s
             of every 4, in pieces of 160 ms with the facts around them, through calls.outbox
    house    (with --house) the same with the responder inside the server's process, as `calltape serve` runs

In `ingest` the answers come from a third process that follows calls.media and writes calls.outbox, as a worker does;
it has no engines. CPU is the server process's alone, user and system, all its threads: median over windows of 1 s,
connecting and warm-up left out. Lag is from writing a stamped frame to reading its stamp back, generator included:
socket, server, socket for `echo` and `floor`; socket, calls.media, responder, calls.outbox, socket for `ingest`.
`append` is how long the oldest frame of each tick waited until the log had it, warm-up included. Memory is the server's
growth from empty to the end of the run. When the generator was late itself, lag says nothing and the table says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "live"
WARM_S = 4.0
WINDOW_S = 1.0
CONNECTING_S = 2.0
MOST_CALLS = 1_000
# Beyond this the generator's own lateness is a good part of the lag it reports.
GENERATOR_LATE_MS = 5.0


@dataclass(frozen=True)
class Figure:
    """One server under one load. CPU in ms for a second of one call."""

    server: str
    calls: int
    cpu_ms: float
    cpu_ms_least: float
    cpu_ms_most: float
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    append_p50_ms: float | None
    append_p99_ms: float | None
    memory_kb_a_call: float
    rss_mb: float
    frames_sent: int
    frames_lost: int
    stamps_unanswered_share: float | None
    audio_back_share: float  # of the audio sent
    generator_late_p99_ms: float
    generator_is_late: bool
    ok: bool
    details: dict[str, Any]


class Child:
    """A part of the benchmark in a process of its own; it ends when its input is closed, by us or by our death."""

    def __init__(self, script: str, *arguments: str) -> None:
        command = [sys.executable, str(PARTS / script), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises RuntimeError when it ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}; its reason stands above")
        said: dict[str, Any] = json.loads(line)
        return said

    def finish(self) -> dict[str, Any]:
        """Tell it to end, and what it has to say at last."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        said = self.hear()
        self.process.wait(timeout=30)
        return said

    def cpu_s(self) -> float:
        # The clock id of another process's CPU time as clock_getcpuclockid(3) makes it: all threads, in nanoseconds.
        return time.clock_gettime((~self.process.pid) << 3 | 2)

    def rss_kb(self) -> float:
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * resource.getpagesize() / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=counts, default=(50, 200), help="how many at once, comma separated: 50,200")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run, 5 to 120")
    parser.add_argument("--house", action="store_true", help="also with the responder in the server's process")
    parser.add_argument("--only", default="", help="only these servers, comma separated")
    parser.add_argument("--switch-interval", type=float, help="of ingest's threads, seconds (Python's own: 0.005)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.seconds = min(120.0, max(5.0, options.seconds))
    names = ["echo", "floor", "ingest"] + (["house"] if options.house else [])
    chosen = [name for name in names if not options.only or name in options.only.split(",")]
    figures = [run(name, calls, options) for calls in options.calls for name in chosen]
    show(figures, as_json=options.json)
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


def counts(text: str) -> tuple[int, ...]:
    """`50,200`: what a person types. More than a server's usual limit of sockets is refused."""
    found = tuple(int(part) if part.isdigit() else 0 for part in text.split(","))
    if not all(0 < calls <= MOST_CALLS for calls in found):
        raise argparse.ArgumentTypeError(f"whole numbers from 1 to {MOST_CALLS}, comma separated, not {text!r}")
    return found


def run(name: str, calls: int, options: argparse.Namespace) -> Figure:
    """One server, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="calltape-bench-") as folder, ExitStack() as children:
        log = str(Path(folder) / "log.sqlite")
        server = children.enter_context(server_of(name, log, options))
        port = server.hear()["port"]
        responder = None
        if name == "ingest":
            responder = children.enter_context(Child("responder.py", log))
            responder.hear()
        url = f"ws://127.0.0.1:{port}/ws/media-stream/bench"
        empty_kb = server.rss_kb()
        load = children.enter_context(Child("callers.py", url, str(calls), str(WARM_S), str(options.seconds)))
        load.hear()
        windows = cpu_of(server, options.seconds)
        report = load.hear()
        full_kb = server.rss_kb()
        said = server.finish() | ({"responder": responder.finish()} if responder else {})
        sent = report["frames_sent"] + report["frames_sent_warm"]
        lost = sent - (said["frames_in"] if name in ("echo", "floor") else frames_on(log, said["messages_out"]))
        return figure(name, calls, windows, report, said, lost=lost, memory_kb=(empty_kb, full_kb))


def server_of(name: str, log: str, options: argparse.Namespace) -> Child:
    if name in ("echo", "floor"):
        return Child("echo_server.py", "frames" if name == "echo" else "speech")
    switching = [f"--switch-interval={options.switch_interval}"] if options.switch_interval else []
    return Child("ingest_server.py", log, *switching, *(["--answering"] if name == "house" else []))


def cpu_of(server: Child, seconds: float) -> list[float]:
    """CPU seconds used in each second of wall time, while all calls are up."""
    time.sleep(CONNECTING_S)
    used: list[float] = []
    cpu, wall = server.cpu_s(), time.perf_counter()
    for _ in range(int((seconds - CONNECTING_S) / WINDOW_S)):
        time.sleep(WINDOW_S)
        cpu_now, wall_now = server.cpu_s(), time.perf_counter()
        used.append((cpu_now - cpu) / (wall_now - wall))
        cpu, wall = cpu_now, wall_now
    return used


def frames_on(log: str, spoken: int) -> int:
    """The callers' frames that are on the log: counted in the file, without what was spoken."""
    connection = sqlite3.connect(log)
    try:
        (rows,) = connection.execute('SELECT count(*) FROM "calls.media"').fetchone()
    finally:
        connection.close()
    return int(rows) - spoken


def figure(
    name: str,
    calls: int,
    windows: list[float],
    report: dict[str, Any],
    said: dict[str, Any],
    *,
    lost: int,
    memory_kb: tuple[float, float],
) -> Figure:
    cpu_ms = sorted(used * 1000 / calls for used in windows)
    late = report["late_p99_ms"] or 0.0
    answered = report["stamps_echoed"] / report["stamps_sent"] if name == "echo" else None
    return Figure(
        server=name,
        calls=calls,
        cpu_ms=statistics.median(cpu_ms),
        cpu_ms_least=cpu_ms[0],
        cpu_ms_most=cpu_ms[-1],
        lag_p50_ms=report["lag_p50_ms"],
        lag_p99_ms=report["lag_p99_ms"],
        append_p50_ms=said.get("append_p50_ms"),
        append_p99_ms=said.get("append_p99_ms"),
        memory_kb_a_call=(memory_kb[1] - memory_kb[0]) / calls,
        rss_mb=memory_kb[1] / 1024,
        frames_sent=report["frames_sent"],
        frames_lost=lost + report["frames_held_back"],
        stamps_unanswered_share=None if answered is None else 1 - answered,
        audio_back_share=report["audio_bytes_received"] / max(1, report["frames_sent"] * 160),
        generator_late_p99_ms=late,
        generator_is_late=late > GENERATOR_LATE_MS,
        ok=report["calls"] == calls and not report["closed_early"] and not report["refused"],
        details={"load": report, "server": said},
    )


def show(figures: list[Figure], *, as_json: bool) -> None:
    ratios = [against(figures, one) for one in figures]
    if as_json:
        rows = [asdict(one) | ratio for one, ratio in zip(figures, ratios, strict=True)]
        print(json.dumps({"runs": rows, "memory_kb_a_further_call": further(figures)}, indent=2))
        return
    print(
        "calls server  CPU ms/call-s (least-most)  x echo x floor  lag p50/p99 ms  append p50/p99  KB/call  lost  back"
    )
    for one, ratio in zip(figures, ratios, strict=True):
        print(
            f"{one.calls:5} {one.server:7}{one.cpu_ms:10.3f} ({one.cpu_ms_least:.2f}-{one.cpu_ms_most:.2f})"
            f"{_one(ratio['cpu_to_echo'], 14)}{_one(ratio['cpu_to_floor'], 8)}"
            f"{_one(one.lag_p50_ms, 9)}/{_one(one.lag_p99_ms, 0):6}{_one(one.append_p50_ms, 9)}/"
            f"{_one(one.append_p99_ms, 0):6}{one.memory_kb_a_call:8.0f}{one.frames_lost:6}{one.audio_back_share:6.2f}"
        )
        if one.generator_is_late:
            print(f"      the generator was late itself (p99 {one.generator_late_p99_ms:.1f} ms): lag is unusable")
        if not one.ok:
            print("      calls were refused or closed early: nothing here is comparable")
    for server, kb in further(figures).items():
        print(f"each further call takes {server} {kb:.0f} KB")


def against(figures: list[Figure], one: Figure) -> dict[str, float | None]:
    """Its CPU next to the bare servers' at as many calls."""
    bare = {other.server: other.cpu_ms for other in figures if other.calls == one.calls}
    return {f"cpu_to_{name}": one.cpu_ms / bare[name] if name in bare else None for name in ("echo", "floor")}


def further(figures: list[Figure]) -> dict[str, float]:
    """KB of each call beyond the smallest run's: without what a server takes once."""
    found: dict[str, float] = {}
    for server in dict.fromkeys(one.server for one in figures):
        runs = sorted((one.calls, one.rss_mb) for one in figures if one.server == server)
        if runs[-1][0] > runs[0][0]:
            found[server] = (runs[-1][1] - runs[0][1]) * 1024 / (runs[-1][0] - runs[0][0])
    return found


def _one(value: float | None, width: int) -> str:
    return f"{'-' if value is None else format(value, '.1f'):>{width}}"


if __name__ == "__main__":
    main()
