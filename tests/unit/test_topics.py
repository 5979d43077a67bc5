"""One call is one partition, the same everywhere: our hash is Kafka's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.registry import EVENTS
from schema.topics import EVENTS as EVENTS_TOPIC
from schema.topics import (
    MAILBOXES,
    MEDIA,
    PARTITIONS,
    RENDERED,
    TOPICS,
    Topic,
    mailbox_of,
    murmur2,
    partition_of,
    topics_with,
)

# From Kafka's own test of `Utils.murmur2`, signed 32 bits as Java has them.
VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("text", "signed"), VECTORS.items())
def test_the_hash_is_the_one_of_kafkas_java_client(text: str, signed: int) -> None:
    assert murmur2(text.encode()) == signed % 2**32


@given(st.text(), st.integers(1, 1000))
def test_every_key_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


@given(st.text(), st.integers(1, 1000))
def test_every_instance_has_a_mailbox(instance: str, mailboxes: int) -> None:
    assert 0 <= mailbox_of(instance, mailboxes) < mailboxes


def test_a_log_is_as_large_as_it_is_made_unless_nobody_says() -> None:
    sized = topics_with(partitions=6, mailboxes=200, media_ms=1, outbox_ms=2, runs_ms=3)
    assert {name: (topic.partitions, topic.retention_ms) for name, topic in sized.items()} == {
        "calls.media": (6, 1),
        "calls.events": (6, None),
        "calls.outbox": (200, 2),
        "runs.events": (6, 3),
    }
    assert topics_with() == topics_with(partitions=PARTITIONS, mailboxes=MAILBOXES) == TOPICS


@pytest.mark.parametrize("topics", [TOPICS, topics_with(partitions=7)])
def test_sound_and_facts_of_a_call_share_a_partition_number(topics: dict[str, Topic]) -> None:
    assert topics[MEDIA.name].partitions == topics[EVENTS_TOPIC.name].partitions


def test_facts_are_kept_for_ever_and_sound_is_not() -> None:
    assert EVENTS_TOPIC.retention_ms is None
    assert MEDIA.retention_ms is not None


def test_only_known_events_are_copied_to_the_outbox() -> None:
    assert set(EVENTS) >= RENDERED
