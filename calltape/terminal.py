"""How commands talk: data to stdout as JSON or a table, refusals as one sentence."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from schema.controls import visible

_UNFOLDED = 1000  # columns
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


class Refused(Exception):
    """The command cannot do what it promises; the message says why and what to do."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def no_port(host: str, port: int, error: OSError) -> Refused:
    """What to do when the doors' port cannot be had."""
    if error.errno == errno.EADDRINUSE:
        # The loop's own words for it repeat the address.
        why, advice = os.strerror(error.errno), "is another server running? Choose another with CALLTAPE_PORT"
    else:
        why, advice = str(error.strerror), "correct CALLTAPE_HOST or CALLTAPE_PORT"
    return Refused(f"cannot listen on {host}:{port} ({why}): {advice}")


def emit(value: Any) -> None:
    """One JSON document."""
    say(json.dumps(value, indent=2, ensure_ascii=_is_narrow()))


def emit_line(value: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, at once: somebody may be reading along."""
    say(json.dumps(value, ensure_ascii=_is_narrow()))


def _is_narrow() -> bool:
    """Whether the reader cannot be given every character as it is."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"


def say(text: str = "") -> None:
    """A line of text. What a caller brought to steer the reader's terminal is seen, and does nothing."""
    sys.stdout.write(f"{visible(text)}\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings. A terminal folds what is too wide; a file gets every row on one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for column in columns:
        shown.add_column(Text(column), overflow="fold")
    for row in rows:
        shown.add_row(*(Text("" if cell is None else visible(str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else _UNFOLDED).print(shown)
