"""An app speaks, is heard, answered and interrupts: whole calls through the app doors with the offline engines.

The calls take place at once, on one running house, at real pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from calltape import world
from calltape.app_calls import APP_DOORS, App
from clients.app import AppCall, AppConfig
from clients.report import CallReport, Observation
from clients.script import Hangup, InterruptAfter, Network, Say, Script, Step, Wait, WaitFor
from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.envelope import AnyEvent
from schema.stream import StreamOpened
from schema.turn import ReplyFinished
from tests.support.calls import World, running, texts
from workers.engines.espeak import Espeak

SECRET = "s" * 32
GREETED = WaitFor(wait_for="reply", timeout_ms=40_000)
ANSWERED = WaitFor(wait_for="reply", timeout_ms=40_000)
INTERRUPTION: tuple[Step, ...] = (
    GREETED,
    Say(say="what can you do"),
    InterruptAfter(interrupt_after_ms=2500),
    Say(say="make a note to buy milk"),
    ANSWERED,
    Hangup(),
)
LOSS: tuple[Step, ...] = (
    GREETED,
    Say(say="what can you do"),
    InterruptAfter(interrupt_after_ms=2000),
    Network(network="drop"),
    Wait(wait=500),
    ANSWERED,
    Hangup(),
)
CALLS = {
    **{f"{door} interruption": (door, INTERRUPTION) for door in APP_DOORS},
    "mobile loss": ("mobile", LOSS),
}


@dataclass(frozen=True, slots=True)
class Called:
    report: CallReport
    events: list[AnyEvent]
    shown: dict[str, Any]


async def _placed(world_: World, door: str, steps: tuple[Step, ...], voice: Espeak) -> Called:
    issued_at = int(world.now().timestamp())
    secrets = TokenSecrets(secret=SECRET)
    token, _ = issue(secrets, tenant="acme", subject="u1", scopes=("call",), issued_at=issued_at, valid_s=600)

    async def speak(text: str) -> bytes:
        return await voice.mulaw(text, "en-us", 140)

    def unseen(_: Observation) -> None:
        """Only the report counts."""

    wire = APP_DOORS[door](App("acme", world.new_hex()))
    config = AppConfig(world_.address, token, first_retry_s=0.2)
    report = await AppCall(config, wire, voice=speak, jitter=world.chance, on_event=unseen).run(Script(steps=steps))
    shown = await world_.shown(report.call_id)
    return Called(report, await world_.events(report.call_id), shown)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Called]]:
    folder: Path = tmp_path_factory.mktemp("house")
    async with running(folder, jwt_secret=SECRET) as world_, Espeak() as voice:
        placed = await asyncio.gather(*(_placed(world_, door, steps, voice) for door, steps in CALLS.values()))
    yield dict(zip(CALLS, placed, strict=True))


@pytest.mark.parametrize("name", [name for name in CALLS if name.endswith("interruption")])
def test_an_app_that_interrupts_silences_the_reply_and_is_answered(calls: dict[str, Called], name: str) -> None:
    called = calls[name]
    assert called.report.violations == []
    assert called.report.failures == []
    assert (called.report.streams, called.report.clears) == (1, 1)
    assert [event for event in called.events if isinstance(event, ReplyFinished) and event.interrupted]
    assert "milk" in texts(called.events, "transcript.settled")[-1].lower()
    assert called.shown["reason"] == "request"
    assert called.shown["channel"] == name.split()[0]
    assert called.shown["recording"]


def test_an_app_that_lost_its_socket_is_answered_on_the_next(calls: dict[str, Called]) -> None:
    called = calls["mobile loss"]
    assert called.report.violations == []
    assert called.report.failures == []
    assert called.report.streams == 2
    assert len([event for event in called.events if isinstance(event, StreamOpened)]) == 2
