"""Calls as they stood at a position of the log: the same tables, folded into memory up to there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from eventlog.port import Record
from projections.database import open_database
from projections.rebuild import rebuild
from projections.tables import METADATA


@asynccontextmanager
async def as_of(records: Iterable[Record], position: int) -> AsyncIterator[AsyncEngine]:
    """A database for `projections.queries` that knows the records up to `position`, and that one too.

    Positions of different partitions do not compare: give the records of one partition, or of one call.
    """
    known = [record for record in records if record.position <= position]
    engine = open_database(":memory:")
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_fill, known)
        yield engine
    finally:
        await engine.dispose()


def _fill(connection: Connection, records: list[Record]) -> None:
    METADATA.create_all(connection)
    rebuild(connection, records)
