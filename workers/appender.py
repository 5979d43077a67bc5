"""Gathers what many calls append in one moment into one append a topic, in order, and never gives a record up."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import structlog

from eventlog.port import Entry, Log, LogUnavailable

logger = structlog.get_logger()

RETRY_S = 0.1


class Appender:
    """One append in flight at a time, so that order holds. What is put waits in memory: its callers are bounded,
    each by one append in flight a call and by the replies they voice."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: dict[str, list[Entry]] = defaultdict(list)
        self._something = asyncio.Event()

    def put(self, topic: str, entry: Entry) -> None:
        """Append soon. The log's answer is what a reader reads."""
        self._waiting[topic].append(entry)
        self._something.set()

    async def run(self) -> None:
        """Append until cancelled. Raises LogBroken and LogClosed: no retry helps there."""
        while True:
            await self._something.wait()
            self._something.clear()
            waiting, self._waiting = self._waiting, defaultdict(list)
            for topic, entries in waiting.items():
                await self._append(topic, entries)

    async def _append(self, topic: str, entries: list[Entry]) -> None:
        while True:
            try:
                await self._log.append(topic, entries)
                return
            except LogUnavailable as error:
                # Whether it arrived is unknown; readers take a second copy for nothing.
                logger.warning("append failed, trying again", topic=topic, entries=len(entries), error=str(error))
                await asyncio.sleep(RETRY_S)
