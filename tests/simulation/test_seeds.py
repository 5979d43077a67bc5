"""Calls with faults drawn from their seeds, and every seed that once found something."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from calltape.simulation import invariants
from calltape.simulation import run as running
from calltape.simulation.listing import Listing, events_of
from calltape.simulation.loop import VirtualLoop
from calltape.simulation.plan import Plan
from calltape.simulation.run import Failure, Result, quiet, run_seed, simulate
from calltape.simulation.staff import Engines, RealStaff, Seat, Staff, Worker, World
from calltape.simulation.tape import Tape

# A seed means another run whenever what is drawn changes: the bugs themselves are planted in test_planted_bugs.
FAILED_ONCE = (98, 3207, 5505, 8197, 8464, 20472, 30697)


@pytest.mark.parametrize(
    ("seeds", "from_seed"), [(40, 1), pytest.param(400, 1000, marks=pytest.mark.long)], ids=["40", "400"]
)
def test_seeds_break_no_invariant(seeds: int, from_seed: int) -> None:
    result = simulate(seeds, from_seed)
    assert result.failed == []
    assert result.seeds == seeds
    assert {"lose", "lose_answer", "double", "slow", "stall", "zombie"} <= result.happened.keys()
    assert {"kill", "freeze", "move", "restart", "database away"} <= result.happened.keys()


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    with quiet():
        assert run_seed(seed).violations == ()


def test_the_result_says_what_the_command_prints() -> None:
    result = simulate(2, 1)
    assert result.as_json() == {"seeds": 2, "failed": [], "seconds": round(result.seconds, 3)}


class Spinning:
    """A staff whose summariser works like mad, and never waits for anything."""

    def __init__(self, honest: Staff) -> None:
        self._honest = honest

    def worker(self, seat: Seat) -> Worker:
        worker = self._honest.worker(seat)
        if seat.role != "summariser":
            return worker
        worker.main.close()
        return Worker(_spin())


async def _spin() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_soon(again)

    loop.call_later(3.0, again)
    await loop.create_future()


def test_a_run_that_spins_keeps_what_happened_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "VirtualLoop", lambda seed: VirtualLoop(seed, max_steps=100_000))

    def spinning(seed: int, world: World, engines: Engines) -> Staff:
        return Spinning(RealStaff(seed, world, engines))

    with quiet():
        run = run_seed(3, plan=Plan(), make_staff=spinning)
    assert [violation.invariant for violation in run.violations] == ["no runaway"]
    assert any("call.started" in line for line in events_of(run.outcome))
    with quiet():
        assert run_seed(3, plan=Plan()).violations == ()  # nothing of it is left for the next one


def test_a_check_that_breaks_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tape: Tape) -> Iterator[str]:
        raise KeyError("what nobody said")
        yield

    monkeypatch.setitem(invariants.CHECKS, "the chain holds", broken)
    result = simulate(1, 7)
    assert [(failure.seed, failure.invariant) for failure in result.failed] == [(7, "the chain holds")]
    assert "what nobody said" in result.failed[0].detail


def test_the_first_seeds_that_failed_are_listed_whoever_ran_them() -> None:
    listing = Listing(("1.0 kill door:a",), ("event",))
    result = Result(most_listed=2)
    for seed in (9, 4, 7):
        failures = [Failure(seed, "nothing is said twice", "twice"), Failure(seed, "the chain holds", "torn")]
        result.add(Result(1, failures, listed={seed: listing}))
    assert result.listed.keys() == {4, 7}
    entries = result.as_json()["failed"]
    assert entries == [
        {"seed": 9, "invariant": "nothing is said twice"},
        {"seed": 9, "invariant": "the chain holds"},
        {"seed": 4, "invariant": "nothing is said twice", "mishaps": ("1.0 kill door:a",), "events": ("event",)},
        {"seed": 4, "invariant": "the chain holds"},
        {"seed": 7, "invariant": "nothing is said twice", "mishaps": ("1.0 kill door:a",), "events": ("event",)},
        {"seed": 7, "invariant": "the chain holds"},
    ]


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
    here = "\n".join(events_of(outcome))
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        assert there.stdout.strip() == here.strip()
