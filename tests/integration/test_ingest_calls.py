"""Twilio's wire through real sockets: a call passes, and bad input gets the answers of the contract's table."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

from eventlog.memory import MemoryLog
from eventlog.port import Entry
from ingest.app import Ingest, NoDoor
from ingest.config import IngestConfig, Limits, Pace, TwilioSecrets
from schema.envelope import AnyEvent, type_of
from schema.outbox import OutboxAudio, OutboxFact, OutboxMessage
from schema.registry import decode, encode, pack, unpack_media
from schema.topics import EVENTS, MEDIA, OUTBOX, mailbox_of, partition_of
from schema.turn import ReplyInterrupted, ReplyStarted

PUBLIC = "https://calls.example"
CALL, ACCOUNT, STREAM = "CA0001", "AC0001", "MZ0001"
SECRETS = TwilioSecrets(account_sid=ACCOUNT, auth_token="secret")


def _ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass
class House:
    ingest: Ingest
    log: MemoryLog
    http: aiohttp.ClientSession
    base: str

    async def events(self, until: str = "", call_id: str = CALL) -> list[AnyEvent]:
        """The call's facts, read until one of type `until` is there."""
        partition = partition_of(call_id, EVENTS.partitions)
        reader = self.log.reader(EVENTS.name, {partition: 0})
        found: list[AnyEvent] = []
        async with asyncio.timeout(5):
            while True:
                found += [decode(record.value) for record in await reader.read(wait_ms=20)]
                if not until or any(type_of(event) == until for event in found):
                    return found

    async def media(self) -> list[Any]:
        partition = partition_of(CALL, MEDIA.partitions)
        records = await self.log.reader(MEDIA.name, {partition: 0}).read(wait_ms=500)
        return [unpack_media(record.value) for record in records]

    async def mail(self, *messages: OutboxMessage) -> None:
        mailbox = mailbox_of("test")
        await self.log.append(OUTBOX.name, [Entry(m.call_id, pack(m), mailbox) for m in messages])

    async def voice(self, path: str = "/twilio/voice", **changes: str) -> aiohttp.ClientResponse:
        form = {"CallSid": CALL, "AccountSid": ACCOUNT, "From": "+15550001", "To": "+15550002", "Direction": "inbound"}
        form.update(changes)
        signature = RequestValidator("secret").compute_signature(PUBLIC + path, form)
        return await self.http.post(self.base + path, data=form, headers={"X-Twilio-Signature": signature})

    async def token(self) -> str:
        answer = await self.voice()
        text = await answer.text()
        return text.split("/ws/media-stream/")[1].split('"')[0]

    async def socket(self, token: str) -> aiohttp.ClientWebSocketResponse:
        path = f"/ws/media-stream/{token}"
        signature = RequestValidator("secret").compute_signature("wss://calls.example" + path, {})
        return await self.http.ws_connect(self.base + path, headers={"X-Twilio-Signature": signature})

    async def counted(self, kind: str) -> None:
        """Returns once /metrics shows it: the peer may see its close before the server has looked back."""
        async with asyncio.timeout(5):
            while kind not in await (await self.http.get(self.base + "/metrics")).text():
                pass


@asynccontextmanager
async def house(**changes: Any) -> AsyncIterator[House]:
    ids = itertools.count(1)
    fields: dict[str, Any] = {"instance": "test", "public_url": PUBLIC, "twilio": SECRETS, "housekeeping_ms": 20}
    config = IngestConfig(**{**fields, **changes})
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000  # noqa: E731
    async with (
        MemoryLog(now=now) as log,
        Ingest(config, log, now=now, clock=_ms, new_id=lambda: f"id-{next(ids):012d}") as ingest,
        aiohttp.ClientSession() as http,
    ):
        port = await ingest.start("127.0.0.1", 0)
        yield House(ingest, log, http, f"http://127.0.0.1:{port}")


def start(call: str = CALL) -> dict[str, Any]:
    body = {
        "accountSid": ACCOUNT,
        "streamSid": STREAM,
        "callSid": call,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": body}


def media(number: int, payload: bytes = b"\xff" * 160) -> dict[str, Any]:
    body = {
        "track": "inbound",
        "chunk": str(number),
        "timestamp": str(number * 20),
        "payload": base64.b64encode(payload).decode(),
    }
    return {"event": "media", "sequenceNumber": str(number + 1), "streamSid": STREAM, "media": body}


STOP = {"event": "stop", "streamSid": STREAM, "stop": {"accountSid": ACCOUNT, "callSid": CALL}}


async def close_of(ws: aiohttp.ClientWebSocketResponse) -> int:
    async with asyncio.timeout(5):
        while not ws.closed:
            await ws.receive()
    return ws.close_code or 0


async def begun(house: House) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """A signed call with its stream open, and that stream's name."""
    ws = await house.socket(await house.token())
    await ws.send_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    await ws.send_json(start())
    opened = (await house.events("stream.opened"))[-1]
    return ws, opened.stream  # type: ignore[union-attr]


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
