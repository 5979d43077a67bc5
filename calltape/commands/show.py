"""`calltape show`: one call with everything that was said, as it is or as it was at a position of the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calltape.commands.read_models import opened_read_models
from calltape.terminal import AsJson, Refused, emit, say, table

if TYPE_CHECKING:
    from eventlog.port import Log, Record
    from projections.results import CallDetails

STAGES = ("endpoint", "stt", "agent", "tts", "first_audio", "heard", "barge_in")


def show(
    call: Annotated[str, typer.Argument(help="The call's id, or any unambiguous beginning of it.")],
    at: Annotated[
        str, typer.Option(metavar="POSITION", help="As of this event: a position `calltape tail` prints.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show one call: transcript, turns with latency, summary, action items, recording."""
    from calltape.settings import settings
    from projections.show import show_json

    details = asyncio.run(_as_of(call, at) if at else _now(call))
    shown = show_json(details)
    if shown["recording"] is not None:
        shown["recording"] = str((settings().recordings / shown["recording"]).absolute())
    if as_json:
        emit(shown)
    else:
        print_call(shown)


def print_call(shown: dict[str, Any]) -> None:
    """The readable form of `show --json`."""
    ended = f"{shown['ended_at']} ({shown['reason']})" if shown["ended_at"] else "not yet"
    say(f"Call {shown['call_id']} ({shown['channel']}, agent {shown['agent'] or '-'})")
    say(f"from {shown['from'] or '-'} to {shown['to'] or '-'}; started {shown['started_at']}; ended {ended}")
    _print_transcript(shown["transcript"])
    _print_latency(shown["turns"])
    if shown["summary"] is not None:
        say(f"\nSummary ({shown['sentiment']})\n  {shown['summary']}")
    _print_cited("Key points", [(point["text"], point["cites"]) for point in shown["key_points"]], shown["transcript"])
    actions = [(_action(action), action["cites"]) for action in shown["actions"]]
    _print_cited("Action items", actions, shown["transcript"])
    say(f"\nRecording: {shown['recording'] or 'none'}; events: {shown['events']}")


def _print_transcript(lines: list[dict[str, Any]]) -> None:
    say("\nTranscript" if lines else "\nNothing was said.")
    for line in lines:
        cut = "" if line["said"] == line["text"] else f"  (interrupted; whole: {line['said']})"
        say(f"  {_clock(line['start_ms'])}  {line['speaker']:<6}  {line['text'] or '(not heard)'}{cut}")


def _print_latency(turns: list[dict[str, Any]]) -> None:
    if turns:
        say("\nLatency in ms")
        rows = ([number, *(turn["latency_ms"][stage] for stage in STAGES)] for number, turn in enumerate(turns, 1))
        table(("turn", *STAGES), rows)


def _print_cited(title: str, found: list[tuple[str, list[str]]], lines: list[dict[str, Any]]) -> None:
    said = {line["id"]: line["text"] for line in lines}
    if found:
        say(f"\n{title}")
    for text, cites in found:
        say(f"  - {text}")
        for cited in cites:
            say(f'      "{said.get(cited, cited)}"')


def _action(action: dict[str, Any]) -> str:
    due = f", due {action['due']}" if action["due"] else ""
    return f"{action['title']} ({action['kind']}{due})"


def _clock(ms: int | None) -> str:
    return "  --.-- " if ms is None else f"{ms // 60_000:02}:{ms % 60_000 / 1000:05.2f}"


async def _now(call: str) -> CallDetails:
    from projections.queries import call_details

    async with opened_read_models() as engine:
        return await call_details(engine, call)


async def _as_of(call: str, at: str) -> CallDetails:
    """From the log alone: the tables need not exist."""
    from calltape.existing import existing_log
    from projections.as_of import as_of
    from projections.queries import call_details

    partition, position = _place(at)
    async with existing_log() as log:
        records = await _records(log, partition, position, call)
    async with as_of(records, position) as engine:
        return await call_details(engine, call)


def _place(at: str) -> tuple[int, int]:
    partition, dot, position = at.partition(".")
    if not (dot and partition.isdecimal() and position.isdecimal()):
        raise Refused(f"{at!r} is no position: take one from `calltape tail CALL --from-start`", code=2)
    return int(partition), int(position)


async def _records(log: Log, partition: int, position: int, call: str) -> list[Record]:
    """The records of calls whose ids begin so, up to that position and with it."""
    from schema.topics import EVENTS

    if partition >= await log.partitions(EVENTS.name) or position >= await log.end(EVENTS.name, partition):
        raise Refused(f"the log has no event at {partition}.{position} (yet)")
    found: list[Record] = []
    reader = log.reader(EVENTS.name, {partition: await log.begin(EVENTS.name, partition)})
    try:
        while reader.positions()[partition] <= position:
            found += [record for record in await reader.read() if record.key.startswith(call)]
    finally:
        await reader.close()
    if not found:
        raise Refused(f"no event of a call whose id begins with {call!r} is in partition {partition}")
    return found
