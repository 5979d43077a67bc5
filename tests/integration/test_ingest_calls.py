"""Twilio's wire through real sockets: a call passes, an interruption clears, a stranger in development comes in."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from ingest.app import NoDoor
from ingest.config import TwilioSecrets
from schema.envelope import type_of
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import encode
from schema.turn import ReplyInterrupted, ReplyStarted
from tests.support.doors import CALL, STOP, STREAM, begun, close_of, house, media


def sentence(stream: str, *, size: int) -> OutboxAudio:
    """The only one of the reply r1, as so many bytes of mu-law."""
    return OutboxAudio(
        call_id=CALL,
        stream=stream,
        reply="r1",
        sentence=0,
        sentence_id="s1",
        offset_ms=0,
        take=7,
        payload=b"\x55" * size,
        last=True,
    )


async def test_a_call_passes_end_to_end() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        for number in range(1, 6):
            await ws.send_json(media(number))
        started = ReplyStarted(id="r1", call_id=CALL, role="conversation", why="greeting")
        await h.mail(
            OutboxFact(call_id=CALL, stream=stream, position=7, body=encode(started)),
            sentence(stream, size=1600),
        )
        said: list[dict[str, Any]] = []
        while sum(len(base64.b64decode(m["media"]["payload"])) for m in said if m["event"] == "media") < 1600:
            said.append(await ws.receive_json(timeout=5))
        said.append(await ws.receive_json(timeout=5))
        for message in said:
            if message["event"] == "mark":
                await ws.send_json(message)
        events = await h.events("playback.marked")
        await ws.send_json({"event": "dtmf", "streamSid": STREAM, "sequenceNumber": "9", "dtmf": {"digit": "5"}})
        await ws.send_json(STOP)
        events = await h.events("stream.closed")
        await ws.close()
        kinds = [type_of(event) for event in events]
        assert kinds == [
            "call.started",
            "stream.opened",
            "playback.started",
            "playback.marked",
            "playback.marked",
            "dtmf.pressed",
            "stream.closed",
        ]
        assert events[-1].reason == "stop"  # type: ignore[union-attr]
        frames = await h.media()
        assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
        assert events[-1].last_sequence == len(frames)  # type: ignore[union-attr]
        assert sum(len(f.payload) for f in frames if hasattr(f, "reply")) == 1600


async def test_an_interrupted_reply_is_cleared_at_once() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        audio = sentence(stream, size=16_000)
        cut = ReplyInterrupted(id="i1", call_id=CALL, role="conversation", reply="r1")
        await h.mail(audio)
        await h.events("playback.started")
        await h.mail(OutboxFact(call_id=CALL, stream=stream, position=9, body=encode(cut)), audio)
        messages = [await ws.receive_json(timeout=5)]
        while messages[-1]["event"] != "clear":
            messages.append(await ws.receive_json(timeout=5))
        assert messages[-1] == {"event": "clear", "streamSid": STREAM}
        cleared = (await h.events("playback.cleared"))[-1]
        assert cleared.heard_ms < 2_000  # type: ignore[union-attr]
        await ws.close()
        assert (await h.events("stream.closed"))[-1].reason == "peer_closed"  # type: ignore[union-attr]


async def test_development_takes_the_unsigned() -> None:
    async with house(dev=True, twilio=TwilioSecrets(), public_url="") as h:
        ws = await h.http.ws_connect(h.base + "/ws/media-stream/any")
        await ws.send_json({"event": "start", "start": {"callSid": CALL}})
        await ws.send_json({"event": "media", "media": {"payload": "//8="}})
        kinds = [type_of(event) for event in await h.events("stream.opened")]
        assert kinds == ["call.started", "stream.opened"]
        await ws.close()


async def test_a_door_without_secrets_stays_shut() -> None:
    with pytest.raises(NoDoor, match="TWILIO_AUTH_TOKEN"):
        async with house(twilio=TwilioSecrets()):
            pass


async def test_a_restart_tells_everybody() -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        draining = asyncio.create_task(h.ingest.drain())
        assert await close_of(ws) == 1012
        await draining
        assert (await h.events("stream.closed"))[-1].reason == "restart"  # type: ignore[union-attr]


async def test_health_is_told() -> None:
    async with house() as h:
        assert (await h.http.get(h.base + "/healthz")).status == 200
        body = await (await h.http.get(h.base + "/readyz")).json()
        assert body["status"] == "healthy"
        assert body["active_sessions"] == 0
