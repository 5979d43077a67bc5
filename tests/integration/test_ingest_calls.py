"""Twilio's wire through real sockets: a call passes, and bad input gets the answers of the contract's table."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from ingest.app import NoDoor
from ingest.config import Limits, Pace, TwilioSecrets
from schema.envelope import type_of
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import encode
from schema.turn import ReplyInterrupted, ReplyStarted
from tests.support.doors import ACCOUNT, CALL, STOP, STREAM, begun, close_of, house, media, start


async def test_a_call_passes_end_to_end() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        for number in range(1, 6):
            await ws.send_json(media(number))
        started = ReplyStarted(id="r1", call_id=CALL, role="conversation", why="greeting")
        await h.mail(
            OutboxFact(call_id=CALL, stream=stream, position=7, body=encode(started)),
            OutboxAudio(
                call_id=CALL,
                stream=stream,
                reply="r1",
                sentence=0,
                sentence_id="s1",
                offset_ms=0,
                take=7,
                payload=b"\x55" * 1600,
                last=True,
            ),
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
        audio = OutboxAudio(
            call_id=CALL,
            stream=stream,
            reply="r1",
            sentence=0,
            sentence_id="s1",
            offset_ms=0,
            take=7,
            payload=b"\x55" * 16_000,
            last=True,
        )
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


BAD: list[tuple[str, list[Any], int, str]] = [
    ("media before start", [media(1)], 1002, "media_before_start"),
    ("a second start with other ids", [start(), start("CA0002")], 1002, "second_start"),
    ("another call's token", [start("CA0002")], 1008, "start_mismatch"),
    ("not JSON, twenty times", ["{"] * 20, 1008, "not_json"),
    ("an unknown event, twenty times", [{"event": "what"}] * 20, 1008, "unknown_event"),
    ("base64 that is not", [start()] + [{**media(1), "media": {"payload": "%%%"}}] * 20, 1008, "malformed"),
    ("binary frames", [b"\x00"] * 20, 1008, "binary_frame"),
    ("a huge message", ["x" * 70_000], 1009, "too_big"),
]


@pytest.mark.parametrize(("name", "frames", "code", "kind"), BAD, ids=[row[0] for row in BAD])
async def test_bad_input_gets_the_tables_answer(name: str, frames: list[Any], code: int, kind: str) -> None:
    async with house() as h:
        ws = await h.socket(await h.token())
        for frame in frames:
            if isinstance(frame, bytes):
                await ws.send_bytes(frame)
            else:
                await ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))
        assert await close_of(ws) == code
        await h.counted(f'calltape_bad_input_total{{door="twilio",kind="{kind}"}}')


async def test_what_can_go_on_goes_on() -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        for frame in (["{"] * 3, [json.dumps(start())], [json.dumps(media(1))] * 2, [json.dumps(STOP)] * 2):
            for text in frame:
                await ws.send_str(text)
        closed = (await h.events("stream.closed"))[-1]
        assert (closed.reason, closed.last_sequence) == ("stop", 1)  # type: ignore[union-attr]
        await ws.close()
        for kind in ("not_json", "repeated_start", "after_stop"):
            await h.counted(f'kind="{kind}"')


async def test_no_start_in_time_is_1008() -> None:
    async with house(limits=Limits(start_ms=50)) as h:
        ws = await h.socket(await h.token())
        assert await close_of(ws) == 1008
        await h.counted('kind="no_start"')


async def test_too_many_messages_are_dropped_and_then_refused() -> None:
    async with house(limits=Limits(frames_bucket=5, frames_a_second=1, over_rate_ms=0)) as h:
        ws, _stream = await begun(h)
        for number in range(1, 10):
            await ws.send_json(media(number))
        assert await close_of(ws) == 1008
        await h.counted('kind="over_rate"')


async def test_a_peer_that_stops_reading_is_cut_off() -> None:
    async with house(limits=Limits(unsent_bytes=64 * 1024), pace=Pace(lead_ms=10_000_000)) as h:
        ws, stream = await begun(h)
        chunks = [
            OutboxAudio(
                call_id=CALL,
                stream=stream,
                reply="r1",
                sentence=0,
                sentence_id="s1",
                offset_ms=n * 20_000,
                take=7,
                payload=b"\x55" * 160_000,
            )
            for n in range(60)
        ]
        await h.mail(*chunks)
        assert (await h.events("stream.closed"))[-1].reason == "slow"  # type: ignore[union-attr]
        await h.counted('kind="slow_peer"')
        ws._response.close()


async def test_strangers_stay_outside() -> None:
    async with house() as h:
        token = await h.token()
        with pytest.raises(aiohttp.WSServerHandshakeError) as forged:
            await h.http.ws_connect(f"{h.base}/ws/media-stream/{token}", headers={"X-Twilio-Signature": "bm8="})
        assert forged.value.status == 403
        ws = await h.socket(token)
        with pytest.raises(aiohttp.WSServerHandshakeError) as again:
            await h.socket(token)
        assert again.value.status == 403
        await ws.close()
        answer = await h.http.post(h.base + "/twilio/voice", data={"CallSid": CALL})
        assert answer.status == 403
        await h.counted("reused_token")


async def test_a_full_server_says_so() -> None:
    async with house(limits=Limits(connections=1)) as h:
        token = await h.token()
        spare = h.ingest._tokens.issue(call_id=CALL, account=ACCOUNT, tenant_id="t", agent="", user_id="")
        ws = await h.socket(token)
        with pytest.raises(aiohttp.WSServerHandshakeError) as full:
            await h.socket(spare)
        assert (full.value.status, full.value.headers["Retry-After"]) == (429, "5")  # type: ignore[index]
        await ws.close()


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


async def test_resuming_too_often_hangs_up() -> None:
    async with house(limits=Limits(resumes_a_minute=1)) as h:
        first = await (await h.voice("/twilio/voice?resume=1")).text()
        second = await (await h.voice("/twilio/voice?resume=1")).text()
        assert "<Stream" in first
        assert "<Hangup" in second


async def test_the_carriers_reports_become_facts() -> None:
    async with house() as h:
        await h.voice()
        answer = await h.voice("/twilio/status", CallStatus="completed", SequenceNumber="3", CallDuration="12")
        assert answer.status == 204
        reported = (await h.events("call.reported"))[-1]
        assert (reported.status, reported.sequence, reported.duration_ms) == ("completed", 3, 12_000)  # type: ignore[union-attr]
        answer = await h.voice("/twilio/stream-status", StreamSid=STREAM, StreamEvent="stream-stopped")
        assert answer.status == 204
