"""`calltape tail`: reads along the event log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calltape.terminal import AsJson, Refused, emit_line, say
from projections.show import moment

if TYPE_CHECKING:
    from eventlog.port import Reader, Record

# Fields that every event has; the readable form leaves them out.
ENVELOPE = frozenset(
    {"type", "id", "call_id", "tenant_id", "version", "role", "prior", "source", "sequence", "cause", "trace", "was_at"}
)


def tail(
    call: Annotated[str, typer.Argument(help="Only this call: any unambiguous beginning of its id.")] = "",
    as_json: AsJson = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest event, not with the next.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more; without it, stop at the end of the log.")] = True,
) -> None:
    """Print the log's events as they come, one a line, until interrupted."""
    asyncio.run(_tail(call, as_json=as_json, from_start=from_start, follow=follow))


async def _tail(call: str, *, as_json: bool, from_start: bool, follow: bool) -> None:
    from calltape.existing import existing_log
    from schema.topics import EVENTS

    async with existing_log() as log:
        parts = range(await log.partitions(EVENTS.name))
        ends = {part: await log.end(EVENTS.name, part) for part in parts}
        begins = {part: await log.begin(EVENTS.name, part) for part in parts} if from_start else ends
        reader = log.reader(EVENTS.name, begins)
        try:
            found = await _print_all(reader, call, as_json=as_json, ends=ends, follow=follow)
        finally:
            await reader.close()
    if call and not found and from_start:
        raise Refused(f"no event of a call whose id begins with {call!r} is on the log")
    if call and not found:
        raise Refused(f"no call whose id begins with {call!r} has a new event: --from-start prints the older ones")


async def _print_all(reader: Reader, call: str, *, as_json: bool, ends: dict[int, int], follow: bool) -> bool:
    """Whether there was one up to `ends`; with `follow` it goes on for ever."""
    matched, waits = "", False
    while (before := _is_before(reader, ends)) or follow:
        if call and not (before or matched or waits):
            waits = True
            typer.echo(f"calltape: waiting for the next event of a call whose id begins with {call!r}", err=True)
        for record in await reader.read(wait_ms=1000):
            if not follow and record.position >= ends[record.partition]:
                continue
            if not record.key.startswith(call):
                continue
            if call and matched and record.key != matched:
                raise Refused(f"several calls begin with {call!r}: give more of {matched} or {record.key}")
            matched = record.key
            _print(record, as_json=as_json)
    return bool(matched)


def _is_before(reader: Reader, ends: dict[int, int]) -> bool:
    return any(reader.positions()[part] < end for part, end in ends.items())


def _print(record: Record, *, as_json: bool) -> None:
    import msgspec

    where = {"position": f"{record.partition}.{record.position}", "at": moment(record.at)}
    try:
        event: dict[str, Any] = msgspec.json.decode(record.value, type=dict[str, Any])
    except msgspec.MsgspecError:
        event = {"type": "malformed", "call_id": record.key}
    if as_json:
        emit_line(where | event)
        return
    said_by = event.get("role") or "-"
    facts = " ".join(f"{key}={_short(value)}" for key, value in event.items() if key not in ENVELOPE)
    say(
        f"{where['at']} {where['position']:>9} {record.key[:12]:<12} {said_by:<12} {event.get('type', '?'):<20} {facts}"
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
