"""A call that loses its socket at one ingest and goes on at another: one log, real roles, two servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from calltape import world
from calltape.serving import opened_ingest
from calltape.wiring import House
from clients.app import AppCall, AppConfig
from clients.mobile import MobileWire
from clients.report import CallReport, Observation, Seen
from clients.script import Hangup, InterruptAfter, Network, Say, Script, WaitFor
from clients.wire import Meant
from eventlog.port import Log, Record
from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.outbox import OutboxMessage
from schema.registry import unpack_outbox
from schema.stream import StreamOpened
from schema.topics import OUTBOX, mailbox_of
from tests.support.cable import Cable, cabled
from tests.support.calls import World, running
from workers.engines.espeak import Espeak

pytestmark = pytest.mark.long

SECRET = "s" * 32
CALL = "acme~moves"
FIRST, SECOND = "test", "other"  # the instances' names
ANSWERED = WaitFor(wait_for="reply", timeout_ms=40_000)
SCRIPT = Script(
    steps=(
        ANSWERED,
        Say(say="what can you do"),
        InterruptAfter(interrupt_after_ms=2_000),
        Network(network="drop"),
        ANSWERED,
        Say(say="make a note to buy milk"),
        ANSWERED,
        Hangup(),
    )
)


@dataclass(slots=True)
class Sockets:
    """What the server said, socket by socket."""

    said: list[list[dict[str, Any]]] = field(default_factory=list)

    def of(self, number: int, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.said[number] if message["type"] == kind]


class Overheard(MobileWire):
    """The app's wire; each frame that comes is kept."""

    def __init__(self, sockets: Sockets) -> None:
        super().__init__(business="acme", session="moves")
        self._sockets = sockets

    def hello(self) -> list[str]:
        self._sockets.said.append([])
        return super().hello()

    def read(self, frame: str | bytes) -> list[Meant]:
        self._sockets.said[-1].append(json.loads(frame))
        return super().read(frame)


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of the call."""

    report: CallReport
    sockets: Sockets
    opened: list[StreamOpened]
    mail: dict[str, list[tuple[int, OutboxMessage]]]  # by instance: (the log's time, message)


@asynccontextmanager
async def second(first: World) -> AsyncIterator[int]:
    """The port of another ingest on the same log, which has no roles."""
    settings = first.settings.model_copy(update={"port": 0, "instance": SECOND})
    async with House(settings) as house, opened_ingest(house) as port:
        yield port


async def mail(log: Log, instance: str) -> list[tuple[int, OutboxMessage]]:
    """Everything about the call in an ingest's mailbox, in the order of the log."""
    mailbox = mailbox_of(instance)
    end, found = await log.end(OUTBOX.name, mailbox), list[Record]()
    reader = log.reader(OUTBOX.name, {mailbox: 0})
    while reader.positions()[mailbox] < end:
        found += await reader.read(max_records=5_000, wait_ms=50)
    await reader.close()
    told = [(record.at, unpack_outbox(record.value)) for record in found]
    return [(at, message) for at, message in told if message.call_id == CALL]


async def played(here: World, cable: Cable, port: int) -> tuple[CallReport, Sockets]:
    """The script, over a cable that leads to `port` once the first socket is gone."""
    sockets = Sockets()

    def on_event(seen: Observation) -> None:
        if seen.kind is Seen.STREAM_CLOSED:
            cable.lead_to(port)

    issued_at = int(world.now().timestamp())
    secrets = TokenSecrets(secret=SECRET)
    token, _ = issue(secrets, tenant="acme", subject="u1", scopes=("call",), issued_at=issued_at, valid_s=600)
    config = AppConfig(cable.address, token, first_retry_s=0.2)
    async with Espeak() as voice:
        call = AppCall(config, Overheard(sockets), voice=voice.mulaw, jitter=world.chance, on_event=on_event)
        return await call.run(SCRIPT), sockets


@pytest.fixture
async def moved(tmp_path: Path) -> AsyncIterator[Moved]:
    assert mailbox_of(FIRST) != mailbox_of(SECOND)
    async with running(tmp_path, jwt_secret=SECRET, instance=FIRST) as here, second(here) as port:
        async with cabled(here.settings.port) as cable:
            report, sockets = await played(here, cable, port)
        opened = [event for event in await here.until(CALL, "call.ended") if isinstance(event, StreamOpened)]
        yield Moved(report, sockets, opened, {name: await mail(here.house.log, name) for name in (FIRST, SECOND)})


async def test_a_call_that_comes_back_to_another_ingest_goes_on_there(moved: Moved) -> None:
    assert (moved.report.violations, moved.report.failures, moved.report.streams) == ([], [], 2)
    first, then = moved.opened
    assert [first.mailbox, then.mailbox] == [mailbox_of(FIRST), mailbox_of(SECOND)]

    told = moved.sockets
    lines = told.of(1, "transcript")
    assert any(line["speaker"] == "caller" and "milk" in line["text"].lower() for line in lines)
    assert any(line["speaker"] == "agent" and "milk" in line["text"].lower() for line in lines)
    states = [message["status"] for message in told.of(1, "session_status")]
    assert {"listening", "processing", "speaking", "complete"} <= set(states)
    assert sum(len(message["audio_data"]) > 0 for message in told.of(1, "audio_output")) > 50

    here, there = moved.mail[FIRST], moved.mail[SECOND]
    assert {message.stream for _, message in here} == {first.stream}
    assert {message.stream for _, message in there} == {then.stream}
    assert here[-1][0] <= there[0][0]  # since the other was told anything, the first was told nothing more
