"""The read models as the projector's process uses them: apply a batch, ask for the positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from eventlog.port import Record
from projections.base import apply_batch, read_positions
from projections.database import for_writing
from projections.errors import translated


class Tables:
    """One database. Every call is one transaction. Raises ProjectionUnavailable and PositionTaken."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def positions(self) -> dict[int, int]:
        """The next position to apply, by partition."""
        with translated():
            async with self._engine.connect() as connection:
                return await connection.run_sync(read_positions)

    async def apply(self, records: Sequence[Record], expected: Mapping[int, int]) -> dict[int, int]:
        """Effects and positions of a batch, all or nothing."""
        with translated():
            async with self._engine.connect() as connection:
                await connection.run_sync(for_writing)
                async with connection.begin():
                    return await connection.run_sync(lambda sync: apply_batch(sync, records, expected=expected))
