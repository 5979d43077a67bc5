"""`calltape topics` as a person types it: on a real broker, and where there is nothing to be made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from eventlog.kafka_topics import create_topics, delete_topics
from eventlog.kafka_tuning import KafkaTuning
from schema.topics import OUTBOX, TOPICS
from tests.integration.test_commands import Shell
from tests.support.kafka import kafka_bootstrap


@dataclass(frozen=True)
class OnKafka:
    """A place of one's own on the broker."""

    shell: Shell
    bootstrap: str
    tuning: KafkaTuning

    @property
    def settings(self) -> dict[str, str]:
        return {
            "CALLTAPE_LOG": f"kafka://{self.bootstrap}",
            "CALLTAPE_KAFKA_PREFIX": self.tuning.prefix,
            "CALLTAPE_MEDIA_RETENTION": "2h",
        }


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[OnKafka]:
    place = OnKafka(Shell(tmp_path), kafka_bootstrap(), KafkaTuning(prefix=f"test-{uuid4().hex[:6]}-"))
    yield place
    asyncio.run(delete_topics(place.bootstrap, list(TOPICS.values()), place.tuning))


def test_topics_are_made_once_and_described(kafka: OnKafka) -> None:
    names = [kafka.tuning.prefix + name for name in TOPICS]
    before = kafka.shell("topics", "describe", **kafka.settings)
    assert before.returncode == 1
    assert "run `calltape topics create`" in before.stderr
    first = kafka.shell.json("topics", "create", **kafka.settings)
    assert first["created"] == names
    again = kafka.shell.json("topics", "create", **kafka.settings)
    assert again["created"] == []
    there = kafka.shell.json("topics", "describe", **kafka.settings)["topics"]
    assert there == again["topics"]
    assert {topic["name"]: (topic["partitions"], topic["retention_ms"]) for topic in there} == {
        kafka.tuning.prefix + topic.name: (
            topic.partitions,
            7_200_000 if topic.name == "calls.media" else topic.retention_ms,
        )
        for topic in TOPICS.values()
    }
    assert [topic["problems"] for topic in there] == [[], [], [], []]
    assert "All topics are there already." in kafka.shell("topics", "create", **kafka.settings).stdout


def test_a_topic_with_other_partitions_is_an_error_that_says_what_to_do(kafka: OnKafka) -> None:
    asyncio.run(create_topics(kafka.bootstrap, [replace(OUTBOX, partitions=3)], kafka.tuning, 1))
    refused = kafka.shell("topics", "create", **kafka.settings)
    assert refused.returncode == 1
    assert "3 partitions and should have 64" in refused.stderr
    assert "CALLTAPE_KAFKA_PREFIX" in refused.stderr


def test_a_log_that_makes_its_topics_itself_has_nothing_to_be_made(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    made = shell("topics", "create")
    assert made.returncode == 0
    assert made.stdout.startswith("Nothing is to be created")
    there = shell.json("topics", "describe")
    assert there["created"] == []
    assert [topic["name"] for topic in there["topics"]] == list(TOPICS)


def test_brokers_that_are_away_are_one_sentence(tmp_path: Path) -> None:
    refused = Shell(tmp_path)("topics", "describe", CALLTAPE_LOG="kafka://127.0.0.1:1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("calltape: topics at 127.0.0.1:1")
    assert refused.stderr.count("\n") == 1
