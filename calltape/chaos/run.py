"""Runs the cases: one spoken call each, something killed in the middle of it, and the record compared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from calltape import world
from calltape.chaos.calling import SCRIPT, Placed, place
from calltape.chaos.cases import BROKER, Case
from calltape.chaos.compare import Told, compare, quiet_ms
from calltape.chaos.outcome import Outcome
from calltape.chaos.strike import Scene, restored
from calltape.demo import caller
from calltape.listed import listed
from calltape.local.parts import StandsOn, parts, prepared
from calltape.local.processes import DidNotStart, Processes
from clients.carrier import Carrier
from eventlog.uri import open_log

logger = structlog.get_logger()

# A moment of some milliseconds can pass before the victim is dead: then another call is placed.
MOST_CALLS = 3

__all__ = ["SCRIPT", "Outcome", "run_cases"]


@dataclass(slots=True)
class Stage:
    """Where the calls of one run take place. `keep`: where the events of a case that failed are listed."""

    scene: Scene
    carrier: Carrier
    keep: Path | None = None


async def run_cases(
    cases: Sequence[Case],
    *,
    ground: StandsOn,
    folder: Path,
    away_s: float = 60.0,
    keep: Path | None = None,
    on_case: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Each case after an undisturbed call of the same house. Raises Refused, DidNotStart, EngineError."""
    nodes = 3 if any(case.victim == BROKER for case in cases) else 1
    found: list[Outcome] = []
    async with _stage(ground, folder, nodes=nodes, away_s=away_s) as stage:
        stage.keep = keep
        undisturbed = await _undisturbed(stage)
        for case in cases:
            outcome = await _outcome(stage, case, undisturbed)
            found.append(outcome)
            on_case(outcome)
    return found


@asynccontextmanager
async def _stage(ground: StandsOn, folder: Path, *, nodes: int, away_s: float) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stood_on = stack.enter_context(parts(ground, folder, nodes=nodes))
        await prepared(stood_on, replication=nodes)
        house = Processes(folder, stood_on)
        carrier, rest, account, secret = await stack.enter_async_context(caller(house.address))
        house.introduce(account=account, secret=secret, rest=rest.url)
        await stack.enter_async_context(house)
        log = await stack.enter_async_context(open_log(stood_on.log, now=world.now_ms))
        yield Stage(Scene(house, stood_on, log, away_s), carrier)


async def _undisturbed(stage: Stage) -> Told:
    """The measure of all others: whole in itself."""
    placed = await place(stage.scene, stage.carrier, None)
    difference = compare(placed.told, placed.told, cuts_the_line=False)
    failed = [*placed.report.failures, *(broken.text for broken in placed.report.violations), difference.note]
    if any(failed):
        raise DidNotStart(f"the undisturbed call failed: {'; '.join(filter(None, failed))}")
    return placed.told


async def _outcome(stage: Stage, case: Case, undisturbed: Told) -> Outcome:
    """One that breaks is the end of its case, not of the others."""
    calls = 0
    try:
        while True:
            calls += 1
            placed = await place(stage.scene, stage.carrier, case)
            outcome = judged(case, undisturbed, placed, calls=calls)
            if placed.came_in_time or calls == MOST_CALLS or not outcome.is_intact:
                break
    except Exception as error:
        logger.error("case broke", case=case.name, exc_info=error)
        outcome = Outcome(case, note=f"broke: {error!r}", calls=calls)
        try:
            await restored(stage.scene)
        except Exception as worse:
            logger.error("house is broken", case=case.name, exc_info=worse)
        return outcome
    if stage.keep is not None and not outcome.ok:
        _keep(stage.keep, outcome, placed.told)
    return outcome


def judged(case: Case, undisturbed: Told, placed: Placed, *, calls: int = 1) -> Outcome:
    """What one call shows: whether its death came in its moment, and whether the record is that of any other call."""
    told, report = placed.told, placed.report
    cut = case.ends_the_line or any(not one.whole for one in told.said)
    difference = compare(undisturbed, told, cuts_the_line=cut)
    wrong = [] if case.ends_the_line else list(report.failures)
    wrong += [broken.text for broken in report.violations]
    streams = [stream.epoch for stream in told.details.streams] if told.details else []
    if streams != list(range(1, case.streams + 1)) or report.streams != case.streams:
        wrong.append(f"streams {streams} of {report.streams}, not {case.streams}")
    is_intact = difference.none and not wrong
    missed = [] if placed.came_in_time else [placed.missed]
    return Outcome(
        case,
        ok=is_intact and placed.came_in_time,
        is_intact=is_intact,
        quiet_ms=quiet_ms(told),
        usual_ms=quiet_ms(undisturbed),
        lost=len(difference.lost),
        doubled=len(difference.doubled),
        note="; ".join(filter(None, [*missed, difference.note, *wrong])) or _good_note(case, cut=cut),
        calls=calls,
    )


def _good_note(case: Case, *, cut: bool) -> str:
    if case.ends_the_line:
        return "the line ended with it; the record is whole"
    went_on = f"went on at stream {case.streams}" if case.streams > 1 else ""
    return f"{went_on}; the caller was cut off" if went_on and cut else went_on


def _keep(folder: Path, outcome: Outcome, told: Told) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    began_at = told.events[0].at if told.events else 0
    path = folder / f"{outcome.case.name.replace(', ', '-').replace(' ', '-')}.txt"
    path.write_text("\n".join([outcome.note, *listed(told.events, began_at)]) + "\n")
