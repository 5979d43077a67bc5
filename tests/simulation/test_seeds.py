"""Calls with faults drawn from their seeds, and every seed that once found something."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from calltape.simulation.listing import events_of
from calltape.simulation.run import quiet, run_seed, simulate

# A seed means another run whenever what is drawn changes: the bugs themselves are planted in test_planted_bugs.
FAILED_ONCE = (98, 5505)


@pytest.mark.parametrize(
    ("seeds", "from_seed"), [(40, 1), pytest.param(400, 1000, marks=pytest.mark.long)], ids=["40", "400"]
)
def test_seeds_break_no_invariant(seeds: int, from_seed: int) -> None:
    result = simulate(seeds, from_seed)
    assert result.failed == []
    assert result.seeds == seeds
    assert {"lose", "lose_answer", "double", "slow", "stall", "zombie"} <= result.happened.keys()


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    with quiet():
        assert run_seed(seed).violations == ()


def test_the_result_says_what_the_command_prints() -> None:
    result = simulate(2, 1)
    assert result.as_json() == {"seeds": 2, "failed": [], "seconds": round(result.seconds, 3)}


SCRIPT = """
from calltape.simulation.listing import events_of
from calltape.simulation.run import quiet, run_seed
with quiet():
    print("\\n".join(events_of(run_seed(31).outcome)))
"""


def test_a_seed_gives_the_same_events_in_every_process() -> None:
    """Whatever the hashes of that process are: an order taken from a set would show."""
    with quiet():
        outcome = run_seed(31).outcome
    assert outcome is not None
    here = "\n".join(events_of(outcome))
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        assert there.stdout.strip() == here.strip()
