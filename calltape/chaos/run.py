"""Runs the cases: one spoken call each, something killed in the middle of it, and the record compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from calltape import world
from calltape.chaos.cases import BROKER, DATABASE, Case, Lookout
from calltape.chaos.compare import Told, compare, quiet_ms
from calltape.demo import caller
from calltape.listed import listed
from calltape.local.parts import Parts, StandsOn, parts, prepared
from calltape.local.processes import DidNotStart, Processes
from clients.carrier import Carrier
from clients.report import CallReport
from clients.script import Hangup, InterruptAfter, Say, Script, WaitFor
from eventlog.kafka import KafkaLog
from eventlog.port import Log, LogUnavailable, Reader, Record
from eventlog.uri import open_log
from schema import topics
from schema.registry import MalformedEvent, decode, unpack_media

logger = structlog.get_logger()

CALL_S = 180.0  # a call that lasts longer has lost its way
AFTERWARDS_S = 90.0  # grace, seal, summary, recording
# Every moment of the cases is in it: speech, a tool, an interrupted reply, a goodbye that hangs up.
SCRIPT = Script(
    steps=(
        WaitFor(wait_for="reply"),
        Say(say="remind me to pay the rent on monday"),
        WaitFor(wait_for="reply"),
        Say(say="yes that is right"),
        WaitFor(wait_for="reply"),
        Say(say="what can you do"),
        InterruptAfter(interrupt_after_ms=2500),
        Say(say="that is all thank you"),
        WaitFor(wait_for="hangup", required=False, timeout_ms=20_000),
        Hangup(),
    )
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table. `dead_air_ms`: how much longer than in the undisturbed call nobody was heard."""

    case: Case
    ok: bool
    dead_air_ms: int
    lost: int
    doubled: int
    note: str

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case.name,
            "ok": self.ok,
            "dead_air_ms": self.dead_air_ms,
            "lost": self.lost,
            "doubled": self.doubled,
            "note": self.note,
        }


@dataclass(slots=True)
class Stage:
    """Where the calls of one run take place."""

    house: Processes
    carrier: Carrier
    log: Log
    parts: Parts
    away_s: float  # how long a database that died stays away
    keep: Path | None = None  # where the events of a case that failed are listed


