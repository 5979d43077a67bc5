"""`calltape calls`: lists calls, the newest first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.commands.read_models import opened_read_models
from calltape.terminal import AsJson, Refused, emit, say, table

if TYPE_CHECKING:
    from projections.finding import CallFilter
    from projections.results import CallPage

COLUMNS = ("call", "door", "from", "to", "agent", "started", "ended", "reason", "turns")


def calls(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    live: Annotated[bool, typer.Option("--live", help="Only calls that have not ended.")] = False,
    since: Annotated[
        str, typer.Option(metavar="MOMENT", help="Only calls that began then or later: 2026-02-03, 2026-02-03T09:30.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="MOMENT", help="Only calls that began before. UTC unless it says.")
    ] = "",
    channel: Annotated[str, typer.Option(help="Only calls through this door, such as twilio.")] = "",
    number: Annotated[str, typer.Option(help="Only calls from or to this number.")] = "",
    agent: Annotated[str, typer.Option(help="Only calls of this agent.")] = "",
    text: Annotated[
        str,
        typer.Option(metavar="WORDS", help='Only calls with a line, or a summary, of these words, "phrases", begin*.'),
    ] = "",
    tenant: Annotated[str, typer.Option(help="Only calls of this tenant.")] = "",
    as_json: AsJson = False,
) -> None:
    """List calls, the newest first."""
    from projections.finding import CallFilter
    from projections.show import calls_json

    wanted = CallFilter(
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
        channel=channel,
        number=number,
        agent=agent,
        text=text,
        tenant_id=tenant,
        live=live,
    )
    listed = calls_json(asyncio.run(_page(wanted, limit)).calls)
    if as_json:
        emit(listed)
    elif listed:
        table(COLUMNS, (list(call.values()) for call in listed))
    else:
        say("No calls.")


def _moment(given: str, option: str) -> int | None:
    """Ms since 1970; without a zone it is UTC, as everything that is printed."""
    if not given:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise Refused(f"{option} {given!r} is no moment: write 2026-02-03 or 2026-02-03T09:30:00Z", code=2) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


async def _page(wanted: CallFilter, limit: int) -> CallPage:
    from projections.queries import list_calls

    async with opened_read_models() as engine:
        return await list_calls(engine, wanted, limit=limit)
