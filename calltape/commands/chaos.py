"""`calltape chaos`: real processes, a real call, and something killed in the middle of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import AsJson, Refused, emit, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calltape.chaos.cases import Case
    from calltape.chaos.run import Outcome


def chaos(
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Only cases whose name holds this; may be repeated.")
    ] = None,
    ground: Annotated[
        str, typer.Option("--on", help="kafka (real Apache Kafka and PostgreSQL) or sqlite (two files).")
    ] = "kafka",
    away_s: Annotated[
        float, typer.Option("--away", min=1, help="Seconds a killed broker or database stays away.")
    ] = 60,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Where the events of a case that failed are listed.")
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="Print the cases and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Kill each process at each moment of a spoken call; exit 0 if nothing was lost or said twice."""
    from calltape.chaos.cases import CASES

    if ground not in ("kafka", "sqlite"):
        raise Refused(f"--on {ground!r}: write kafka or sqlite", code=2)
    wanted = [
        one
        for one in CASES
        if (ground == "kafka" or not one.needs) and (not case or any(part in one.name for part in case))
    ]
    if not wanted:
        raise Refused("no case has such a name: calltape chaos --list", code=2)
    if list_cases:
        names = [one.name for one in wanted]
        emit(names) if as_json else say("\n".join(names))
        return
    outcomes = _run(wanted, ground, away_s, keep, quiet=as_json)
    if as_json:
        emit([outcome.as_json() for outcome in outcomes])
    else:
        rows = [(o.case.name, "ok" if o.ok else "NOT OK", o.dead_air_ms, o.lost, o.doubled, o.note) for o in outcomes]
        table(("case", "", "dead air ms", "lost", "doubled", "note"), rows)
    if not all(outcome.ok for outcome in outcomes):
        raise typer.Exit(1)


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
    shown = Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet)
    with shown, tempfile.TemporaryDirectory(prefix="calltape-chaos-") as folder:
        bar = shown.add_task("the undisturbed call", total=len(wanted))

        def on_case(outcome: Outcome) -> None:
            shown.update(bar, advance=1, description=f"{outcome.case.name}: {'ok' if outcome.ok else 'NOT OK'}")

        try:
            return asyncio.run(
                run_cases(wanted, ground=ground, folder=Path(folder), away_s=away_s, keep=keep, on_case=on_case)  # type: ignore[arg-type]
            )
        except DidNotStart as error:
            raise Refused(f"chaos could not begin: {error}") from error
