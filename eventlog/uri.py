"""Which log a URI names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eventlog.memory import MemoryLog
from eventlog.port import Log, LogError
from eventlog.sqlite import SqliteLog
from eventlog.sqlite_file import Tuning

_SQLITE = "sqlite:///"
_FORMS = "sqlite:///relative/path, sqlite:////absolute/path or memory:"


def open_log(uri: str, *, now: Callable[[], int], tuning: Tuning | None = None) -> Log:
    """The log of that name, to be opened with `async with`. `tuning` is for SQLite. Raises LogError."""
    if uri == "memory:":
        return MemoryLog(now=now)
    if uri.startswith(_SQLITE) and len(uri) > len(_SQLITE):
        return SqliteLog(Path(uri.removeprefix(_SQLITE)), now=now, tuning=tuning)
    if uri.startswith("kafka:"):
        raise LogError(f"this version of calltape has no Kafka log yet: LOG must be {_FORMS}")
    raise LogError(f"LOG is {uri!r}, which names no log: it must be {_FORMS}")
