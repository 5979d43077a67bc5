"""Whole spoken calls through the raw and the browser door: heard, answered, interrupted, and taken up after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from calltape.app_calls import token_for
from clients.app import AppCall, AppConfig
from clients.browser import BrowserWire
from clients.raw import RawWire
from clients.report import CallReport
from clients.script import Hangup, InterruptAfter, Network, Say, Script, Step, WaitFor
from clients.wire import Wire
from schema.envelope import AnyEvent
from schema.stream import PlaybackMarked, StreamOpened
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyStarted, ToolReturned
from tests.support.calls import World, names, running, texts
from workers.engines.espeak import Espeak

SECRET = "s" * 32
ANSWERED = WaitFor(wait_for="reply", timeout_ms=40_000)
INTERRUPTED: tuple[Step, ...] = (
    ANSWERED,
    Say(say="what can you do"),
    InterruptAfter(interrupt_after_ms=2_500),
    Say(say="make a note to buy milk"),
    ANSWERED,
    Hangup(),
)
DROPPED: tuple[Step, ...] = (
    ANSWERED,
    Say(say="what can you do"),
    InterruptAfter(interrupt_after_ms=2_000),
    Network(network="drop"),
    ANSWERED,
    Hangup(),
)
ON_A_SITE: tuple[Step, ...] = (ANSWERED, Say(say="show me the prices"), ANSWERED, Hangup())


@dataclass(frozen=True, slots=True)
class Called:
    """What became of one call."""

    wire: RawWire | BrowserWire
    report: CallReport
    shown: dict[str, Any]
    events: list[AnyEvent]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


CALLS: dict[str, tuple[type[RawWire] | type[BrowserWire], tuple[Step, ...], dict[str, str]]] = {
    "raw": (RawWire, INTERRUPTED, {}),
    "raw samples": (RawWire, INTERRUPTED, {"encoding": "pcm16"}),
    "browser": (BrowserWire, INTERRUPTED, {}),
    "raw dropped": (RawWire, DROPPED, {}),
    "browser dropped": (BrowserWire, DROPPED, {}),
    "raw site": (RawWire, ON_A_SITE, {"site": "example"}),
}
each = pytest.mark.parametrize("name", ["raw", "raw samples", "browser"])
dropped = pytest.mark.parametrize("name", ["raw dropped", "browser dropped"])


async def _call(world: World, speak: Any, token: str, name: str) -> Called:
    kind, steps, asked = CALLS[name]
    wire = kind(tenant="default", session=name.replace(" ", "-"), **asked)
    config = AppConfig(world.address, token, first_retry_s=0.2)
    call = AppCall(config, wire, voice=speak, jitter=lambda: 0.0, on_event=lambda seen: None)
    report = await call.run(Script(steps=steps))
    shown = await world.shown(report.call_id)
    return Called(wire, report, shown, await world.events(report.call_id))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Called]]:
    """All at once, on one running house: real time is spent once, and they must not disturb each other."""
    folder: Path = tmp_path_factory.mktemp("house")
    async with running(folder, jwt_secret=SECRET) as world, Espeak() as voice:
        token, _ = token_for("", world.settings)
        called = await asyncio.gather(*(_call(world, voice.mulaw, token, name) for name in CALLS))
    yield dict(zip(CALLS, called, strict=True))


def test_the_clients_are_of_one_protocol() -> None:
    wires: list[Wire] = [RawWire(tenant="t", session="s"), BrowserWire(tenant="t", session="s")]
    assert [wire.path.split("?")[0] for wire in wires] == ["/voice-ws", "/ws/voice"]


@pytest.mark.parametrize("name", CALLS)
def test_the_whole_script_was_played_and_no_rule_broken(calls: dict[str, Called], name: str) -> None:
    report = calls[name].report
    assert (report.violations, report.failures, report.ended_by) == ([], [], "caller")
    assert len(report.heard) > 8_000


@each
def test_the_caller_is_heard_and_answered(calls: dict[str, Called], name: str) -> None:
    called = calls[name]
    assert [text for text in texts(called.events, "transcript.settled") if text] == [
        "what can you do",
        "make a note to buy milk",
    ]
    assert [event.why for event in called.of(ReplyStarted)][:3] == ["greeting", "turn", "turn"]
    assert called.shown["reason"] == "request"
    assert called.shown["complete"] is True


@each
def test_an_interruption_is_told_and_cuts_what_was_not_heard(calls: dict[str, Called], name: str) -> None:
    called = calls[name]
    assert called.report.clears == 1
    assert [event.why for event in called.of(ReplyInterrupted)] == ["barge_in"]
    assert [event.interrupted for event in called.of(ReplyFinished)][:2] == [False, True]
    cut = next(line for line in called.shown["transcript"] if line.get("said", line["text"]) != line["text"])
    assert cut["said"].startswith(cut["text"])


@each
def test_what_the_client_played_is_known_and_not_guessed(calls: dict[str, Called], name: str) -> None:
    heard = [mark for mark in calls[name].of(PlaybackMarked) if mark.last]
    assert heard and not heard[0].estimated


@each
def test_the_client_reads_what_was_said(calls: dict[str, Called], name: str) -> None:
    words = calls[name].wire.transcript
    assert [line.text for line in words if line.speaker == "caller" and line.is_final] == [
        "what can you do",
        "make a note to buy milk",
    ]
    assert any("milk" in line.text for line in words if line.speaker == "agent")


@dropped
def test_a_client_that_lost_its_socket_goes_on_where_it_stopped_hearing(calls: dict[str, Called], name: str) -> None:
    called = calls[name]
    assert called.report.streams == 2
    assert len(called.of(StreamOpened)) == 2
    assert "reply.resumed" in names(called.events)
    said = [line for line in called.shown["transcript"] if line["speaker"] == "agent"]
    assert all(line["text"] == line["said"] for line in said)
    assert len({line["id"] for line in said}) == len(said)


def test_a_site_shows_its_pages(calls: dict[str, Called]) -> None:
    called = calls["raw site"]
    assert [event.status for event in called.of(ToolReturned)] == ["ok"]
    assert called.wire.pages == ["/prices"]
    assert {event.agent for event in called.of(ReplyStarted)} == {"site"}
