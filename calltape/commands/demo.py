"""`calltape demo`: hear the whole system answer a spoken call, with no account, no key and no network."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import AsJson, Refused, emit

if TYPE_CHECKING:
    from calltape.demo import Ground
    from clients.script import Script


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
    from calltape.commands.call import said
    from calltape.demo import SCRIPT, spoken
    from calltape.folders import made_folder
    from calltape.logs import configure

    stands_on = _ground(ground)
    script = spoken(said(words)) if words else SCRIPT
    _require_engines()
    configure(level="error")
    folder = made_folder(data or Path(tempfile.mkdtemp(prefix="calltape-demo-")))
    problems = (_run_as_json if as_json else _run_live)(script, folder, stands_on)
    if problems:
        raise Refused("the demo did not go as it should: " + "; ".join(problems))


def _ground(name: str) -> Ground:
    from calltape.demo import GROUNDS

    if name not in GROUNDS:
        raise Refused(f"--on {name!r}: write {', '.join(map(repr, GROUNDS))}", code=2)
    return GROUNDS[name]


def _require_engines() -> None:
    try:
        import espeakng_loader  # noqa: F401
        import pocketsphinx  # noqa: F401
    except ImportError as error:
        from schema.extras import install

        raise Refused(f"the offline engines are missing ({error.name}): {install('demo')}") from error


def _run_as_json(script: Script, folder: Path, ground: Ground) -> tuple[str, ...]:
    """What did not happen."""
    from calltape.demo import run_demo

    done = asyncio.run(run_demo(script, folder, lambda event, at: None, ground=ground))
    emit(done.result)
    return done.problems


def _run_live(script: Script, folder: Path, ground: Ground) -> tuple[str, ...]:
    """What did not happen."""
    from rich.console import Console
    from rich.text import Text

    from calltape.demo import run_demo
    from calltape.demo_view import DemoView, print_result

    console = Console(highlight=False)
    console.print("A caller phones the note taker. Everything you see is read from the event log.\n")
    with DemoView(console) as view:
        done = asyncio.run(run_demo(script, folder, view.show, ground=ground))
    print_result(console, done.result)
    if ground != "kafka":  # whose servers are gone by now
        # A folder's name is no markup.
        console.print(Text(f"\nLook again: {look_again(folder, done.result['call_id'])}"), soft_wrap=True)
    return done.problems


def look_again(folder: Path, call_id: str) -> str:
    """The command that shows the call once more, to be pasted into a shell."""
    return f"CALLTAPE_DATA={shlex.quote(str(folder))} {shlex.quote(_ourselves())} show {call_id[:8]}"


def _ourselves() -> str:
    """How this calltape is called from here: `make demo` leaves it off the PATH."""
    beside = Path(sys.executable).with_name("calltape")
    found = shutil.which("calltape")
    if found is not None and Path(found).resolve() == beside.resolve():
        return "calltape"
    return os.path.relpath(beside)
