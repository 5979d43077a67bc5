"""Whole spoken calls over Socket.IO and by push-to-talk, with the offline engines; one changes its transport."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from audio.opus import OpusDecoder
from audio.resample import resample
from calltape import world
from clients import opus
from clients.report import Observation, Seen
from clients.script import Hangup, Say, Script
from clients.socketio import SocketioClient
from clients.sound import mulaw_to_wav
from clients.turns import TurnsClient, play_script
from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.envelope import AnyEvent
from schema.stream import StreamOpened, StreamSuperseded
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyStarted
from tests.support.calls import World, running, texts
from tests.support.node import javascript
from tests.support.transcripts import agrees
from workers.engines.espeak import Espeak
from workers.engines.port import VoiceRequest

SECRET = "s" * 32
RATE = 48_000
PATIENCE_S = 40
PAGE = Path(__file__).parents[2] / "docs" / "protocols" / "turns.md"


def token(user: str = "u1") -> str:
    issued_at = int(world.now().timestamp())
    secrets = TokenSecrets(secret=SECRET)
    return issue(secrets, tenant="acme", subject=user, scopes=("call",), issued_at=issued_at, valid_s=600)[0]


@dataclass(frozen=True, slots=True)
class Stage:
    """A running house and a caller's voice."""

    world: World
    voice: Espeak

    async def speech(self, text: str) -> list[bytes]:
        """Words and the silence behind them, as packets of 20 ms."""
        request = VoiceRequest(text, "en-us", "en-US", 16_000, 140)
        spoken = b"".join([piece async for piece in self.voice.speak(request)])
        return opus.encode(resample(spoken, 16_000, RATE) + bytes(RATE * 3), RATE, packet_ms=20)

    async def until(self, call_id: str, kind: type, count: int = 1) -> list[AnyEvent]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                events = await self.world.events(call_id)
                if sum(isinstance(event, kind) for event in events) >= count:
                    return events
                await asyncio.sleep(0.05)


