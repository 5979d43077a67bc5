"""Runs seeds: each is one call with its own caller, faults and order of steps, and each can be run again."""

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import structlog

from calltape.simulation.carrier import Carrier
from calltape.simulation.database import Database
from calltape.simulation.house import House
from calltape.simulation.invariants import Violation, violations
from calltape.simulation.listing import Listing, events_of
from calltape.simulation.loop import Deadlock, Runaway, VirtualLoop
from calltape.simulation.outcome import Outcome
from calltape.simulation.plan import Plan, drawn_plan
from calltape.simulation.script import Step, drawn_script
from calltape.simulation.staff import Engines, RealStaff, Staff, World

# A seed that fails leaves thousands of lines; a hundred of them would bury what they are to show.
MOST_LISTED = 3
MakeStaff = Callable[[int, World, Engines], Staff]


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
    happened: dict[str, int] = field(default_factory=dict)  # fault -> how often
    listed: dict[int, Listing] = field(default_factory=dict)  # what happened in the first seeds that failed
    most_listed: int | None = MOST_LISTED  # None: in all of them

    def as_json(self) -> dict[str, object]:
        """`failed` names each invariant that a seed broke; the first entry of a seed that is listed has its events."""
        failed: list[dict[str, object]] = [{"seed": one.seed, "invariant": one.invariant} for one in self.failed]
        untold = dict(self.listed)
        for entry, failure in zip(failed, self.failed, strict=True):
            if (listing := untold.pop(failure.seed, None)) is not None:
                entry |= {"mishaps": listing.mishaps, "events": listing.events}
        return {"seeds": self.seeds, "failed": failed, "seconds": round(self.seconds, 3)}

    def add(self, other: Result) -> None:
        """Another's seeds beside these; time is not added."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.failed += other.failed
        for name, times in other.happened.items():
            self.happened[name] = self.happened.get(name, 0) + times
        self.listed |= other.listed
        if self.most_listed is not None:
            for seed in sorted(self.listed)[self.most_listed :]:
                del self.listed[seed]


@dataclass(frozen=True, slots=True)
class Run:
    """One seed's outcome and what it broke."""

    outcome: Outcome  # of a run that did not come to its end: so far
    violations: tuple[Violation, ...]


def simulate(
    seeds: int,
    from_seed: int,
    on_progress: Callable[[int, Result], None] | None = None,
    *,
    most_listed: int | None = MOST_LISTED,
) -> Result:
    """Run so many seeds; `on_progress(seed, result so far)` after each."""
    result = Result(most_listed=most_listed)
    began = time.monotonic()
    with quiet(), _swept_by_hand() as sweep:
        for seed in range(from_seed, from_seed + seeds):
            result.add(judged(seed))
            result.seconds = time.monotonic() - began
            sweep()
            if on_progress is not None:
                on_progress(seed, result)
    return result


def simulate_beside(
    seeds: int,
    from_seed: int,
    jobs: int,
    on_progress: Callable[[int, Result], None] | None = None,
    *,
    most_listed: int | None = MOST_LISTED,
) -> Result:
    """The same in so many processes; failures are told in the order of their seeds."""
    result = Result(most_listed=most_listed)
    began = time.monotonic()
    # Executed, not forked: what a process of ours has open is nobody else's.
    with get_context("spawn").Pool(jobs) as pool:
        for seed, one in pool.imap_unordered(_judged_quietly, range(from_seed, from_seed + seeds), chunksize=5):
            result.add(one)
            result.seconds = time.monotonic() - began
            if on_progress is not None:
                on_progress(seed, result)
    result.failed.sort(key=lambda failure: failure.seed)
    return result


def _judged_quietly(seed: int) -> tuple[int, Result]:
    with quiet():
        return seed, judged(seed)


def judged(seed: int) -> Result:
    """What one seed adds to the result. Call it inside `quiet`."""
    run = run_seed(seed)
    outcome = run.outcome
    failed = [Failure(seed, one.invariant, one.detail) for one in _first_of_each(run.violations)]
    listed = {seed: Listing(outcome.mishaps, tuple(events_of(outcome)))} if failed else {}
    return Result(1, failed, 0.0, outcome.steps, dict(outcome.happened), listed)


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
    _COMPLAINTS.clear()
    recordings = Path(tempfile.mkdtemp(prefix="calltape-simulated-"))
    try:
        world = World(Carrier(plan.refusals), Database(seed, slow_ms=plan.database_ms), recordings)
        staff = make_staff(seed, world, Engines(plan.engines_fail, plan.engines_late))
        script = drawn_script(seed) if script is None else script
        house = House(loop, seed, plan, script, world, staff)
        try:
            outcome = loop.run(house.run(), at_end=house.keep)
        except (Deadlock, Runaway) as error:
            assert house.outcome is not None
            return Run(house.outcome, (Violation(f"no {type(error).__name__.lower()}", str(error)),))
        found = violations(outcome)
        found += [Violation("no stray error", str(one.get("exception") or one)) for one in loop.complaints]
        found += [Violation("nothing breaks", complaint) for complaint in _COMPLAINTS]
        return Run(outcome, tuple(found))
    finally:
        shutil.rmtree(recordings, ignore_errors=True)


@contextmanager
def _swept_by_hand() -> Iterator[Callable[[], object]]:
    """Looking for garbage in the midst of a run takes a third of its time; between two runs it takes none."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()
        gc.unfreeze()


# What workers called an error: a call parked, an agent or a voice that broke. A faulty log is only worth a warning.
_COMPLAINTS: list[str] = []


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of a faulty log are what a run is about: they are not printed. Errors become violations."""
    before = structlog.get_config()
    structlog.configure(processors=[_keep], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


# Said by a door that has to go while the log is away.
_EXPECTED = frozenset({"the log did not take everything"})


def _keep(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    if event.get("event") in _EXPECTED:
        raise structlog.DropEvent
    cause = event.get("exc_info")
    _COMPLAINTS.append(f"{event.get('event')}: {cause!r}" if cause is not None else repr(dict(event)))
    raise structlog.DropEvent


def _first_of_each(found: tuple[Violation, ...]) -> list[Violation]:
    return list({one.invariant: one for one in reversed(found)}.values())[::-1]
