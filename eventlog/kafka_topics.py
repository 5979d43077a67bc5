"""Makes and describes the topics of a log on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from eventlog.kafka_driver import connection, otherwise_sized, quieten, starting, translated
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import LogBroken
from schema.topics import Topic

# What we set on a topic; the rest is the cluster's.
_OURS = ("cleanup.policy", "message.timestamp.type", "min.insync.replicas", "retention.ms")
_MOST_COPIES = 3


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """A topic as the brokers have it; `partitions` 0: there is none. `problems` say what calltape cannot live with."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    problems: tuple[str, ...]


async def create_topics(
    bootstrap: str, topics: Sequence[Topic], tuning: KafkaTuning, replication: int
) -> tuple[list[str], list[KafkaTopic]]:
    """Make what is missing; the names of those made, and all as they are then. Harmless when repeated.

    `replication` 0: as many copies as there are brokers, at most three. Raises LogUnavailable and LogBroken, also when
    a topic that exists has another number of partitions.
    """
    async with _admin(bootstrap, tuning) as admin:
        there = await _described(admin, topics, tuning)
        _raise_for(bootstrap, there)
        missing = [topic for topic, found in zip(topics, there, strict=True) if not found.partitions]
        if missing:
            copies = replication or min(_MOST_COPIES, len((await admin.describe_cluster())["brokers"]))
            answer = await admin.create_topics([_new(topic, tuning.prefix, copies) for topic in missing])
            _raise_unless_made(answer.topic_errors)
            there = await _settled(admin, topics, tuning)
            _raise_for(bootstrap, there)
        return [tuning.prefix + topic.name for topic in missing], there


async def describe_topics(bootstrap: str, topics: Sequence[Topic], tuning: KafkaTuning) -> list[KafkaTopic]:
    """The topics as they are. Raises LogUnavailable and LogBroken."""
    async with _admin(bootstrap, tuning) as admin:
        return await _described(admin, topics, tuning)


async def delete_topics(bootstrap: str, topics: Sequence[Topic], tuning: KafkaTuning) -> None:
    """Remove them with all they hold."""
    async with _admin(bootstrap, tuning) as admin:
        await admin.delete_topics([tuning.prefix + topic.name for topic in topics])


@asynccontextmanager
async def _admin(bootstrap: str, tuning: KafkaTuning) -> AsyncIterator[Any]:
    quieten()
    admin = AIOKafkaAdminClient(**connection(bootstrap, tuning), request_timeout_ms=tuning.request_ms)
    try:
        with translated(f"topics at {bootstrap}"):
            async with asyncio.timeout(tuning.open_ms / 1000):
                with starting():
                    await admin.start()
                yield admin
    finally:
        await admin.close()


def _new(topic: Topic, prefix: str, copies: int) -> NewTopic:
    configs = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(max(1, copies - 1)),
        "retention.ms": str(-1 if topic.retention_ms is None else topic.retention_ms),
    }
    if topic.retention_ms is not None:
        # Whole segments expire: one is closed after an eighth of the time, and in any case after a day.
        configs["segment.ms"] = str(min(topic.retention_ms // 8, 24 * 3_600_000))
    return NewTopic(
        name=prefix + topic.name, num_partitions=topic.partitions, replication_factor=copies, topic_configs=configs
    )


def _raise_unless_made(answers: Sequence[Sequence[Any]]) -> None:
    for name, code, *said in answers:
        error = errors.for_code(code)
        if error not in (errors.NoError, errors.TopicAlreadyExistsError):
            reason = next((text for text in said if text), error.__name__)
            raise LogBroken(f"{name} was not made: {reason}")


async def _settled(admin: Any, topics: Sequence[Topic], tuning: KafkaTuning) -> list[KafkaTopic]:
    """As they are once every broker knows them."""
    while True:
        there = await _described(admin, topics, tuning)
        if all(found.partitions for found in there):
            return there
        await asyncio.sleep(0.05)


async def _described(admin: Any, topics: Sequence[Topic], tuning: KafkaTuning) -> list[KafkaTopic]:
    names = [tuning.prefix + topic.name for topic in topics]
    found = {one["topic"]: one["partitions"] for one in await admin.describe_topics(names) if not one["error_code"]}
    there = [name for name in names if found.get(name)]
    configs = await _configs(admin, there) if there else {}
    return [
        _as_found(topic, name, found.get(name, []), configs.get(name, {}))
        for topic, name in zip(topics, names, strict=True)
    ]


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, configs=None) for name in names]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(wanted):
        for _code, _said, _kind, name, entries in answer.resources:
            found[name] = {entry[0]: entry[1] for entry in entries if entry[0] in _OURS}
    return found


def _as_found(topic: Topic, name: str, partitions: Sequence[Any], configs: Mapping[str, str]) -> KafkaTopic:
    copies = min([len(partition["replicas"]) for partition in partitions], default=0)
    problems: list[str] = []
    if not partitions:
        problems.append("it does not exist: run `calltape topics create`")
    elif len(partitions) != topic.partitions:
        problems.append(f"it {otherwise_sized(topic, len(partitions))}, or delete it if nothing of it is needed")
    if partitions and configs.get("message.timestamp.type") not in (None, "LogAppendTime"):
        problems.append("it keeps the writer's time: set message.timestamp.type=LogAppendTime on it")
    if partitions and configs.get("cleanup.policy") not in (None, "delete"):
        problems.append("it is compacted, which loses events: set cleanup.policy=delete on it")
    wanted = str(-1 if topic.retention_ms is None else topic.retention_ms)
    if partitions and topic.retention_ms is None and configs.get("retention.ms", "-1") != wanted:
        problems.append("its records expire, and calls are built from them: set retention.ms=-1 on it")
    return KafkaTopic(name, len(partitions), copies, dict(sorted(configs.items())), tuple(problems))


def _raise_for(bootstrap: str, topics: Sequence[KafkaTopic]) -> None:
    wrong = [f"{topic.name}: {problem}" for topic in topics if topic.partitions for problem in topic.problems]
    if wrong:
        raise LogBroken(f"topics at {bootstrap} cannot be used; " + "; ".join(wrong))
