"""Which event travels where: one table of topics, their keys, codecs and what an outbox carries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Topic:
    """`retention_ms` None keeps for ever."""

    name: str
    key: str
    codec: Literal["json", "msgpack"]
    retention_ms: int | None
    partitions: int

    @property
    def sized_by(self) -> str:
        """The setting that says how many partitions there are."""
        return "CALLTAPE_MAILBOXES" if self.key == "mailbox" else "CALLTAPE_PARTITIONS"


HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# calls.media and calls.events have the same number of partitions and the same partitioner, so that one call is
# partition p in both. The number never changes for a topic: growth is a new topic generation. These are the defaults;
# who needs the numbers of a log asks the log.
PARTITIONS = 24
MAILBOXES = 64  # at least ten times the ingest instances: two that share one read each other's mail for nothing

MEDIA = Topic("calls.media", "call_id", "msgpack", 7 * DAY_MS, PARTITIONS)
EVENTS = Topic("calls.events", "call_id", "json", None, PARTITIONS)
OUTBOX = Topic("calls.outbox", "mailbox", "msgpack", HOUR_MS, MAILBOXES)
RUNS = Topic("runs.events", "run + call_id", "json", 30 * DAY_MS, PARTITIONS)

TOPICS = {topic.name: topic for topic in (MEDIA, EVENTS, OUTBOX, RUNS)}


def topics_with(
    *,
    partitions: int = PARTITIONS,
    mailboxes: int = MAILBOXES,
    media_ms: int | None = MEDIA.retention_ms,
    outbox_ms: int | None = OUTBOX.retention_ms,
    runs_ms: int | None = RUNS.retention_ms,
) -> dict[str, Topic]:
    """The topics of a log of this size, which keeps things for so long. Facts are kept for ever."""
    sized = (
        replace(MEDIA, partitions=partitions, retention_ms=media_ms),
        replace(EVENTS, partitions=partitions),
        replace(OUTBOX, partitions=mailboxes, retention_ms=outbox_ms),
        replace(RUNS, partitions=partitions, retention_ms=runs_ms),
    )
    return {topic.name: topic for topic in sized}


# Conversation copies these to the mailbox of the live stream, whoever said them (dialects ignore what their
# protocol cannot say). What a stream is told before its own stream.opened was said before it.
RENDERED = frozenset(
    {
        "call.adopted",
        "call.started",
        "speech.started",
        "speech.stopped",
        "transcript.revised",
        "transcript.settled",
        "turn.taken",
        "reply.started",
        "reply.resumed",
        "reply.sentence",
        "reply.composed",
        "reply.finished",
        "reply.interrupted",
        "agent.changed",
        "tool.called",
        "tool.returned",
        "stream.opened",
        "stream.superseded",
        "stream.lost",
        "stream.degraded",
        "call.transferred",
        "call.ended",
        "work.failed",
        "engine.changed",
    }
)


def murmur2(data: bytes) -> int:
    """Kafka's partitioner hash (Java's `Utils.murmur2`), 32 bits, unsigned."""
    length = len(data)
    mask = 0xFFFFFFFF
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & mask
    whole = length - length % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & mask
        k ^= k >> 24
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
    rest = data[whole:]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, as Kafka's default partitioner gives it."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def mailbox_of(instance: str, mailboxes: int = MAILBOXES) -> int:
    """The outbox partition an ingest instance listens to. `mailboxes`: the log's number of them."""
    return partition_of(instance, mailboxes)
