"""Runs seeds: each is one call with its own caller, faults and order of steps, and each can be run again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from calltape.simulation.house import House, Outcome
from calltape.simulation.invariants import Violation, violations
from calltape.simulation.loop import Deadlock, Runaway, VirtualLoop
from calltape.simulation.plan import Plan, drawn_plan
from calltape.simulation.script import Step, drawn_script
from calltape.simulation.staff import RealStaff, Staff

MakeStaff = Callable[[int, dict[str, int], float], Staff]


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke an invariant."""

    seed: int
    invariant: str
    detail: str


@dataclass(slots=True)
class Result:
    """What `calltape simulate` prints."""

    seeds: int = 0
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    happened: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        failed = [{"seed": one.seed, "invariant": one.invariant} for one in self.failed]
        return {"seeds": self.seeds, "failed": failed, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class Run:
    """One seed's outcome and what it broke."""

    outcome: Outcome | None
    violations: tuple[Violation, ...]


def simulate(seeds: int, from_seed: int, on_progress: Callable[[int, Result], None] | None = None) -> Result:
    """Run so many seeds; `on_progress(seed, result so far)` after each."""
    result = Result()
    began = time.monotonic()
    with quiet():
        for seed in range(from_seed, from_seed + seeds):
            _count(result, seed, run_seed(seed))
            result.seconds = time.monotonic() - began
            if on_progress is not None:
                on_progress(seed, result)
    return result


def run_seed(
    seed: int,
    *,
    plan: Plan | None = None,
    script: tuple[Step, ...] | None = None,
    make_staff: MakeStaff = RealStaff,
) -> Run:
    """One seed. `plan` and `script` replace what the seed would draw."""
    plan = plan or drawn_plan(seed)
    loop = VirtualLoop(seed)
    effects: dict[str, int] = {}
    house = House(
        loop,
        seed,
        plan,
        drawn_script(seed) if script is None else script,
        make_staff(seed, effects, plan.engines_fail),
        effects=effects,
    )
    try:
        outcome = loop.run(house.run())
    except (Deadlock, Runaway) as error:
        return Run(None, (Violation(f"no {type(error).__name__.lower()}", str(error)),))
    found = violations(outcome)
    found += [Violation("no stray error", str(one.get("exception") or one)) for one in loop.complaints]
    return Run(outcome, tuple(found))


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of a faulty log are what a run is about: they are not printed."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _count(result: Result, seed: int, run: Run) -> None:
    result.seeds += 1
    result.failed += [Failure(seed, one.invariant, one.detail) for one in _first_of_each(run.violations)]
    if run.outcome is not None:
        result.steps += run.outcome.steps
        for name, times in run.outcome.happened.items():
            result.happened[name] = result.happened.get(name, 0) + times


def _first_of_each(found: tuple[Violation, ...]) -> list[Violation]:
    return list({one.invariant: one for one in reversed(found)}.values())[::-1]