@asynccontextmanager
async def paced() -> AsyncIterator[Any]:
    """A clock that gives a beat every 20 ms."""
    loop = asyncio.get_running_loop()
    began, beats = loop.time(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        await asyncio.sleep(max(0.0, began + beats * 0.02 - loop.time()))

    yield beat


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("house")
    async with running(folder, jwt_secret=SECRET) as world_, Espeak() as voice:
        yield Stage(world_, voice)


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    """What a client that is there does."""
    while not socket.closed:
        await socket.receive()


def interrupted(value: Any) -> bool:
    return isinstance(value, dict) and value.get("interrupted") is True


@pytest.mark.asyncio(loop_scope="module")
class TestSpokenCalls:
    async def test_over_socketio_the_caller_is_heard_answered_interrupts_and_hangs_up(self, stage: Stage) -> None:
        async with SocketioClient(stage.world.address, token()) as client:
            ready = await client.start(locale="en-US")
            call_id = ready["call"]
            await stage.until(call_id, ReplyFinished)
            for words in ("what can you do", "make a note to buy milk"):
                before = len(client.came)
                async with paced() as beat:
                    for packet in await stage.speech(words):
                        await client.audio(packet)
                        await beat()
                await client.until("voice:audio", after=before, patience_s=PATIENCE_S)
            events = await stage.until(call_id, ReplyInterrupted)
            events = await stage.until(call_id, ReplyFinished, 3)
            await client.end()
            ended = await client.until("voice:ended", patience_s=PATIENCE_S)
        assert ended.value["reason"] == "request"
        assert "milk" in texts(events, "transcript.settled")[-1].lower()
        assert any(interrupted(came.value) for came in client.came if came.name == "voice:status")
        decoder = OpusDecoder(16_000)
        assert any(any(decoder.decode(packet)) for packet in client.of("voice:audio"))
        shown = await stage.world.shown(call_id)
        assert (shown["channel"], shown["reason"]) == ("socketio", "request")

    async def test_a_call_begun_on_raw_opus_is_finished_over_socketio(self, stage: Stage) -> None:
        call_id = "acme~moves"
        async with aiohttp.ClientSession() as http:
            raw = await http.ws_connect(f"{stage.world.address}/voice-ws?sessionId=moves&token={token()}")
            await raw.send_json({"type": "voice_start", "metadata": {"sessionId": "moves"}})
            reading = asyncio.create_task(_read(raw))
            await stage.until(call_id, ReplyFinished)
            async with SocketioClient(stage.world.address, token()) as client:
                assert (await client.start(sessionId="moves"))["companion"] is True
                await client.text("what can you do")  # answered on the raw socket
                await client.until("voice:response", patience_s=PATIENCE_S)
                await stage.until(call_id, ReplyStarted, 2)
                for packet in (await stage.speech("make a note to buy milk"))[:150]:
                    await client.audio(packet)
                    await asyncio.sleep(0.02)
                await stage.until(call_id, StreamSuperseded)
                await client.until("voice:audio", patience_s=PATIENCE_S)
                async with asyncio.timeout(PATIENCE_S):
                    await reading
                events = await stage.until(call_id, ReplyFinished, 3)
                await client.end()
                await client.until("voice:ended", patience_s=PATIENCE_S)
        assert raw.close_code == 4409
        assert [event.door for event in events if isinstance(event, StreamOpened)] == ["raw", "socketio"]
        assert "milk" in texts(events, "transcript.settled")[-1].lower()

    async def test_the_javascript_client_is_answered_and_told_goodbye(self, stage: Stage) -> None:
        async with javascript(stage.world.address, token(), "polling,websocket") as client:
            await client.until("connect")
            await client.emit("voice:start", {"locale": "en-US"})
            await client.event("voice:session_ready")
            await client.event("voice:audio")
            await client.emit("voice:text", {"text": "goodbye"})
            ended = await client.event("voice:ended")
            assert ended["reason"]
            await client.until("disconnect", "io server disconnect")

    async def test_turns_are_heard_answered_and_remembered(self, stage: Stage) -> None:
        async with TurnsClient(stage.world.address, token()) as client:
            sound = mulaw_to_wav(await stage.voice.mulaw("make a note to buy milk", "en-us", 140))
            spoken = await client.speak(sound, "audio/wav")
            assert (spoken.transcript, spoken.response) == ("make a note to buy milk", "I made a note, buy milk.")
            pcm, rate = spoken.samples()
            assert rate == 16_000 and 16_000 < len(pcm) < 160_000 and any(pcm)
            written = await client.write("what is on my list")
            assert "milk" in written.response.lower()
            goodbye = await client.write("goodbye")
            assert goodbye.ended and goodbye.response
            events = await stage.world.events(client.call_id)
            shown = await stage.world.shown(client.call_id)
        greeting = next(event for event in events if isinstance(event, ReplyStarted) and event.why == "greeting")
        (cut,) = [event for event in events if isinstance(event, ReplyFinished) and event.reply == greeting.id]
        assert cut.interrupted
        assert (shown["channel"], len([e for e in events if isinstance(e, StreamOpened)])) == ("turns", 3)

    async def test_a_script_is_played_a_request_a_turn(self, stage: Stage) -> None:
        seen: list[Observation] = []
        script = Script(steps=(Say(say="make a note to buy milk"), Say(say="goodbye"), Hangup()))

        async def speak(text: str) -> bytes:
            return await stage.voice.mulaw(text, "en-us", 140)

        report = await play_script(stage.world.address, token(), script, voice=speak, on_event=seen.append)
        assert report.failures == []
        assert (report.streams, report.ended_by, len(report.turns)) == (2, "server", 2)
        assert report.call_id.startswith("acme~") and len(report.heard) == len(report.caller)
        assert "milk" in next(each.text for each in seen if each.kind is Seen.AGENT_STARTED)

    async def test_the_pages_conversation_is_what_happens(self, stage: Stage) -> None:
        (block,) = re.findall(r"```http\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        call_id = ""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as http:
            lines = block.replace("<the same>", "THE-SAME").splitlines()
            for asked, expected in zip(lines[::2], lines[1::2], strict=True):
                body = asked.removeprefix("POST /api/turns ").replace("THE-SAME", call_id)
                status, _, told = expected.partition(" ")
                async with http.post(stage.world.address + "/api/turns", json=json.loads(body)) as answer:
                    came = await answer.json(content_type=None)
                assert answer.status == int(status), came
                call_id = call_id or came["call_id"]
                assert agrees(json.loads(told.replace("THE-SAME", call_id)), came), (told, came)
