"""Which log a URI names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eventlog.memory import MemoryLog
from eventlog.port import Log, LogError
from eventlog.sqlite import SqliteLog
from eventlog.sqlite_file import Tuning
from schema.topics import MEDIA, TOPICS

_SQLITE = "sqlite:///"
_FORMS = "sqlite:///relative/path, sqlite:////absolute/path or memory:"


def open_log(
    uri: str, *, now: Callable[[], int], tuning: Tuning | None = None, media_retention_ms: int | None = None
) -> Log:
    """The log of that name, to be opened with `async with`. `tuning` is for SQLite. Raises LogError."""
    topics = dict(TOPICS)
    if media_retention_ms is not None:
        topics[MEDIA.name] = replace(MEDIA, retention_ms=media_retention_ms)
    if uri == "memory:":
        return MemoryLog(now=now, topics=topics)
    if uri.startswith(_SQLITE) and len(uri) > len(_SQLITE):
        return SqliteLog(Path(uri.removeprefix(_SQLITE)), now=now, topics=topics, tuning=tuning)
    if uri.startswith("kafka:"):
        raise LogError(f"this version of calltape has no Kafka log yet: LOG must be {_FORMS}")
    raise LogError(f"LOG is {uri!r}, which names no log: it must be {_FORMS}")
