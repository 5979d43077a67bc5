"""`calltape topics`: makes the log's topics on Kafka, and says how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calltape.terminal import AsJson, Refused, emit, say, table

if TYPE_CHECKING:
    from calltape.settings import Settings
    from eventlog.kafka_topics import KafkaTopic
    from schema.topics import Topic

_COLUMNS = ("topic", "partitions", "copies", "keeps", "problems")


class Deed(StrEnum):
    """What to do with the topics."""

    CREATE = "create"
    DESCRIBE = "describe"


def topics(
    deed: Annotated[Deed, typer.Argument(help="`create` (harmless when repeated) or `describe`.")],
    as_json: AsJson = False,
) -> None:
    """Make the topics of a Kafka log, or say how they are; other logs make theirs themselves."""
    from calltape.log_topics import configured_topics
    from calltape.settings import settings
    from eventlog.uri import is_kafka

    configured = settings()
    wanted = list(configured_topics(configured).values())
    if is_kafka(configured.log_uri):
        made, there = asyncio.run(_on_kafka(deed, configured, wanted))
    else:
        made, there = [], [_as_it_is(topic) for topic in wanted]
    if as_json:
        emit({"log": configured.log_uri, "created": made, "topics": there})
    else:
        if deed is Deed.CREATE:
            say(_made(made, kafka=is_kafka(configured.log_uri)))
        table(_COLUMNS, [_row(topic) for topic in there])
    problems = [f"{topic['name']}: {problem}" for topic in there for problem in topic["problems"]]
    if problems:
        raise Refused("; ".join(problems))


async def _on_kafka(deed: Deed, configured: Settings, wanted: Sequence[Topic]) -> tuple[list[str], list[Any]]:
    from calltape.kafka import kafka_tuning
    from eventlog.port import LogError
    from eventlog.uri import bootstrap_of
    from schema.extras import install

    bootstrap, tuning = bootstrap_of(configured.log_uri), kafka_tuning(configured)
    try:
        from eventlog.kafka_topics import create_topics, describe_topics
    except ModuleNotFoundError as error:
        raise LogError(f"{error.name} is not installed: {install('kafka')}") from error
    if deed is Deed.CREATE:
        made, there = await create_topics(bootstrap, wanted, tuning, configured.kafka_replication)
    else:
        made, there = [], await describe_topics(bootstrap, wanted, tuning)
    return made, [_as_found(topic) for topic in there]


def _as_found(topic: KafkaTopic) -> dict[str, Any]:
    kept = int(topic.configs.get("retention.ms", "-1"))
    return {
        "name": topic.name,
        "partitions": topic.partitions,
        "replication": topic.replication,
        "retention_ms": None if kept < 0 else kept,
        "configs": dict(topic.configs),
        "problems": list(topic.problems),
    }


def _as_it_is(topic: Topic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "partitions": topic.partitions,
        "replication": 1,
        "retention_ms": topic.retention_ms,
        "configs": {},
        "problems": [],
    }


def _made(names: Sequence[str], *, kafka: bool) -> str:
    if not kafka:
        return "Nothing is to be created: this log makes its topics itself."
    return f"Created {', '.join(names)}." if names else "All topics are there already."


def _row(topic: dict[str, Any]) -> tuple[object, ...]:
    kept = topic["retention_ms"]
    keeps = "for ever" if kept is None else f"{kept / 3_600_000:g} h"
    if not topic["partitions"]:
        keeps = "-"  # there is no such topic
    return (topic["name"], topic["partitions"], topic["replication"], keeps, "; ".join(topic["problems"]) or "none")
