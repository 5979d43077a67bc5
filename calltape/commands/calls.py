"""`calltape calls`: lists calls, the newest first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import AsJson, emit, say, table

if TYPE_CHECKING:
    from projections.finding import CallFilter
    from projections.results import CallPage

COLUMNS = ("call", "door", "from", "to", "agent", "started", "ended", "reason", "turns")


def calls(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    live: Annotated[bool, typer.Option("--live", help="Only calls that have not ended.")] = False,
    number: Annotated[str, typer.Option(help="Only calls from or to this number.")] = "",
    text: Annotated[str, typer.Option(help="Only calls in which somebody said this.")] = "",
    tenant: Annotated[str, typer.Option(help="Only calls of this tenant.")] = "",
    as_json: AsJson = False,
) -> None:
    """List calls, the newest first."""
    from projections.finding import CallFilter
    from projections.show import calls_json

    page = asyncio.run(_page(CallFilter(number=number, tenant_id=tenant, text=text, live=live), limit))
    listed = calls_json(page.calls)
    if as_json:
        emit(listed)
    elif listed:
        table(COLUMNS, (list(call.values()) for call in listed))
    else:
        say("No calls.")


async def _page(wanted: CallFilter, limit: int) -> CallPage:
    from calltape.settings import settings
    from projections.database import open_database
    from projections.queries import list_calls

    engine = open_database(settings().database_url)
    try:
        return await list_calls(engine, wanted, limit=limit)
    finally:
        await engine.dispose()
