"""`calltape chaos`: real processes, a real call, and something killed in the middle of it."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import AsJson, Refused, emit, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calltape.chaos.cases import Case
    from calltape.chaos.outcome import Outcome

AWAY_S = 60.0


def chaos(
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Only cases whose name holds this; may be repeated.")
    ] = None,
    ground: Annotated[
        str, typer.Option("--on", help="kafka (real Apache Kafka and PostgreSQL) or sqlite (two files).")
    ] = "kafka",
    away_s: Annotated[
        float, typer.Option("--away", min=1, help="Seconds a killed database stays away, a broker at most 20.")
    ] = AWAY_S,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Where the events of a case that failed are listed.")
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="Print the cases and stop.")] = False,
    as_table: Annotated[
        bool, typer.Option("--table", help="Print a sentence and a table in Markdown, as docs/reliability.md has them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Kill each process at each moment of a spoken call; exit 0 if nothing was lost or said twice.

    A case whose victim did not die in its moment, in three calls, is not ok either. Cases that are done are told on
    stderr.
    """
    wanted = _wanted(ground, case)
    if list_cases:
        names = [one.name for one in wanted]
        emit(names) if as_json else say("\n".join(names))
        return
    load, began_at = os.getloadavg()[0], time.monotonic()
    outcomes = _run(wanted, ground, away_s, keep, quiet=as_json)
    if as_json:
        emit([outcome.as_json() for outcome in outcomes])
    elif as_table:
        minutes = (time.monotonic() - began_at) / 60
        _print_markdown(outcomes, _command(case, ground, away_s), load=load, minutes=minutes)
    else:
        _print_table(outcomes)
    if not all(outcome.ok for outcome in outcomes):
        raise typer.Exit(1)


def _print_markdown(outcomes: Sequence[Outcome], command: str, *, load: float, minutes: float) -> None:
    from calltape.chaos.outcome import Trial, as_markdown

    say("\n".join(as_markdown(Trial(command, os.cpu_count() or 1, load, minutes), outcomes)))


def _print_table(outcomes: Sequence[Outcome]) -> None:
    from calltape.chaos.outcome import COLUMNS

    table(COLUMNS, [outcome.row for outcome in outcomes])


def _wanted(ground: str, parts: list[str] | None) -> list[Case]:
    """The cases that can be tried there and whose name holds one of the parts. Raises Refused."""
    from calltape.chaos.cases import CASES

    if ground not in ("kafka", "sqlite"):
        raise Refused(f"--on {ground!r}: write kafka or sqlite", code=2)
    possible = [one for one in CASES if ground == "kafka" or not one.needs]
    wanted = [one for one in possible if not parts or any(part in one.name for part in parts)]
    if not wanted:
        raise Refused("no case has such a name: calltape chaos --list", code=2)
    return wanted


def _command(parts: list[str] | None, ground: str, away_s: float) -> str:
    """What makes the same table again."""
    given = [f"--case {shlex.quote(part)}" for part in parts or ()]
    given += [f"--on {ground}"] if ground != "kafka" else []
    given += [f"--away {away_s:g}"] if away_s != AWAY_S else []
    return " ".join(("calltape chaos --table", *given))


def _run(wanted: Sequence[Case], ground: str, away_s: float, keep: Path | None, *, quiet: bool) -> list[Outcome]:
    import asyncio
    import tempfile

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from calltape.chaos.run import run_cases
    from calltape.local.processes import DidNotStart
    from calltape.logs import configure

    configure(level="error")
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = Progress(*columns, console=Console(stderr=True, soft_wrap=True), transient=True, disable=quiet)
    with shown, tempfile.TemporaryDirectory(prefix="calltape-chaos-", ignore_cleanup_errors=True) as folder:
        bar = shown.add_task("the undisturbed call", total=len(wanted))

        def on_case(outcome: Outcome) -> None:
            told = ", ".join(filter(None, (outcome.row[1], f"{outcome.dead_air_ms} ms dead air", outcome.note)))
            shown.update(bar, advance=1, description=f"after {outcome.case.name}")
            if not quiet:
                shown.console.print(f"{outcome.case.name}: {told}", markup=False, highlight=False)

        try:
            return asyncio.run(
                run_cases(wanted, ground=ground, folder=Path(folder), away_s=away_s, keep=keep, on_case=on_case)  # type: ignore[arg-type]
            )
        except DidNotStart as error:
            raise Refused(f"chaos could not begin: {error}") from error
