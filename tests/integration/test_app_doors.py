"""The mobile and the call-control door over real sockets: what comes goes on the log, what the log says comes back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from calltape.app_calls import APP_DOORS, App
from clients.app import AppCall, AppConfig
from clients.script import Hangup, Network, Script, Wait
from ingest.config import Limits, TokenSecrets
from ingest.tokens import issue
from schema.call import CallEnded, CallStarted, RequestMade
from schema.envelope import Event, type_of
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import encode, unpack_media
from schema.stream import PlaybackMarked, StreamClosed, StreamOpened, TextTyped
from schema.topics import MEDIA, partition_of
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyStarted
from tests.support.doors import Hands, House, close_of, house
from tests.support.transcripts import sound

SECRETS = TokenSecrets(secret="s" * 32)
NOW_S = 1_800_000_000
CALL = "acme~s1"


def token(h_now_s: int = NOW_S, *, valid_s: int = 3_600, scopes: tuple[str, ...] = ("call",), user: str = "u1") -> str:
    return issue(SECRETS, tenant="acme", subject=user, scopes=scopes, issued_at=h_now_s, valid_s=valid_s)[0]


@dataclass(frozen=True, slots=True)
class Door:
    """What the same thing is called on each door."""

    name: str
    path: str
    start: dict[str, Any]
    audio: dict[str, Any]
    goodbye: dict[str, Any]
    ready: str  # type of the message that says that the stream is open
    spoken: str  # type of the agent's audio

    def typed(self, text: str) -> dict[str, Any]:
        return {"type": "text", "session_id": "s1", "text": text}


PACKET = base64.b64encode(sound("opus", 20)).decode()
MOBILE = Door(
    "mobile",
    "/voice/stream/ws/acme",
    {"type": "start_session", "session_id": "s1", "audio_format": "opus"},
    {"type": "audio_input", "session_id": "s1", "audio_data": PACKET, "is_final": False},
    {"type": "end_session", "session_id": "s1"},
    "session_status",
    "audio_output",
)
CONTROL = Door(
    "call",
    "/ws/call",
    {"type": "start_call", "tenant_id": "acme", "call_id": "s1", "format": "opus", "response_format": "opus"},
    {"type": "audio", "data": PACKET, "is_final": False},
    {"type": "end_call"},
    "call_started",
    "audio_response",
)
both = pytest.mark.parametrize("door", [MOBILE, CONTROL], ids=lambda door: door.name)


@asynccontextmanager
async def doors(hands: Hands | None = None, **changes: Any) -> AsyncIterator[House]:
    given: dict[str, Any] = {"clock": hands} if hands else {}
    async with house(now=lambda: NOW_S * 1000 + (hands.at if hands else 0), tokens=SECRETS, **given, **changes) as h:
        yield h


async def connected(h: House, door: Door, bearer: str = "") -> aiohttp.ClientWebSocketResponse:
    headers = {"Authorization": f"Bearer {bearer or token()}"}
    return await h.http.ws_connect(h.base + door.path, headers=headers)


async def until(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next message of this type."""
    return (await through(ws, kind))[-1]


