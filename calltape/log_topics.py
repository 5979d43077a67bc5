"""The topics of the log, of the size and with the retention the settings ask for."""

from __future__ import annotations

from calltape.settings import Settings
from schema.topics import Topic, topics_with


def configured_topics(settings: Settings) -> dict[str, Topic]:
    """By name. Every process of one calltape must be given the same."""
    return topics_with(
        partitions=settings.partitions,
        mailboxes=settings.mailboxes,
        media_ms=_ms(settings.media_retention),
        outbox_ms=_ms(settings.outbox_retention),
        runs_ms=_ms(settings.runs_retention),
    )


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
