"""`calltape topics` as a person types it: on a real broker, and where there is nothing to be made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from calltape.log_topics import configured_topics
from calltape.settings import load
from eventlog.kafka_topics import create_topics, delete_topics
from eventlog.kafka_tuning import KafkaTuning
from eventlog.uri import open_log
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


SIZED = {"CALLTAPE_PARTITIONS": "6", "CALLTAPE_MAILBOXES": "10", "CALLTAPE_OUTBOX_RETENTION": "5m"}


def test_topics_are_as_large_as_the_settings_say_and_nobody_else_opens_them(kafka: OnKafka) -> None:
    sized = kafka.settings | SIZED
    made = kafka.shell.json("topics", "create", **sized)["topics"]
    assert [(topic["partitions"], topic["problems"]) for topic in made] == [(6, []), (6, []), (10, []), (6, [])]
    assert made[2]["retention_ms"] == 300_000
    assert kafka.shell("check", **sized).stdout.count("takes events") == 1
    assert kafka.shell("tail", "--from-start", "--no-follow", **sized).returncode == 0
    for verb in (("topics", "describe"), ("topics", "create"), ("tail", "--from-start", "--no-follow")):
        refused = kafka.shell(*verb, **kafka.settings)
        assert refused.returncode == 1
        assert "6 partitions and should have 24" in refused.stderr
        assert "set CALLTAPE_PARTITIONS=6" in refused.stderr


@pytest.mark.parametrize(("changed", "advice"), [("PARTITIONS", "6"), ("MAILBOXES", "10")])
async def test_a_file_keeps_the_size_it_was_made_with(tmp_path: Path, changed: str, advice: str) -> None:
    shell = Shell(tmp_path)
    sized = load(_env_file=None, data=tmp_path, partitions=6, mailboxes=10)
    async with open_log(sized.log_uri, now=lambda: 1, topics=configured_topics(sized)) as log:
        assert [await log.partitions(name) for name in TOPICS] == [6, 6, 10, 6]
    assert shell("tail", "--from-start", "--no-follow", **SIZED).returncode == 0
    refused = shell("tail", "--from-start", "--no-follow", **SIZED | {f"CALLTAPE_{changed}": "7"})
    assert refused.returncode == 1
    assert f"has {advice} partitions" in refused.stderr and f"set CALLTAPE_{changed}={advice}" in refused.stderr


def test_a_topic_that_is_not_there_keeps_nothing(kafka: OnKafka) -> None:
    told = kafka.shell("topics", "describe", **kafka.settings)
    assert "for ever" not in told.stdout and "it does not exist" in told.stderr


def test_brokers_that_are_away_are_one_sentence(tmp_path: Path) -> None:
    refused = Shell(tmp_path)("topics", "describe", CALLTAPE_LOG="kafka://127.0.0.1:1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("calltape: topics at 127.0.0.1:1: no broker answers; check that")
    assert "CALLTAPE_LOG" in refused.stderr and "AddressFamily" not in refused.stderr
    assert refused.stderr.count("\n") == 1
