"""Each row of the contract's table of bad input: the close code as the peer sees it, and the count in /metrics."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from eventlog.memory import MemoryLog
from eventlog.port import LogUnavailable
from ingest.app import Ingest
from ingest.config import IngestConfig, Limits, Pace, TokenSecrets
from ingest.tokens import issue
from schema.call import RequestMade
from schema.envelope import type_of
from schema.stream import DtmfPressed, StreamClosed, StreamSuperseded, TextTyped
from tests.support.doors import (
    ACCOUNT,
    CALL,
    STOP,
    STREAM,
    Hands,
    House,
    begun,
    close_of,
    fact,
    house,
    media,
    open_stream,
    signed,
    speech,
    start,
)

JUNK = {
    "not JSON": ("{", "not_json"),
    "an unknown event": ('{"event": "what"}', "unknown_event"),
    "no event at all": ("{}", "unknown_event"),
    "base64 that is not": (json.dumps({**media(1), "media": {**media(1)["media"], "payload": "%%%"}}), "malformed"),
    "a wrong type": (json.dumps({**media(1), "media": []}), "malformed"),
    "a binary frame": (b"\x00", "binary_frame"),
}


def bad(kind: str) -> str:
    return f'calltape_bad_input_total{{door="twilio",kind="{kind}"}}'


async def send(ws: aiohttp.ClientWebSocketResponse, frame: Any) -> None:
    if isinstance(frame, bytes):
        await ws.send_bytes(frame)
    else:
        await ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))


@pytest.mark.parametrize("name", JUNK)
async def test_nineteen_senseless_messages_are_skipped_and_counted(name: str) -> None:
    frame, kind = JUNK[name]
    async with house() as h:
        ws, _stream = await begun(h)
        for _ in range(19):
            await send(ws, frame)
        await send(ws, STOP)
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.reason == "stop"
        await h.counted(bad(kind), 19)
        await ws.close()


@pytest.mark.parametrize("name", JUNK)
async def test_the_twentieth_in_a_row_is_1008(name: str) -> None:
    frame, kind = JUNK[name]
    async with house() as h:
        ws, _stream = await begun(h)
        for _ in range(20):
            await send(ws, frame)
        assert await close_of(ws) == 1008
        await h.counted(bad(kind), 20)
        await h.counted(bad("bad_in_a_row"), 1)
        await h.counted('calltape_closed_total{code="1008",door="twilio",reason="limit"}', 1)


async def test_media_before_start_is_1002() -> None:
    async with house() as h:
        ws = await h.socket(await h.token())
        await ws.send_json(media(1))
        assert await close_of(ws) == 1002
        await h.counted(bad("media_before_start"), 1)


@pytest.mark.parametrize("name", ["callSid", "accountSid", "streamSid"])
async def test_a_second_start_with_another_id_is_1002(name: str) -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        again = start()
        again["start"][name] = "XX9"
        await ws.send_json(again)
        assert await close_of(ws) == 1002
        await h.counted(bad("second_start"), 1)


@pytest.mark.parametrize("name", ["callSid", "accountSid"])
async def test_a_start_that_is_not_its_tokens_is_1008_and_never_on_the_log(name: str) -> None:
    async with house() as h:
        ws = await h.socket(await h.token())
        other = start()
        other["start"][name] = "XX9"
        await ws.send_json(other)
        await ws.send_json(media(1))
        assert await close_of(ws) == 1008
        await h.counted(bad("start_mismatch"), 1)
        assert [type_of(event) for event in await h.events()] == ["call.started"]


@pytest.mark.parametrize(("token", "kind"), [("", "missing_token"), ("forged.token", "bad_token")])
async def test_a_start_without_a_good_token_is_1008(token: str, kind: str) -> None:
    async with house() as h:
        ws = await h.http.ws_connect(h.base + "/ws/media-stream", headers=signed("/ws/media-stream"))
        begin = start()
        begin["start"]["customParameters"] = {"token": token} if token else {}
        await ws.send_json(begin)
        assert await close_of(ws) == 1008
        await h.counted(bad(kind), 1)


async def test_a_token_may_come_as_a_parameter_of_start() -> None:
    async with house() as h:
        token = await h.token()
        ws = await h.http.ws_connect(h.base + "/ws/media-stream", headers=signed("/ws/media-stream"))
        begin = start()
        begin["start"]["customParameters"] = {"token": token}
        await ws.send_json(begin)
        assert [type_of(event) for event in await h.events("stream.opened")] == ["call.started", "stream.opened"]
        await ws.close()


async def test_the_same_start_again_and_all_that_follows_stop_is_ignored_and_counted() -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        for message in (start(), media(1), STOP, media(2), STOP, start()):
            await send(ws, message)
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert (closed.reason, closed.last_sequence) == ("stop", 1)
        await h.counted(bad("repeated_start"), 1)
        await h.counted(bad("after_stop"), 3)
        assert len(await h.media()) == 1
        await ws.close()
        assert [type_of(event) for event in await h.events()].count("stream.closed") == 1


async def test_a_peer_that_does_not_close_after_stop_is_closed() -> None:
    async with house(limits=Limits(after_stop_ms=20)) as h:
        ws, _stream = await begun(h)
        await ws.send_json(STOP)
        assert await close_of(ws) == 1000


async def test_no_start_in_time_is_1008() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws = await h.socket(await h.token())
        await ws.send_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        await h.counted('calltape_messages_total{direction="in",door="twilio"}', 1)
        hands.at += 10_000
        assert await close_of(ws) == 1008
        await h.counted(bad("no_start"), 1)


async def test_a_start_that_waits_for_the_log_did_come() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws = await h.socket(await h.token())
        h.log.fault = LogUnavailable("away")
        await ws.send_json(start())
        await h.counted("calltape_append_retries_total")
        for _ in range(3):
            hands.at += 200_000
            await h.housekept()
        h.log.fault = None
        assert [type_of(event) for event in await h.events("stream.opened")][-1] == "stream.opened"
        await ws.send_json(STOP)
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.reason == "stop"
        await ws.close()


async def test_a_message_over_64_kib_is_1009_and_one_below_is_not() -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        await ws.send_str("x" * (64 * 1024 - 1))
        await h.counted(bad("not_json"), 1)
        await ws.send_str("x" * (64 * 1024 + 1))
        assert await close_of(ws) == 1009
        await h.counted(bad("too_big"), 1)
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert (closed.reason, closed.code) == ("limit", 1009)


async def test_text_that_is_not_utf_8_is_1007_and_counted() -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        await ws._writer.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert await close_of(ws) == 1007
        await h.counted(bad("not_utf8"), 1)


async def test_a_peer_that_stops_reading_is_1013() -> None:
    """A bare socket that reads nothing while it is spoken to, then looks what had been sent."""
    async with house(limits=Limits(unsent_bytes=256 * 1024), pace=Pace(lead_ms=100_000_000)) as h:
        reader, writer = await _bare_socket(h, await h.token())
        writer.write(_frame(json.dumps(start()).encode()))
        stream = await h.opened()
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(40):
            await h.mail(speech(stream, 20_000, offset_ms=20_000 * number, last=False))
        await h.counted(bad("slow_peer"), 1)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            rest = await reader.read()
        assert rest[-4:] == b"\x88\x02" + (1013).to_bytes(2, "big")
        writer.close()
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.reason == "slow"


async def _bare_socket(h: House, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Past the upgrade, with the smallest buffers the system gives."""
    where = urlsplit(h.base)
    path = f"/ws/media-stream/{token}"
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, (where.hostname, where.port))
    reader, writer = await asyncio.open_connection(sock=line, limit=1 << 26)
    head = {
        "Host": where.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **signed(path),
    }
    writer.write(f"GET {path} HTTP/1.1\r\n".encode())
    writer.write("".join(f"{name}: {value}\r\n" for name, value in head.items()).encode() + b"\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in answer
    return reader, writer


def _frame(payload: bytes) -> bytes:
    """A masked text frame (RFC 6455, 5.2) under a mask of zeros."""
    return b"\x81" + bytes([0x80 | 126]) + len(payload).to_bytes(2, "big") + b"\x00" * 4 + payload


async def test_two_hundred_frames_a_second_are_dropped_counted_and_after_ten_seconds_1008() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, _stream = await begun(h)
        sent, before = 0, h.received()
        while not h.counts("over_rate") or sent < 3_100:
            hands.at += 1_000
            for _ in range(200):
                sent += 1
                await ws.send_json(media(sent))
            await h.counted('calltape_messages_total{direction="in",door="twilio"}', before + sent)
            # A bucket of 500 that fills by 100 a second and is emptied by 200 is empty after 5 s; then come 10 s more.
            assert bool(h.counts("over_rate")) == (sent > 800)
            assert len(h.ingest._living().sockets) == 1
            if sent == 2_800:
                break
        hands.at += 1_000
        for _ in range(200):
            sent += 1
            await ws.send_json(media(sent))
        assert await close_of(ws) == 1008
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.reason == "limit"
        assert 500 + 100 * 10 <= closed.last_sequence < sent


@pytest.mark.parametrize("same", [False, True], ids=["new", "repeated"])
async def test_too_much_audio_does_not_push_out_the_peers_own_end(same: bool) -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, _stream = await begun(h)
        before = h.received()
        for number in range(1_100):
            await ws.send_json(media(1 if same else number + 1))
        await ws.send_json(STOP)
        await h.counted('calltape_messages_total{direction="in",door="twilio"}', before + 1_101)
        assert h.counts("over_rate")
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.reason == "stop"
        assert closed.last_sequence < 600


async def test_keys_pressed_by_the_thousand_are_not_all_facts() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, _stream = await begun(h)
        before = h.received()
        for number in range(1_300):
            await ws.send_json(
                {"event": "dtmf", "streamSid": STREAM, "sequenceNumber": str(number + 2), "dtmf": {"digit": "5"}}
            )
        await ws.send_json(STOP)
        await h.counted('calltape_messages_total{direction="in",door="twilio"}', before + 1_301)
        pressed = [event for event in await h.events("stream.closed") if isinstance(event, DtmfPressed)]
        limits = Limits()
        assert len(pressed) == 2 * limits.frames_bucket - 2, "`connected` and `start` came before"


HANG_UPS = {
    "mobile": (
        "/voice/stream/ws/acme",
        {"type": "start_session", "session_id": "s1", "audio_format": "opus"},
        {"type": "text", "session_id": "s1", "text": "and"},
        {"type": "end_session", "session_id": "s1"},
    ),
    "call": (
        "/ws/call",
        {"type": "start_call", "tenant_id": "acme", "call_id": "s1", "format": "opus"},
        {"type": "text", "text": "and"},
        {"type": "end_call"},
    ),
    "raw": (
        "/voice-ws",
        {"type": "voice_start", "metadata": {"sessionId": "s1"}},
        {"type": "text", "data": "and"},
        {"type": "voice_end", "metadata": {"final": True}},
    ),
    "browser": ("/ws/voice?session=s1", None, {"type": "text", "text": "and"}, {"type": "stop"}),
}


@pytest.mark.parametrize("door", HANG_UPS)
async def test_too_many_words_do_not_push_out_an_apps_hanging_up(door: str) -> None:
    path, hello, word, goodbye = HANG_UPS[door]
    hands, secrets = Hands(), TokenSecrets(secret="s" * 32)
    async with house(clock=hands, tokens=secrets) as h:
        now_s = int(time.time())
        bearer, _ = issue(secrets, tenant="acme", subject="u1", scopes=("call",), issued_at=now_s, valid_s=600)
        ws = await h.http.ws_connect(h.base + path, headers={"Authorization": f"Bearer {bearer}"})
        if hello is not None:
            await ws.send_json(hello)
        await h.events("stream.opened", "acme~s1")
        tally = h.ingest.tally.door(door)
        before = tally.received
        for said in [word] * 1_300 + [goodbye] * 20:
            await ws.send_json(said)
        await h.counted(f'calltape_messages_total{{direction="in",door="{door}"}}', before + 1_320)
        assert h.ingest.tally.bad_input[door, "over_rate"]
        await ws.close()
        events = await h.events("stream.closed", "acme~s1")
    words = [event for event in events if isinstance(event, TextTyped)]
    assert 2 * Limits().frames_bucket - 2 <= len(words) <= 2 * Limits().frames_bucket
    assert [event.kind for event in events if isinstance(event, RequestMade)] == ["hang_up"]


async def test_a_hundred_frames_a_second_are_none_too_many() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, _stream = await begun(h)
        before = h.received()
        for second in range(20):
            hands.at += 1_000
            for number in range(100):
                await ws.send_json(media(second * 100 + number + 1))
            await h.counted('calltape_messages_total{direction="in",door="twilio"}', before + 100 * (second + 1))
        await ws.send_json(STOP)
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.last_sequence == 2_000
        await ws.close()


async def test_a_forged_handshake_is_403_and_spends_no_token() -> None:
    async with house() as h:
        token = await h.token()
        for headers in ({}, {"X-Twilio-Signature": "bm8="}, signed("/ws/media-stream/other")):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await h.http.ws_connect(f"{h.base}/ws/media-stream/{token}", headers=headers)
            assert refused.value.status == 403
        await h.counted('calltape_refused_total{door="twilio",status="403",why="forged_signature"}', 3)
        ws = await h.socket(token)
        await ws.close()


async def test_an_expired_and_a_used_token_are_403() -> None:
    at = [1_000_000]
    async with house(now=lambda: at[0]) as h:
        old, used = await h.token(), await h.token()
        await (await h.socket(used)).close()
        assert await _refusal(h, used) == 403
        at[0] += 60_000
        assert await _refusal(h, old) == 403
        assert await _refusal(h, "no.token") == 403
        for why in ("reused_token", "expired_token", "bad_token"):
            await h.counted(f'calltape_refused_total{{door="twilio",status="403",why="{why}"}}', 1)


async def _refusal(h: House, token: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await h.socket(token)
    return refused.value.status


async def test_a_second_socket_of_the_same_call_supersedes_the_first() -> None:
    async with house() as h:
        first, old = await begun(h)
        second = await h.socket(await h.token())
        new = await open_stream(h, second, streams=2)
        assert new != old
        told = StreamSuperseded(id="s", call_id=CALL, role="conversation", stream=old, by=new)
        await h.mail(fact(old, 8, told), fact(new, 8, told))
        assert await close_of(first) == 1000
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert (closed.stream, closed.reason) == (old, "superseded")
        await h.counted('calltape_closed_total{code="1000",door="twilio",reason="superseded"}', 1)
        await second.send_json({"event": "dtmf", "streamSid": STREAM, "sequenceNumber": "9", "dtmf": {"digit": "5"}})
        pressed = (await h.events("dtmf.pressed"))[-1]
        assert isinstance(pressed, DtmfPressed)
        assert pressed.stream == new
        await second.close()


async def test_a_full_server_answers_429_and_when_to_come_again() -> None:
    async with house(limits=Limits(connections=1)) as h:
        token, spare = await h.token(), await h.token()
        ws = await h.socket(token)
        with pytest.raises(aiohttp.WSServerHandshakeError) as full:
            await h.socket(spare)
        assert full.value.status == 429
        assert full.value.headers is not None
        assert full.value.headers["Retry-After"] == "5"
        await h.counted('calltape_refused_total{door="twilio",status="429",why="full"}', 1)
        assert "<Reject" in await (await h.voice()).text()
        await ws.close()
        await h.counted('calltape_connections_active{door="twilio"}', 0)
        again = await h.socket(spare)
        await again.close()


async def test_a_door_without_secrets_is_not_there() -> None:
    async with MemoryLog(now=lambda: 1) as log:
        closed = Ingest(IngestConfig(instance="test"), log, now=lambda: 1, clock=lambda: 1, new_id=lambda: "id")
        async with closed as ingest, TestClient(TestServer(ingest.build_app())) as http:
            for method, path in (
                ("GET", "/ws/media-stream/token"),
                ("GET", "/ws/media-stream"),
                ("POST", "/twilio/voice"),
                ("POST", "/twilio/status"),
                ("POST", "/twilio/stream-status"),
            ):
                assert (await http.request(method, path, data={"CallSid": CALL, "AccountSid": ACCOUNT})).status == 404
            assert (await http.get("/healthz")).status == 200
