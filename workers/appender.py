"""Gathers what many calls append in one moment into one append a topic, in order, for as long as the log is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from eventlog.port import Entry, EntryTooLarge, Log, LogUnavailable
from schema import topics

logger = structlog.get_logger()

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 1.0


@dataclass(slots=True)
class _Lane:
    waiting: list[Entry] = field(default_factory=list)
    something: asyncio.Event = field(default_factory=asyncio.Event)
    put: int = 0  # entries ever
    taken: int = 0  # of them, those the log said it has, or will never take: always the first ones


class Appender:
    """One append in flight at a time a topic, so that order holds; no topic waits for another's. What is put waits in
    memory: its callers are bounded, each by one append in flight a call and by the replies they voice. Who repeats
    what may have been lost asks first whether it has left (`has_taken`). An entry too large for the log is left out
    alone, whatever was put beside it: one call's fact ends no process, and `refused` is told of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.refused: Callable[[str, Entry], None] = lambda topic, entry: None  # topic, entry: it will never be there
        self._lanes = {topic: _Lane() for topic in (topics.EVENTS.name, topics.OUTBOX.name)}

    def put(self, topic: str, entry: Entry) -> int:
        """Append soon. The log's answer is what a reader reads. Returns the entry's number, for `has_taken`."""
        lane = self._lanes[topic]
        lane.waiting.append(entry)
        lane.put += 1
        lane.something.set()
        return lane.put

    def has_taken(self, topic: str, number: int) -> bool:
        """Whether the log said that it has this entry, or never takes it. Until then it waits here, and a second one
        would behind it."""
        return number <= self._lanes[topic].taken

    def pending(self, topic: str) -> int:
        """Entries that the log has not taken yet."""
        lane = self._lanes[topic]
        return lane.put - lane.taken

    async def run(self) -> None:
        """Append until cancelled. Raises LogBroken and LogClosed, in an ExceptionGroup: no retry helps there."""
        async with asyncio.TaskGroup() as tasks:
            for topic, lane in self._lanes.items():
                tasks.create_task(self._follow(topic, lane))

    async def _follow(self, topic: str, lane: _Lane) -> None:
        while True:
            await lane.something.wait()
            lane.something.clear()
            waiting, lane.waiting = lane.waiting, []
            await self._append(topic, waiting)
            lane.taken += len(waiting)

    async def _append(self, topic: str, entries: list[Entry]) -> None:
        """All of them but those that are too large: found by halves, since a log refuses an append as a whole."""
        try:
            await self._append_whole(topic, entries)
        except EntryTooLarge as error:
            if len(entries) > 1:
                half = len(entries) // 2
                await self._append(topic, entries[:half])
                await self._append(topic, entries[half:])
                return
            (entry,) = entries
            size = len(entry.value)
            logger.error(
                "too large for the log, left out", topic=topic, call_id=entry.key, bytes=size, error=str(error)
            )
            self.refused(topic, entry)

    async def _append_whole(self, topic: str, entries: list[Entry]) -> None:
        wait_s = FIRST_RETRY_S
        while True:
            try:
                await self._log.append(topic, entries)
                return
            except LogUnavailable as error:
                # Whether it arrived is unknown; readers take a second copy for nothing.
                logger.warning("append failed, trying again", topic=topic, entries=len(entries), error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_RETRY_S)
