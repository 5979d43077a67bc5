"""Places one call, kills something in it, and gathers everything that is known of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from calltape import world
from calltape.chaos.cases import Case, Lookout
from calltape.chaos.strike import Scene, strike
from calltape.chaos.told import Told, believed, utterances
from clients.carrier import Carrier
from clients.report import CallReport, Observation
from clients.script import Hangup, InterruptAfter, Say, Script, WaitFor
from eventlog.port import Log, LogUnavailable, Reader, Record
from projections.results import CallDetails
from schema import topics
from schema.registry import MalformedEvent, decode, unpack_media

logger = structlog.get_logger()

CALL_S = 180.0  # a call that lasts longer has lost its way
WATCH_S = 15.0  # after it; the last moments come when nobody is on the line any more
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
class Placed:
    """A call that is over. `missed`: why its death did not come in its moment; empty when it did."""

    told: Told
    report: CallReport
    missed: str = ""

    @property
    def came_in_time(self) -> bool:
        return not self.missed


async def place(scene: Scene, carrier: Carrier, case: Case | None) -> Placed:
    """One call of the script, with the case's death in it. Raises TimeoutError, DidNotStart."""
    call_id = "CA" + world.new_hex()
    partition = topics.partition_of(call_id, await scene.log.partitions(topics.EVENTS.name))
    begin = {topic.name: await scene.log.end(topic.name, partition) for topic in (topics.MEDIA, topics.EVENTS)}
    seen: list[Observation] = []
    died_at: int | None = None
    async with asyncio.TaskGroup() as tasks:
        disturber = Disturber(scene, case, call_id) if case else None
        disturbing = tasks.create_task(disturber.run(partition, begin[topics.EVENTS.name])) if disturber else None
        async with asyncio.timeout(CALL_S):
            report = await carrier.place_call(SCRIPT, call_sid=call_id, on_event=seen.append)
            await carrier.settle()
        if disturber is not None and disturbing is not None:
            died_at = await disturber.over(disturbing)
    details, lives = await _details(scene.parts.database, call_id)
    media = [unpack_media(each.value) for each in await _read(scene.log, topics.MEDIA.name, partition, begin)]
    events = [each for each in await _read(scene.log, topics.EVENTS.name, partition, begin) if each.key == call_id]
    told = Told(
        shown=shown_of(details),
        heard=report.heard,
        caller=report.caller,
        media=[one for one in media if one.call_id == call_id],
        events=events,
        said=utterances(report, seen),
        details=details,
        lives=lives,
    )
    return Placed(told, report, missed(case, events, died_at) if case else "")


def missed(case: Case, events: Sequence[Record], died_at: int | None) -> str:
    """Why the victim did not die in its moment; empty when it did.

    The log's times and that of the death are of one machine.
    """
    if died_at is None:
        return "the moment never came"
    lookout = Lookout(case.moment)
    admitted = {event.id for event in believed(events)}
    for record in events:
        event = decode(record.value)
        if event.id not in admitted:
            continue
        if lookout.ends(event):
            return "" if record.at >= died_at else "the moment had passed"
        lookout.sees(event)
    return ""


class Disturber:
    """Watches a call for the case's moment and strikes then. A strike that has begun is never given up."""

    def __init__(self, scene: Scene, case: Case, call_id: str) -> None:
        self._scene = scene
        self._case = case
        self._call_id = call_id
        self._has_begun = asyncio.Event()
        self._died_at: int | None = None

    async def run(self, partition: int, begin: int) -> None:
        """Returns when what was killed is back."""
        events = self._scene.log.reader(topics.EVENTS.name, {partition: begin})
        try:
            await self._until(events)
            self._has_begun.set()
            self._died_at, put_back = await strike(self._scene, self._case.victim, partition)
            logger.info("struck", case=self._case.name)
            await put_back()
        finally:
            await events.close()

    async def over(self, running: asyncio.Task[None], *, watch_s: float = WATCH_S) -> int | None:
        """To be asked when the call is over: when the victim died, or None if its moment did not come."""
        waiting = asyncio.create_task(self._has_begun.wait())
        await asyncio.wait((running, waiting), timeout=watch_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._has_begun.is_set():
            await running
        else:
            running.cancel()
        return self._died_at

    async def _until(self, events: Reader) -> None:
        lookout = Lookout(self._case.moment)
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
                if event.call_id == self._call_id and lookout.sees(event):
                    return


async def _details(database: str, call_id: str) -> tuple[CallDetails | None, int]:
    """The call once it is sealed, summarised and recorded, else as far as it came; and how often it is in the table."""
    from projections.database import open_database
    from projections.errors import NoSuchCall, ProjectionUnavailable
    from projections.queries import call_details, list_calls

    engine = open_database(database)
    found, lives = None, 1
    deadline = asyncio.get_running_loop().time() + AFTERWARDS_S
    try:
        while asyncio.get_running_loop().time() < deadline:
            try:
                found = await call_details(engine, call_id)
                lives = sum(one.call_id == call_id for one in (await list_calls(engine, limit=20)).calls)
            except (NoSuchCall, ProjectionUnavailable):
                found = None
            if found and found.call.sealed_at and found.summary and found.recordings:
                return found, lives
            await asyncio.sleep(0.1)
    finally:
        await engine.dispose()
    return found, lives


def shown_of(details: CallDetails | None) -> dict[str, Any]:
    from projections.show import show_json

    return show_json(details) if details else {}


async def _read(log: Log, topic: str, partition: int, begin: dict[str, int]) -> list[Record]:
    """The partition's records from there to its end as it is now."""
    end = await log.end(topic, partition)
    reader = log.reader(topic, {partition: begin[topic]})
    found: list[Record] = []
    try:
        while reader.positions()[partition] < end:
            found += await reader.read(max_records=5000, wait_ms=200)
    finally:
        await reader.close()
    return found