async def run_cases(
    cases: Sequence[Case],
    *,
    ground: StandsOn,
    folder: Path,
    away_s: float = 60.0,
    keep: Path | None = None,
    on_case: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Each case after an undisturbed call of the same house. Raises Refused, DidNotStart, EngineError."""
    nodes = 3 if any(case.victim == BROKER for case in cases) else 1
    found: list[Outcome] = []
    async with _stage(ground, folder, nodes=nodes, away_s=away_s) as stage:
        stage.keep = keep
        undisturbed, report = await _told(stage, None)
        if not report.ok or not undisturbed.shown.get("summary"):
            raise DidNotStart(f"the undisturbed call failed: {report.failures} {report.violations}")
        for case in cases:
            outcome = await _outcome(stage, case, undisturbed)
            found.append(outcome)
            on_case(outcome)
    return found


@asynccontextmanager
async def _stage(ground: StandsOn, folder: Path, *, nodes: int, away_s: float) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stood_on = stack.enter_context(parts(ground, folder, nodes=nodes))
        await prepared(stood_on, replication=nodes)
        house = Processes(folder, stood_on)
        carrier, rest, account, secret = await stack.enter_async_context(caller(house.address))
        house.introduce(account=account, secret=secret, rest=rest.url)
        await stack.enter_async_context(house)
        log = await stack.enter_async_context(open_log(stood_on.log, now=world.now_ms))
        yield Stage(house, carrier, log, stood_on, away_s)


async def _outcome(stage: Stage, case: Case, undisturbed: Told) -> Outcome:
    try:
        told, report = await _told(stage, case)
    except (TimeoutError, DidNotStart) as error:
        return Outcome(case, False, 0, 1, 0, f"the call never ended: {error}")
    difference = compare(undisturbed, told, cuts_the_line=case.cuts_the_line)
    missed = [] if case.ends_the_line else report.failures
    note = "; ".join([difference.note, *missed, *(broken.text for broken in report.violations)]).strip("; ")
    if case.ends_the_line and difference.none:
        note = "the line ended with it; the record is whole"
    elif report.streams > 1 and difference.none:
        note = f"went on at stream {report.streams}"
    ok = difference.none and not missed and not report.violations
    if stage.keep is not None and not ok:
        path = stage.keep / f"{case.name.replace(', ', '-').replace(' ', '-')}.txt"
        began_at = told.events[0].at if told.events else 0
        path.write_text("\n".join([note, *listed(told.events, began_at)]) + "\n")
    return Outcome(
        case,
        ok=ok,
        dead_air_ms=max(0, quiet_ms(told) - quiet_ms(undisturbed)),
        lost=len(difference.lost),
        doubled=len(difference.doubled),
        note=note,
    )


async def _told(stage: Stage, case: Case | None) -> tuple[Told, CallReport]:
    """One call, with the case's death in it. Raises TimeoutError."""
    call_id = "CA" + world.new_hex()
    partition = topics.partition_of(call_id, await stage.log.partitions(topics.EVENTS.name))
    media_from = await stage.log.end(topics.MEDIA.name, partition)
    events_from = await stage.log.end(topics.EVENTS.name, partition)
    events = stage.log.reader(topics.EVENTS.name, {partition: events_from})
    try:
        async with asyncio.timeout(CALL_S), asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(stage.carrier.place_call(SCRIPT, call_sid=call_id))
            if case is not None:
                disturbing = tasks.create_task(_disturb(stage, case, call_id, events))
                calling.add_done_callback(lambda _: asyncio.get_running_loop().call_later(20, disturbing.cancel))
    finally:
        await events.close()
    report = calling.result()
    await stage.carrier.settle()
    shown = await _shown(stage.parts.database, call_id)
    kept = await _read(stage.log, topics.MEDIA.name, partition, media_from)
    media = [one for one in (unpack_media(record.value) for record in kept) if one.call_id == call_id]
    written = await _read(stage.log, topics.EVENTS.name, partition, events_from)
    return Told(shown, report.heard, report.caller, media, [each for each in written if each.key == call_id]), report


async def _disturb(stage: Stage, case: Case, call_id: str, events: Reader) -> None:
    lookout = Lookout(case.moment)
    while True:
        try:
            records = await events.read(wait_ms=1000)
        except LogUnavailable:
            continue
        for record in records:
            try:
                event = decode(record.value)
            except MalformedEvent:
                continue
            if event.call_id == call_id and lookout.sees(event):
                await _strike(stage, case, record.partition)
                return


async def _strike(stage: Stage, case: Case, partition: int) -> None:
    house, stood_on = stage.house, stage.parts
    logger.info("strikes", case=case.name)
    match case.victim:
        case "supervisor":
            house.kill("supervisor")
            await house.gone()
            await house.stop()
            await house.start()
        case victim if victim == BROKER:
            assert isinstance(stage.log, KafkaLog)
            leader = await stage.log.leader(topics.EVENTS.name, partition)
            await asyncio.to_thread(stood_on.kafka.kill, leader)
            await asyncio.sleep(stage.away_s)
            await asyncio.to_thread(stood_on.kafka.restart, leader)
        case victim if victim == DATABASE:
            await asyncio.to_thread(stood_on.postgres.stop, "immediate")
            await asyncio.sleep(stage.away_s)
            await asyncio.to_thread(stood_on.postgres.start)
        case victim:
            house.kill(victim)


async def _shown(database: str, call_id: str) -> dict[str, Any]:
    """The call as `calltape show` gives it, once it is sealed, summarised and recorded; else as far as it came."""
    from projections.database import open_database
    from projections.errors import NoSuchCall, ProjectionUnavailable
    from projections.queries import call_details
    from projections.show import show_json

    engine = open_database(database)
    shown: dict[str, Any] = {}
    deadline = asyncio.get_running_loop().time() + AFTERWARDS_S
    try:
        while asyncio.get_running_loop().time() < deadline:
            try:
                shown = show_json(await call_details(engine, call_id))
            except (NoSuchCall, ProjectionUnavailable):
                shown = {}
            if shown.get("sealed_at") and shown.get("summary") is not None and shown.get("recording"):
                break
            await asyncio.sleep(0.1)
    finally:
        await engine.dispose()
    return shown


async def _read(log: Log, topic: str, partition: int, begin: int) -> list[Record]:
    """The partition's records from there to its end as it is now."""
    end = await log.end(topic, partition)
    reader = log.reader(topic, {partition: begin})
    found: list[Record] = []
    try:
        while reader.positions()[partition] < end:
            found += await reader.read(max_records=5000, wait_ms=200)
    finally:
        await reader.close()
    return found
