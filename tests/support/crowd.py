"""Several callers at once at a house of real processes, and what the log and each of them say of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calltape import world
from calltape.demo import caller
from calltape.local.parts import Parts, StandsOn, parts, prepared
from calltape.local.processes import Processes
from clients.carrier import Carrier
from clients.report import CallReport, Observation, Seen
from clients.script import Script
from eventlog.port import Record
from eventlog.uri import open_log
from projections.database import open_database
from projections.errors import ProjectionError
from projections.queries import call_details
from projections.show import show_json
from schema import topics
from schema.admit import Admission, admit
from schema.envelope import AnyEvent, type_of
from schema.media import MediaReceived, MediaSpoken
from schema.registry import decode, unpack_media
from schema.stream import StreamClosed, StreamLost
from tests.support.processes import eventually

RENEWED_S = 300  # seven processes, one after the other, on a busy machine


@dataclass(slots=True)
class Visit:
    """One call as its caller saw it."""

    call_id: str
    seen: list[Observation] = field(default_factory=list)
    report: CallReport | None = None

    @property
    def gaps_ms(self) -> list[int]:
        """From the close of a stream to the opening of the next."""
        closed_at, gaps = None, []
        for one in self.seen:
            if one.kind is Seen.STREAM_CLOSED:
                closed_at = one.at_ms
            elif one.kind is Seen.STREAM_OPENED and closed_at is not None:
                gaps.append(one.at_ms - closed_at)
        return gaps

    def has_seen(self, kind: Seen) -> bool:
        return any(one.kind is kind for one in self.seen)


@dataclass(slots=True)
class Crowd:
    """A house, the carrier that phones it, and the folder its files are in."""

    house: Processes
    carrier: Carrier
    parts: Parts

    async def visit(self, script: Script, visit: Visit | None = None) -> Visit:
        """One call, to its end."""
        visit = visit or new_visit()
        visit.report = await self.carrier.place_call(script, call_sid=visit.call_id, on_event=visit.seen.append)
        return visit

    async def renew(self) -> float:
        """A rolling restart; how many seconds it took."""
        done = len(self._told("rolling restart done"))
        os.kill(self.house.pid_of("supervisor"), signal.SIGHUP)

        async def is_over() -> bool:
            assert not self._told("rolling restart given up"), self.house.last_words
            return len(self._told("rolling restart done")) > done

        await eventually(is_over, patience_s=RENEWED_S)
        return float(self._told("rolling restart done")[-1]["seconds"])

    async def replace_door(self) -> float:
        """Somebody tells the doors' process to end; how many seconds until it is gone and another one is there."""
        began, old = world.clock_ms(), self.starts("ingest")
        os.kill(old[-1], signal.SIGTERM)

        async def is_replaced() -> bool:
            return len(self.starts("ingest")) > len(old) and not _lives(old[-1])

        await eventually(is_replaced)
        return (world.clock_ms() - began) / 1000

    async def gaps_ms(self, call_id: str) -> list[int]:
        """In the log's time, from the end of each stream to the first frame of the next."""
        ends = [
            record.at
            for record in await self.records(topics.EVENTS.name, call_id)
            if isinstance(event := decode(record.value), StreamClosed | StreamLost) and event.call_id == call_id
        ]
        begins: dict[str, int] = {}
        for record in await self.records(topics.MEDIA.name, call_id):
            frame = unpack_media(record.value)
            if frame.call_id == call_id and isinstance(frame, MediaReceived):
                begins.setdefault(frame.stream, record.at)
        return [begun - ended for ended, begun in zip(ends, list(begins.values())[1:], strict=False)]

    async def events(self, call_id: str) -> list[AnyEvent]:
        """Everything on calls.events about a call, believed or not, in the order of the log."""
        found = [decode(record.value) for record in await self.records(topics.EVENTS.name, call_id)]
        return [event for event in found if event.call_id == call_id]

    async def media(self, call_id: str) -> list[MediaReceived | MediaSpoken]:
        """The call's frames in the order of the log; each once, however often it was appended."""
        found: dict[tuple[str, int], MediaReceived | MediaSpoken] = {}
        for record in await self.records(topics.MEDIA.name, call_id):
            frame = unpack_media(record.value)
            if frame.call_id == call_id:
                found.setdefault((frame.stream, frame.sequence), frame)
        return list(found.values())

    async def records(self, topic: str, call_id: str) -> list[Record]:
        """The whole partition in which a call is."""
        async with open_log(self.parts.log, now=world.now_ms) as log:
            partition = topics.partition_of(call_id, await log.partitions(topic))
            end, found = await log.end(topic, partition), []
            reader = log.reader(topic, {partition: await log.begin(topic, partition)})
            while reader.positions()[partition] < end:
                found += await reader.read(max_records=5000, wait_ms=50)
            await reader.close()
            return found

    async def finished(self, call_id: str) -> dict[str, Any]:
        """`calltape show --json` of a call that is sealed, summarised and recorded."""
        engine = open_database(self.parts.database)
        shown: dict[str, Any] = {}

        async def is_finished() -> bool:
            with suppress(ProjectionError):
                shown.update(show_json(await call_details(engine, call_id)))
            return bool(shown.get("sealed_at") and shown.get("summary") is not None and shown.get("recording"))

        try:
            await eventually(is_finished)
        finally:
            await engine.dispose()
        return shown

    def said_at(self, words: str) -> list[int]:
        """Which lines of the house's output begin so."""
        return [number for number, line in enumerate(self.house.said) if line.startswith(words)]

    def starts(self, child: str) -> list[int]:
        """The pids of a member, oldest first."""
        return [told["pid"] for told in self._told("process started") if told["child"] == child]

    def _told(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.house.said if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def new_visit() -> Visit:
    return Visit("CA" + world.new_hex())


@asynccontextmanager
async def crowd(
    folder: Path, *, ground: StandsOn = "sqlite", drain_s: float = 8, **settings: object
) -> AsyncIterator[Crowd]:
    """`settings` are those of every process. Raises Refused, DidNotStart."""
    async with AsyncExitStack() as stack:
        stood_on = stack.enter_context(parts(ground, folder))
        await prepared(stood_on)
        house = Processes(folder, stood_on, drain_s=drain_s)
        carrier, rest, account, secret = await stack.enter_async_context(caller(house.address))
        house.introduce(account=account, secret=secret, rest=rest.url)
        house.configure(**settings)
        await stack.enter_async_context(house)
        yield Crowd(house, carrier, stood_on)


def believed(events: list[AnyEvent]) -> list[AnyEvent]:
    """Those of one call that every reader believes."""
    state, found = Admission(), []
    for event in events:
        if (admitted := admit(state, event)) is not None:
            state = admitted
            found.append(event)
    return found


def was_cut(events: list[AnyEvent]) -> bool:
    """Whether the caller was speaking when one of the streams closed."""
    speaks_on = ""
    for event in events:
        name = type_of(event)
        if name == "speech.started":
            speaks_on = event.stream  # type: ignore[union-attr]
        elif name == "speech.stopped" and event.stream == speaks_on:  # type: ignore[union-attr]
            speaks_on = ""
        elif name == "stream.closed" and event.stream == speaks_on:  # type: ignore[union-attr]
            return True
    return False


async def until_seen(visits: list[Visit], is_so: Callable[[Visit], bool]) -> None:
    """Returns when it is so of each."""

    async def are_so() -> bool:
        return all(map(is_so, visits))

    await eventually(are_so)
