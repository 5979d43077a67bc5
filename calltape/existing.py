"""Opens the log that somebody else writes: commands that only read must not begin an empty one."""

from __future__ import annotations

from pathlib import Path

from calltape.kafka import kafka_tuning
from calltape.log_topics import configured_topics
from calltape.settings import settings
from calltape.terminal import Refused
from calltape.world import now_ms
from eventlog.port import Log
from eventlog.uri import open_log

_SQLITE = "sqlite:///"


def existing_log() -> Log:
    """The configured log, to be opened with `async with`. Raises Refused when there is none to read."""
    uri = settings().log_uri
    if uri == "memory:":
        raise Refused("the log is memory:, which only its own process can read: name a file with CALLTAPE_LOG")
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists():
        raise Refused(
            f"there is no log at {uri}: start `calltape serve`, or name another with CALLTAPE_LOG or CALLTAPE_DATA"
        )
    return open_log(uri, now=now_ms, topics=configured_topics(settings()), kafka=kafka_tuning(settings()))
