"""Keeps the read models: applies calls.events to the tables, exactly once because position and effect are one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from eventlog.port import Log, LogUnavailable, Membership, Reader, Record
from projections.errors import PositionTaken, ProjectionUnavailable
from schema import topics

logger = structlog.get_logger()

BATCH = 500
WAIT_MS = 200
RETRY_S = 0.2
LONGEST_RETRY_S = 5.0


class ReadModels(Protocol):
    """`projections.applying.Tables`, or its simulation."""

    async def positions(self) -> dict[int, int]: ...

    async def apply(self, records: Sequence[Record], expected: Mapping[int, int]) -> dict[int, int]: ...


class Projector:
    """One process's share of the projection. Live calls do not notice when its database is away."""

    def __init__(self, log: Log, tables: ReadModels, *, instance: str, now: Callable[[], int]) -> None:
        self._log = log
        self._tables = tables
        self._member = f"projector:{instance}"
        self._now = now
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self.lag_ms = 0
        self.available = True

    async def run(self) -> None:
        """Work until cancelled. Raises LogBroken and LogClosed."""
        membership = await self._log.join("projector", topics.EVENTS.name, self._member)
        reader = self._log.reader(topics.EVENTS.name, {})
        try:
            while True:
                try:
                    await self._step(membership, reader)
                except LogUnavailable as error:
                    logger.warning("log unavailable, trying again", role="projector", error=str(error))
                    await asyncio.sleep(RETRY_S)
        finally:
            await reader.close()
            await membership.leave()

    async def _step(self, membership: Membership, reader: Reader) -> None:
        if membership.assigned != self._assigned:
            await self._assign(membership.assigned, reader)
            # What was withdrawn is another's from here on.
            await membership.changed(wait_ms=0)
        if not self._assigned:
            await membership.changed(wait_ms=WAIT_MS)
            return
        records = await reader.read(max_records=BATCH, wait_ms=WAIT_MS)
        if records:
            await self._apply(records, reader)
            self.lag_ms = max(0, self._now() - records[-1].at)

    async def _assign(self, assigned: frozenset[int], reader: Reader) -> None:
        self._positions = await self._patiently_positions()
        starts = {}
        for partition in assigned:
            begin = await self._log.begin(topics.EVENTS.name, partition)
            starts[partition] = max(begin, self._positions.get(partition, 0))
        reader.assign(starts)
        self._assigned = assigned

    async def _patiently_positions(self) -> dict[int, int]:
        wait_s = RETRY_S
        while True:
            try:
                positions = await self._tables.positions()
            except ProjectionUnavailable as error:
                wait_s = await self._wait(error, wait_s)
            else:
                self.available = True
                return positions

    async def _apply(self, records: Sequence[Record], reader: Reader) -> None:
        wait_s = RETRY_S
        while True:
            try:
                self._positions.update(await self._tables.apply(records, self._positions))
            except ProjectionUnavailable as error:
                wait_s = await self._wait(error, wait_s)
            except PositionTaken as error:
                logger.warning("another projector was here", error=str(error))
                await self._assign(self._assigned, reader)
                return
            else:
                self.available = True
                return

    async def _wait(self, error: Exception, wait_s: float) -> float:
        self.available = False
        logger.warning("database unavailable, trying again", error=str(error), wait_s=wait_s)
        await asyncio.sleep(wait_s)
        return min(LONGEST_RETRY_S, wait_s * 2)
