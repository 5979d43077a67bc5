"""Which log a URI names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from eventlog.kafka_tuning import KafkaTuning
from eventlog.memory import MemoryLog
from eventlog.port import Log, LogError
from eventlog.sqlite import SqliteLog
from eventlog.sqlite_file import Tuning
from schema.extras import install
from schema.topics import TOPICS, Topic

_SQLITE = "sqlite:///"
_KAFKA = "kafka://"
_BROKER = re.compile(r"(?:[^\s/:@?#\[\]]+|\[[^\s/@?#\[\]]+\]):(?P<port>[0-9]{1,5})")
_FORMS = "sqlite:///relative/path, sqlite:////absolute/path, kafka://host:port[,host:port] or memory:"


def open_log(
    uri: str,
    *,
    now: Callable[[], int],
    tuning: Tuning | None = None,
    kafka: KafkaTuning | None = None,
    topics: Mapping[str, Topic] = TOPICS,
) -> Log:
    """The log of that name, to be opened with `async with`. `tuning` is for SQLite. Raises LogError.

    A log that has other numbers of partitions than `topics` refuses to be opened.
    """
    if uri == "memory:":
        return MemoryLog(now=now, topics=topics)
    if uri.startswith(_SQLITE) and len(uri) > len(_SQLITE):
        return SqliteLog(Path(uri.removeprefix(_SQLITE)), now=now, topics=topics, tuning=tuning)
    if is_kafka(uri):
        try:
            from eventlog.kafka import KafkaLog
        except ModuleNotFoundError as error:
            raise LogError(f"LOG is {uri!r}, and {error.name} is not installed: {install('kafka')}") from error
        return KafkaLog(bootstrap_of(uri), now=now, topics=topics, tuning=kafka)
    raise LogError(f"LOG is {_shown(uri)!r}, which names no log: it must be {_FORMS}")


def is_kafka(uri: str) -> bool:
    return uri.startswith("kafka:")


def bootstrap_of(uri: str) -> str:
    """host:port, comma separated, of a `kafka:` URI. Raises LogError."""
    if "@" in uri:
        apart = "set CALLTAPE_KAFKA_USERNAME and CALLTAPE_KAFKA_PASSWORD instead"
        raise LogError(f"LOG is {_shown(uri)!r}, which has a user or a password in it: {apart}")
    brokers = uri.removeprefix(_KAFKA).split(",") if uri.startswith(_KAFKA) else [""]
    for broker in brokers:
        named = _BROKER.fullmatch(broker)
        if named is None or not 0 < int(named["port"]) < 65_536:
            raise LogError(f"LOG is {uri!r}, which names no brokers: it must be kafka://host:port[,host:port]")
    return ",".join(brokers)


def _shown(uri: str) -> str:
    """As it may be told: what stands before an @ may be a password."""
    _, at, place = uri.rpartition("@")
    return f"{uri.partition(':')[0]}://***@{place}" if at else uri
