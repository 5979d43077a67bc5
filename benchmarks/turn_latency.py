"""Latency of every stage of a turn, over more than twenty turns of one spoken call with the offline engines.

Run: .venv/bin/python benchmarks/turn_latency.py [--json]

All stages but `caller waits` come from the log's own times; `caller waits` is measured by the carrier simulator,
from the caller's last audible sample to the first audible sample of the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from calltape.demo import run_demo
from calltape.logs import configure
from clients.script import Hangup, InterruptAfter, Say, Script, Step, Wait, WaitFor

STAGES = ("endpoint", "stt", "agent", "tts", "first_audio", "barge_in")
SAID = (
    "make a note to buy milk",
    "yes",
    "what can you do",
    "schedule a meeting with the team on friday",
    "yes",
    "remind me to call the dentist tomorrow at nine",
    "no",
    "thank you",
    "how are you",
    "who are you",
)
ROUNDS = 2
INTERRUPTED = "what can you do"


def script() -> Script:
    """Two rounds of ten turns and two interruptions."""
    steps: list[Step] = [WaitFor(wait_for="reply")]
    for text in SAID * ROUNDS:
        steps.append(Say(say=text))
        if text == INTERRUPTED:
            steps += [InterruptAfter(interrupt_after_ms=2000), Say(say="thank you")]
        steps.append(WaitFor(wait_for="reply", timeout_ms=20_000, required=False))
    return Script(steps=(*steps, Wait(wait=500), Hangup()))


def summary(values: list[int]) -> dict[str, int] | None:
    """Count, median, 95th percentile and largest."""
    if not values:
        return None
    ordered = sorted(values)
    return {
        "turns": len(ordered),
        "p50": round(statistics.median(ordered)),
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
        "max": ordered[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure(level="error")
    with tempfile.TemporaryDirectory(prefix="calltape-bench-") as folder:
        done = asyncio.run(run_demo(script(), Path(folder), lambda event, at: None))
    turns = done.result["turns"]
    found: dict[str, Any] = {
        stage: summary([turn["latency_ms"][stage] for turn in turns if turn["latency_ms"].get(stage) is not None])
        for stage in STAGES
    }
    found["caller waits"] = summary([ms for ms in done.waited_ms if ms is not None])
    if arguments.json:
        print(json.dumps({"turns": len(turns), "stages_ms": found}, indent=2))
        return
    print(f"{len(turns)} turns; ms")
    print(f"{'stage':<14}{'turns':>6}{'p50':>8}{'p95':>8}{'max':>8}")
    for stage, row in found.items():
        if row is not None:
            print(f"{stage:<14}{row['turns']:>6}{row['p50']:>8}{row['p95']:>8}{row['max']:>8}")


if __name__ == "__main__":
    main()