async def through(ws: aiohttp.ClientWebSocketResponse, kind: str) -> list[dict[str, Any]]:
    """All messages up to the first of this type."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        while True:
            message = await ws.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {ws.close_code} after {found}"
            found.append(json.loads(message.data))
            if found[-1]["type"] == kind:
                return found


async def begun(h: House, door: Door) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """An open stream and its name."""
    ws = await connected(h, door)
    await ws.send_json(door.start)
    await until(ws, door.ready)
    opened = [event for event in await h.events("stream.opened", CALL) if isinstance(event, StreamOpened)]
    return ws, opened[-1].stream


def fact(stream: str, position: int, event: Event) -> OutboxFact:
    return OutboxFact(call_id=CALL, stream=stream, position=position, body=encode(event))


def packet(stream: str, number: int, *, last: bool = False) -> OutboxAudio:
    return OutboxAudio(
        call_id=CALL,
        stream=stream,
        reply="r1",
        sentence=0,
        sentence_id="e2",
        offset_ms=60 * number,
        take=7,
        payload=sound("opus", 60),
        last=last,
    )


async def found(h: House, kind: str) -> list[Any]:
    return [event for event in await h.events(kind, CALL) if type_of(event) == kind]


async def received(h: House, count: int) -> list[bytes]:
    reader = h.log.reader(MEDIA.name, {partition_of(CALL, MEDIA.partitions): 0})
    payloads: list[bytes] = []
    async with asyncio.timeout(5):
        while len(payloads) < count:
            payloads += [unpack_media(record.value).payload for record in await reader.read(wait_ms=50)]
    return payloads


@both
async def test_what_a_client_says_is_on_the_log(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        for number in (1, 2, 2, 3):
            await ws.send_json({**door.audio, "sequence": number})
        await ws.send_json({**door.audio, "sequence": 4, "is_final": True})
        await ws.send_json(door.typed("hello"))
        await ws.send_json({"type": "interrupt", "session_id": "s1"})
        await ws.send_json(door.goodbye)
        events = await h.events("request.made", CALL)
        await ws.close()
        assert await received(h, 4) == [base64.b64decode(PACKET)] * 4
        (began,) = await found(h, "call.started")
        (opened,) = await found(h, "stream.opened")
    assert isinstance(began, CallStarted)
    assert (began.channel, began.agent, began.user_id, began.tenant_id) == (door.name, "notes", "u1", "acme")
    assert (opened.stream, opened.door, opened.encoding) == (stream, door.name, "opus")
    assert (opened.out_encoding, opened.out_sample_rate, opened.out_packet_ms) == ("opus", 16_000, 60)
    names = [type_of(event) for event in events]
    assert names.index("turn.released") < names.index("text.typed") < names.index("request.made")
    assert [event.text for event in events if isinstance(event, TextTyped)] == ["hello"]
    wishes = [event for event in events if isinstance(event, RequestMade)]
    assert wishes[0].kind == "interrupt"


@both
async def test_audio_that_comes_first_starts_the_call_or_is_told(door: Door) -> None:
    async with doors() as h:
        ws = await connected(h, door)
        await ws.send_json({**door.audio, "sequence": 1})
        if door is MOBILE:
            await until(ws, "session_status")
            assert len(await received(h, 1)) == 1
        else:
            assert (await until(ws, "error"))["error_code"] == "SESSION_NOT_FOUND"
        await ws.close()


@both
async def test_a_reply_comes_in_numbered_packets_and_what_was_played_is_known(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        await h.mail(fact(stream, 7, ReplyStarted(id="r1", call_id=CALL, why="greeting", agent="hero/job")))
        await h.mail(*(packet(stream, number, last=number == 2) for number in range(3)))
        came = await through(ws, door.spoken)
        if door is MOBILE:
            assert [m["status"] for m in came if m["type"] == "session_status"] == ["speaking"]
            assert [m["agent_type"] for m in came if m["type"] == "session_status"] == ["job"]
        numbers = [came[-1]["sequence"], *[(await until(ws, door.spoken))["sequence"] for _ in range(2)]]
        assert numbers == [1, 2, 3]
        await ws.send_json({"type": "played", "session_id": "s1", "sequence": 3})
        async with asyncio.timeout(5):
            while not [m for m in await found(h, "playback.marked") if isinstance(m, PlaybackMarked) and m.last]:
                pass
        marked = await found(h, "playback.marked")
        await h.mail(fact(stream, 9, ReplyFinished(id="e9", call_id=CALL, reply="r1")))
        end = await until(ws, door.spoken)
        assert (end["sequence"], end["is_final"]) == (4, True)
        await ws.close()
    assert (marked[-1].heard_ms, marked[-1].estimated) == (180, False)


@both
async def test_a_client_that_never_says_what_it_played_is_believed_by_the_clock(door: Door) -> None:
    hands = Hands()
    async with doors(hands) as h:
        ws, stream = await begun(h, door)
        await h.mail(fact(stream, 7, ReplyStarted(id="r1", call_id=CALL, why="greeting")))
        await h.mail(packet(stream, 0, last=True))
        await until(ws, door.spoken)
        hands.at += 1_000
        marked = await found(h, "playback.marked")
        await ws.close()
    assert (marked[-1].heard_ms, marked[-1].last, marked[-1].estimated) == (60, True, True)


@both
async def test_an_interrupted_reply_is_silent_at_once(door: Door) -> None:
    hands = Hands()
    async with doors(hands) as h:
        ws, stream = await begun(h, door)
        await h.mail(fact(stream, 7, ReplyStarted(id="r1", call_id=CALL, why="greeting")))
        await h.mail(*(packet(stream, number) for number in range(3)))
        for _ in range(3):
            await until(ws, door.spoken)
        hands.at += 90
        await h.mail(fact(stream, 9, ReplyInterrupted(id="e9", call_id=CALL, reply="r1")))
        await h.mail(packet(stream, 3), packet(stream, 4, last=True))
        await ws.send_json({"type": "ping", "session_id": "s1"})
        said = await through(ws, "pong")
        cleared = await found(h, "playback.cleared")
        await ws.close()
    if door is MOBILE:
        assert [m["status"] for m in said if m["type"] == "session_status"][-1:] == ["listening"]
    else:
        assert [m["interrupted"] for m in said if m["type"] == "audio_response"] == [True]
    assert not [m for m in said if m["type"] == door.spoken and not m["is_final"]]
    assert cleared[-1].heard_ms <= 90


@both
async def test_whoever_comes_back_is_in_the_same_call(door: Door) -> None:
    async with doors() as h:
        ws, first = await begun(h, door)
        ws._response.connection.transport.abort()  # type: ignore[union-attr]
        closed = await found(h, "stream.closed")
        assert isinstance(closed[-1], StreamClosed)
        assert closed[-1].reason == "peer_lost"
        again = await connected(h, door)
        await again.send_json(door.start)
        await until(again, door.ready)
        opened = [event for event in await found(h, "stream.opened") if isinstance(event, StreamOpened)]
        await again.close()
    assert len({event.stream for event in opened}) == 2
    assert opened[0].stream == first
    assert {event.call_id for event in opened} == {CALL}


@both
async def test_the_reference_client_calls_comes_back_and_hangs_up(door: Door) -> None:
    async with doors() as h:
        script = Script(steps=(Wait(wait=1_000), Network(network="drop"), Wait(wait=2_000), Hangup()))
        report = await reference(h, door, first_retry_s=0.02).run(script)
        wishes = await found(h, "request.made")
    assert (report.failures, report.violations, report.streams) == ([], [], 2)
    assert (report.ended_by, report.call_id) == ("caller", CALL)
    assert wishes[-1].kind == "hang_up"


@both
async def test_who_hangs_up_while_the_line_is_away_comes_back_to_say_so(door: Door) -> None:
    async with doors() as h:
        script = Script(steps=(Wait(wait=1_000), Network(network="drop"), Hangup()))
        report = await reference(h, door, first_retry_s=600.0).run(script)
        wishes = await found(h, "request.made")
    assert (report.failures, report.violations, report.streams) == ([], [], 2)
    assert (report.ended_by, report.call_id) == ("caller", CALL)
    assert wishes[-1].kind == "hang_up"


@pytest.mark.parametrize(("bearer", "failure"), [("none", "HTTP 401"), (None, "no websocket")])
async def test_the_reference_client_says_why_it_got_nowhere(bearer: str | None, failure: str) -> None:
    async with doors() as h:
        base = h.base if bearer else "http://127.0.0.1:1"
        wire = APP_DOORS["mobile"](App("acme", "s1"))
        config = AppConfig(base, bearer or token(), pace=100.0)
        script = Script(steps=(Hangup(),))
        call = AppCall(config, wire, voice=_no_voice, jitter=lambda: 0.0, on_event=lambda seen: None)
        report = await call.run(script)
    assert not report.ok
    assert [failure in text for text in report.failures] == [True]


def reference(h: House, door: Door, *, first_retry_s: float) -> AppCall:
    """The app as we give it away, ten times as fast."""
    return AppCall(
        AppConfig(h.base, token(), pace=10.0, first_retry_s=first_retry_s),
        APP_DOORS[door.name](App("acme", "s1")),
        voice=_no_voice,
        jitter=lambda: 0.5,
        on_event=lambda seen: None,
    )


async def _no_voice(text: str) -> bytes:
    raise AssertionError(f"nobody was to say {text}")


@pytest.mark.parametrize(
    ("path", "bearer", "status"),
    [
        ("/voice/stream/ws/acme", "", 401),
        ("/voice/stream/ws/other", "call", 403),
        ("/voice/stream/ws/acme", "screen", 403),
        ("/ws/call", "", 401),
        ("/ws/call", "screen", 403),
    ],
)
async def test_who_may_not_come_in_is_told_before_the_upgrade(path: str, bearer: str, status: int) -> None:
    async with doors() as h:
        headers = {"Authorization": f"Bearer {token(scopes=(bearer,))}"} if bearer else {}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await h.http.ws_connect(h.base + path, headers=headers)
    assert refused.value.status == status


async def test_another_tenants_call_is_forbidden() -> None:
    async with doors() as h:
        ws = await connected(h, CONTROL)
        await ws.send_json({**CONTROL.start, "tenant_id": "other"})
        assert (await until(ws, "error"))["error_code"] == "FORBIDDEN"
        assert await close_of(ws) == 1008


@both
async def test_a_session_id_that_is_none_is_told(door: Door) -> None:
    async with doors() as h:
        ws = await connected(h, door)
        await ws.send_json({**door.start, "session_id": "a/b", "call_id": "a/b"})
        assert (await until(ws, "error"))["error_code"] == "SESSION_INVALID"
        assert await close_of(ws) == 1008


@both
async def test_an_expired_token_is_told_and_then_closes(door: Door) -> None:
    hands = Hands(at=0)
    async with doors(hands, limits=Limits(token_grace_ms=30_000)) as h:
        ws = await connected(h, door, token(valid_s=60))
        await ws.send_json(door.start)
        await until(ws, door.ready)
        hands.at += 61_000
        assert (await until(ws, "error"))["error_code"] == "AUTH_EXPIRED"
        hands.at += 30_000
        assert await close_of(ws) == 4401


@both
async def test_a_server_that_leaves_says_when_to_come_back(door: Door) -> None:
    async with doors() as h:
        ws, _stream = await begun(h, door)
        draining = asyncio.create_task(h.ingest.drain())
        left = await until(ws, "error")
        assert (left["error_code"], left["retry_after"]) == ("SERVER_RESTARTING", 1_000)
        assert await close_of(ws) == 1012
        await draining


@both
async def test_the_end_is_told_and_then_closes(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        await h.mail(fact(stream, 9, CallEnded(id="e9", call_id=CALL, reason="agent_goodbye", duration_ms=5)))
        if door is MOBILE:
            assert (await until(ws, "session_status"))["status"] == "complete"
        else:
            assert (await until(ws, "call_ended"))["reason"] == "agent_goodbye"
        assert await close_of(ws) == 1000


@both
async def test_a_call_of_another_user_is_forbidden(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        await h.mail(fact(stream, 9, CallEnded(id="e9", call_id=CALL, reason="forbidden")))
        assert (await until(ws, "error"))["error_code"] == "FORBIDDEN"
        assert await close_of(ws) == 1008
