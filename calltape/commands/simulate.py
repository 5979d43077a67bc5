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
    show: Annotated[
        bool, typer.Option("--show", help="Print the events of every seed that failed, not of the first three alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate calls while workers die, freeze and are doubled, and the log loses and repeats; exit 0 if all held."""
    if as_json:
        result = _run(seeds, from_seed, jobs, show)
        emit(result.as_json())
    else:
        result = _with_progress(seeds, from_seed, jobs, show)
        _list(result)
        _tell(result)
    if result.failed:
        raise typer.Exit(1)


def _run(
    seeds: int, from_seed: int, jobs: int, show: bool, on_progress: Callable[[int, Result], None] | None = None
) -> Result:
    from calltape.simulation.run import MOST_LISTED, simulate_beside
    from calltape.simulation.run import simulate as run_seeds

    most_listed = None if show else MOST_LISTED
    if jobs == 1:
        return run_seeds(seeds, from_seed, on_progress, most_listed=most_listed)
    return simulate_beside(seeds, from_seed, jobs, on_progress, most_listed=most_listed)


def _with_progress(seeds: int, from_seed: int, jobs: int, show: bool) -> Result:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("calls", total=seeds)

        def on_progress(seed: int, so_far: Result) -> None:
            failed = len({failure.seed for failure in so_far.failed})
            progress.update(bar, advance=1, description=f"calls, {failed} failed" if failed else "calls")

        return _run(seeds, from_seed, jobs, show, on_progress)


def _tell(result: Result) -> None:
    failed = {failure.seed for failure in result.failed}
    minutes = max(result.seconds, 1e-9) / 60
    say(f"{result.seeds} calls in {result.seconds:.1f} s ({result.seeds / minutes:.0f} a minute), {len(failed)} failed")
    if result.happened:
        say("faults: " + ", ".join(f"{times} {name}" for name, times in sorted(result.happened.items())))
    if result.failed:
        rows = [(failure.seed, failure.invariant, failure.detail) for failure in result.failed]
        table(("seed", "broken", "what was seen"), rows)
        if len(failed) > len(result.listed):
            say("See the events of any other with `calltape simulate --seeds 1 --from-seed SEED`.")


def _list(result: Result) -> None:
    """Before the result, which then stands where one looks first: at the end."""
    for seed, listing in sorted(result.listed.items()):
        say(f"seed {seed}: " + ("; ".join(listing.mishaps) or "no mishaps"))
        for line in listing.events:
            say(line)
        say()
