"""`calltape demo`: hear the whole system answer a spoken call, with no account, no key and no network."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from calltape.terminal import AsJson, Refused, emit


def demo(
    words: Annotated[
        list[str] | None,
        typer.Option("--say", metavar="TEXT", help="What the caller says instead; repeat for more."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where log, tables and recording go; default: a temporary one."),
    ] = None,
    ground: Annotated[
        str,
        typer.Option(
            "--on",
            help="`one process` on SQLite; `sqlite` or `kafka` (a real Apache Kafka and a real PostgreSQL, brought up "
            "and taken down here): each role in a process of its own.",
        ),
    ] = "one process",
    as_json: AsJson = False,
) -> None:
    """Place a spoken call through the whole system and show it live; exit 0 only if all of it happened."""
    from rich.console import Console

    from calltape.demo import GROUNDS, SCRIPT, run_demo, spoken
    from calltape.demo_view import DemoView, print_result
    from calltape.folders import made_folder
    from calltape.logs import configure

    if ground not in GROUNDS:
        raise Refused(f"--on {ground!r}: write sqlite or kafka", code=2)
    stands_on = GROUNDS[ground]
    try:
        import espeakng_loader  # noqa: F401
        import pocketsphinx  # noqa: F401
    except ImportError as error:
        raise Refused(f"the offline engines are missing ({error.name}): pip install 'calltape[demo]'") from error
    configure(level="error")
    folder = made_folder(data or Path(tempfile.mkdtemp(prefix="calltape-demo-")))
    script = spoken(words) if words else SCRIPT
    console = Console(stderr=as_json, highlight=False)
    if as_json:
        done = asyncio.run(run_demo(script, folder, lambda event, at: None, ground=stands_on))
        emit(done.result)
    else:
        console.print("A caller phones the note taker. Everything you see is read from the event log.\n")
        with DemoView(console) as view:
            done = asyncio.run(run_demo(script, folder, view.show, ground=stands_on))
        print_result(console, done.result)
        console.print(
            f"\nLook again: CALLTAPE_DATA={folder} calltape show {done.result['call_id'][:8]}", soft_wrap=True
        )
    _refuse(done.problems)


def _refuse(problems: tuple[Any, ...]) -> None:
    if problems:
        raise Refused("the demo did not go as it should: " + "; ".join(problems))
