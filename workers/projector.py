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
        membership = await self._join()
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

    async def _join(self) -> Membership:
        while True:
            try:
                return await self._log.join("projector", topics.EVENTS.name, self._member)
            except LogUnavailable as error:
                logger.warning("cannot join, trying again", role="projector", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _step(self, membership: Membership, reader: Reader) -> None:
        if membership.assigned != self._assigned:
            await self._take_over(membership, reader)
            return
        if not self._assigned:
            await membership.changed(wait_ms=WAIT_MS)
            return
        records = await reader.read(max_records=BATCH, wait_ms=WAIT_MS)
        if records:
            await self._apply(records, membership, reader)
            self.lag_ms = max(0, self._now() - records[-1].at)

    async def _take_over(self, membership: Membership, reader: Reader) -> None:
        """Nothing of the old share is read any more, so that what was withdrawn can go to another at once, even while
        the database is away."""
        assigned = membership.assigned
        self._let_go(reader)
        await membership.changed(wait_ms=0)
        if assigned and await self._read_on(assigned, membership, reader):
            self._assigned = assigned

    async def _read_on(self, assigned: frozenset[int], membership: Membership, reader: Reader) -> bool:
        """From where the tables stand. False: the share changed while the database was away."""
        wait_s = RETRY_S
        while True:
            try:
                self._positions = await self._tables.positions()
                break
            except ProjectionUnavailable as error:
                wait_s = await self._wait(error, wait_s)
                if membership.assigned != assigned:
                    return False
        self.available = True
        starts = {}
        for partition in assigned:
            begin = await self._log.begin(topics.EVENTS.name, partition)
            starts[partition] = max(begin, self._positions.get(partition, 0))
        reader.assign(starts)
        return True

    async def _apply(self, records: Sequence[Record], membership: Membership, reader: Reader) -> None:
        """Until it is done, or the share changed: then it is read again, by whoever has it."""
        wait_s = RETRY_S
        while membership.assigned == self._assigned:
            try:
                self._positions.update(await self._tables.apply(records, self._positions))
            except ProjectionUnavailable as error:
                wait_s = await self._wait(error, wait_s)
            except PositionTaken as error:
                # Another projector, or our own commit whose answer was lost: the tables know.
                logger.warning("another projector was here", error=str(error))
                break
            else:
                self.available = True
                return
        self._let_go(reader)

    def _let_go(self, reader: Reader) -> None:
        """What was read was not applied, so nothing behind it may be: the share is taken over anew, even if it is the
        same again by then."""
        reader.assign({})
        self._assigned = frozenset()

    async def _wait(self, error: Exception, wait_s: float) -> float:
        self.available = False
        logger.warning("database unavailable, trying again", error=str(error), wait_s=wait_s)
        await asyncio.sleep(wait_s)
        return min(LONGEST_RETRY_S, wait_s * 2)
