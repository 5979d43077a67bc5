"""What people and programs ask of the read models. Every function raises ProjectionUnavailable besides its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from projections import base, finding, reading
from projections.errors import translated
from projections.finding import CallFilter
from projections.results import Call, CallDetails, CallPage, CallState, Failure

Answer = TypeVar("Answer")
ALL_CALLS = CallFilter()


async def _ask(engine: AsyncEngine, question: Callable[[Connection], Answer]) -> Answer:
    """One question is one transaction, so that its parts belong together."""
    with translated():
        async with engine.connect() as connection:
            return await connection.run_sync(question)


async def list_calls(
    engine: AsyncEngine, wanted: CallFilter = ALL_CALLS, *, limit: int = 50, cursor: str = ""
) -> CallPage:
    """Calls, newest first. `cursor` comes from the page before; raises ValueError for any other."""
    return await _ask(engine, lambda connection: finding.list_calls(connection, wanted, limit=limit, cursor=cursor))


async def search_calls(
    engine: AsyncEngine, text: str, *, tenant_id: str = "", limit: int = 50, cursor: str = ""
) -> CallPage:
    """Calls in which one line, or the summary, has every word, "phrase" and beginning* of the text; newest first.

    No text is wrong: one without words finds nothing. `cursor` as in `list_calls`.
    """
    if not text:
        return CallPage(())
    return await list_calls(engine, CallFilter(text=text, tenant_id=tenant_id), limit=limit, cursor=cursor)


async def find_call(engine: AsyncEngine, beginning: str, *, tenant_id: str = "") -> Call:
    """The call whose id begins so, in its latest life. Raises NoSuchCall, AmbiguousCall."""
    return await _ask(engine, lambda connection: finding.find_call(connection, beginning, tenant_id=tenant_id))


async def call_details(engine: AsyncEngine, beginning: str, *, tenant_id: str = "") -> CallDetails:
    """Everything known of the call whose id begins so. Raises NoSuchCall, AmbiguousCall."""

    def read(connection: Connection) -> CallDetails:
        return reading.read_details(connection, finding.find_call(connection, beginning, tenant_id=tenant_id))

    return await _ask(engine, read)


async def call_state(engine: AsyncEngine, call_id: str) -> CallState:
    """Whether the call lives, has ended, or is not known here (yet)."""
    return await _ask(engine, lambda connection: finding.call_state(connection, call_id))


async def unapplied(engine: AsyncEngine, *, limit: int = 100) -> tuple[Failure, ...]:
    """Records that no projection could apply, newest first."""
    return await _ask(engine, lambda connection: finding.unapplied(connection, limit=limit))


async def positions(engine: AsyncEngine) -> dict[int, int]:
    """The next position to apply, by partition."""
    return await _ask(engine, base.read_positions)


async def first_position(engine: AsyncEngine, call_id: str, partition: int) -> int:
    """From where on the call's events stand in its partition; of an unknown call none lies below what is projected."""

    def read(connection: Connection) -> int:
        # First: what begins after this was read lies above it (PostgreSQL shows each statement the newest).
        projected = base.read_positions(connection).get(partition, 0)
        known = finding.first_position(connection, call_id)
        return projected if known is None else known

    return await _ask(engine, read)


async def oldest_live(engine: AsyncEngine, partition: int) -> int:
    """From where on the events of all live calls of the partition stand."""

    def read(connection: Connection) -> int:
        projected = base.read_positions(connection).get(partition, 0)
        known = finding.oldest_live(connection, partition)
        return projected if known is None else min(known, projected)

    return await _ask(engine, read)
