"""`calltape simulate`: the whole house with random faults on virtual time; every failure comes back from its seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import AsJson, emit, say, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from calltape.simulation.run import Result


def simulate(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many calls, each with its own faults.")] = 100,
    from_seed: Annotated[int, typer.Option("--from-seed", min=0, help="The first seed.")] = 1,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many processes share the calls.")] = 1,
    show: Annotated[bool, typer.Option("--show", help="Print the events of every seed that failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate calls while workers die, freeze and are doubled, and the log loses and repeats; exit 0 if all held."""
    if as_json:
        result = _run(seeds, from_seed, jobs)
        emit(result.as_json())
    else:
        result = _with_progress(seeds, from_seed, jobs)
        _tell(result)
    if show:
        _show(result)
    if result.failed:
        raise typer.Exit(1)


def _run(seeds: int, from_seed: int, jobs: int, on_progress: Callable[[int, Result], None] | None = None) -> Result:
    from calltape.simulation.run import simulate as run_seeds
    from calltape.simulation.run import simulate_beside

    if jobs == 1:
        return run_seeds(seeds, from_seed, on_progress)
    return simulate_beside(seeds, from_seed, jobs, on_progress)


def _with_progress(seeds: int, from_seed: int, jobs: int) -> Result:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("calls", total=seeds)

        def on_progress(seed: int, so_far: Result) -> None:
            failed = len({failure.seed for failure in so_far.failed})
            progress.update(bar, advance=1, description=f"calls, {failed} failed" if failed else "calls")

        return _run(seeds, from_seed, jobs, on_progress)


def _tell(result: Result) -> None:
    failed = {failure.seed for failure in result.failed}
    minutes = max(result.seconds, 1e-9) / 60
    say(f"{result.seeds} calls in {result.seconds:.1f} s ({result.seeds / minutes:.0f} a minute), {len(failed)} failed")
    if result.happened:
        say("faults: " + ", ".join(f"{times} {name}" for name, times in sorted(result.happened.items())))
    if result.failed:
        rows = [(failure.seed, failure.invariant, failure.detail) for failure in result.failed]
        table(("seed", "broken", "what was seen"), rows)
        say("Look at one with `calltape simulate --seeds 1 --show --from-seed SEED`.")


def _show(result: Result) -> None:
    from calltape.simulation.listing import events_of
    from calltape.simulation.run import quiet, run_seed

    for seed in sorted({failure.seed for failure in result.failed}):
        with quiet():
            outcome = run_seed(seed).outcome
        if outcome is not None:
            say(f"seed {seed}: " + "; ".join(outcome.mishaps))
            for line in events_of(outcome):
                say(line)
