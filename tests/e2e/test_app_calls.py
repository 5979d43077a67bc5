"""An app speaks, is heard, answered and interrupts: whole calls through the app doors with the offline engines.

The calls take place at once, on one running house, at real pace.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
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
INTRUDER_S = 10.0
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
    "call loss": ("call", LOSS),
}


@dataclass(frozen=True, slots=True)
class Called:
    report: CallReport
    events: list[AnyEvent]
    shown: dict[str, Any]


def _token(user: str) -> str:
    issued_at = int(world.now().timestamp())
    secrets = TokenSecrets(secret=SECRET)
    return issue(secrets, tenant="acme", subject=user, scopes=("call",), issued_at=issued_at, valid_s=600)[0]


async def _placed(world_: World, door: str, steps: tuple[Step, ...], voice: Espeak) -> Called:
    async def speak(text: str) -> bytes:
        return await voice.mulaw(text, "en-us", 140)

    def unseen(_: Observation) -> None:
        """Only the report counts."""

    wire = APP_DOORS[door](App("acme", world.new_hex()))
    config = AppConfig(world_.address, _token("u1"), first_retry_s=0.2)
    report = await AppCall(config, wire, voice=speak, jitter=world.chance, on_event=unseen).run(Script(steps=steps))
    shown = await world_.shown(report.call_id)
    return Called(report, await world_.events(report.call_id), shown)


async def _typed(world_: World, folder: Path) -> dict[str, Any]:
    """What `calltape call` prints for a call through the mobile door."""
    command = (
        "-m",
        "calltape",
        "call",
        "--door",
        "mobile",
        "--to",
        world_.address,
        "--say",
        "what can you do",
        "--json",
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLTAPE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env={**environment, "CALLTAPE_JWT_SECRET": SECRET, "CALLTAPE_DATA": str(folder / "caller")},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    return {"code": process.returncode, **json.loads(told)}


async def _intruded(world_: World) -> tuple[str, int]:
    """What another user is told who names a session that is alive."""
    message = {"type": "start_session", "session_id": "mine", "audio_format": "opus"}
    url = f"{world_.address}/voice/stream/ws/acme"
    async with aiohttp.ClientSession() as http:
        owner = await http.ws_connect(url, headers={"Authorization": f"Bearer {_token('u1')}"})
        await owner.send_json(message)
        await world_.until("acme~mine", "profile.used")
        intruder = await http.ws_connect(url, headers={"Authorization": f"Bearer {_token('u2')}"})
        await intruder.send_json(message)
        codes: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(INTRUDER_S):
                codes += [said["error_code"] async for said in _said(intruder) if said["type"] == "error"]
        closed = intruder.close_code or 0
        await owner.close()
        await intruder.close()
        return ",".join(codes), closed


async def _said(ws: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    async for message in ws:
        yield json.loads(message.data)


@dataclass(frozen=True, slots=True)
class Placed:
    """Everything that took place on one house."""

    by_name: dict[str, Called]
    typed: dict[str, Any]
    intruded: tuple[str, int]

    def __getitem__(self, name: str) -> Called:
        return self.by_name[name]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Placed]:
    folder: Path = tmp_path_factory.mktemp("house")
    async with running(folder, jwt_secret=SECRET) as world_, Espeak() as voice, asyncio.TaskGroup() as tasks:
        placed = [tasks.create_task(_placed(world_, door, steps, voice)) for door, steps in CALLS.values()]
        typed, intruded = tasks.create_task(_typed(world_, folder)), tasks.create_task(_intruded(world_))
        await asyncio.wait([*placed, typed, intruded])
    by_name = {name: task.result() for name, task in zip(CALLS, placed, strict=True)}
    yield Placed(by_name, typed.result(), intruded.result())


@pytest.mark.parametrize("name", [name for name in CALLS if name.endswith("interruption")])
def test_an_app_that_interrupts_silences_the_reply_and_is_answered(calls: Placed, name: str) -> None:
    called = calls[name]
    assert called.report.violations == []
    assert called.report.failures == []
    assert (called.report.streams, called.report.clears) == (1, 1)
    assert [event for event in called.events if isinstance(event, ReplyFinished) and event.interrupted]
    assert "milk" in texts(called.events, "transcript.settled")[-1].lower()
    assert called.shown["reason"] == "request"
    assert called.shown["channel"] == name.split()[0]
    assert called.shown["recording"]


@pytest.mark.parametrize("name", [name for name in CALLS if name.endswith("loss")])
def test_an_app_that_lost_its_socket_is_answered_on_the_next(calls: Placed, name: str) -> None:
    called = calls[name]
    assert called.report.violations == []
    assert called.report.failures == []
    assert called.report.streams == 2
    assert len([event for event in called.events if isinstance(event, StreamOpened)]) == 2


def test_the_command_places_a_call_as_an_app_does(calls: Placed) -> None:
    told = calls.typed
    assert (told["code"], told["ok"], told["violations"], told["streams"]) == (0, True, [], 1)
    assert told["call_id"].startswith("default~")
    assert [turn["first_audio_ms"] is not None for turn in told["turns"]] == [True]
    assert Path(told["heard_wav"]).stat().st_size > 8_000


def test_another_users_session_is_forbidden(calls: Placed) -> None:
    assert calls.intruded == ("FORBIDDEN", 1008)
