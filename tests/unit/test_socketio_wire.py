"""The scripted Socket.IO client against our dialect, back to back over the library's packets; and how it leaves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from engineio import packet as engine
from socketio import packet

from audio.opus import OpusDecoder, OpusEncoder
from clients.app import AppCall, AppConfig, Rate
from clients.report import CallReport
from clients.script import Script, Step, Wait, WaitFor
from clients.socketio_wire import SocketioWire
from clients.wire import APP_RATE, Answer, Broken, Cut, Left, Meant, Named, Over, Speech, Trouble, Words
from ingest.dialects.base import Began, Frame, MarkEchoed, Released, Said, Wished
from ingest.dialects.base import Wire as Written
from ingest.dialects.socketio import SocketioDialect, event_of
from ingest.dialects.socketio_messages import write_event
from ingest.dialects.socketio_mouth import Mouth
from schema.call import CallEnded
from schema.envelope import Event
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted
from schema.turn import ReplyFinished, ReplyInterrupted, ReplySentence, ReplyStarted
from tests.support.sound import likeness, sweep

OPEN = '0{"sid":"e1","upgrades":[],"pingInterval":25000,"pingTimeout":60000,"maxPayload":1000000}'
CONNECTED = '40/voice,{"sid":"n1"}'
SPOKEN: list[Event] = [
    ReplyStarted(id="r1", call_id="c", why="greeting", agent="notes"),
    ReplySentence(id="e2", call_id="c", reply="r1", index=0, text="Hello."),
    PlaybackStarted(id="e3", call_id="c", stream="s", reply="r1", sentence=0),
]
FINISHED = ReplyFinished(id="e5", call_id="c", reply="r1")
REVISED = TranscriptRevised(id="e8", call_id="c", stream="s", text="ye")
SETTLED = TranscriptSettled(id="e9", call_id="c", stream="s", text="yes", start_ms=0, end_ms=1, through_ms=1)


def wire_of(session: str = "s1") -> SocketioWire:
    return SocketioWire(tenant="acme", session=session, token="t")


def dialect_of() -> SocketioDialect:
    return SocketioDialect(tenant="acme", now=lambda: 1, new_session=lambda: "n", site_of=lambda _: None)


def events_of(frames: Iterable[str | bytes]) -> list[tuple[str, tuple[Any, ...]]]:
    """What the library's server would call its handlers with."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    pending: packet.Packet | None = None
    for frame in frames:
        below = engine.Packet(encoded_packet=frame)
        assert below.packet_type == engine.MESSAGE
        if pending is not None:
            pending.add_attachment(below.data)
            came, pending = pending, None
        else:
            came = packet.Packet(encoded_packet=below.data)
            if came.attachment_count:
                pending = came
                continue
        assert (came.namespace, came.packet_type in (packet.EVENT, packet.BINARY_EVENT)) == ("/voice", True)
        found.append((came.data[0], tuple(came.data[1:])))
    assert pending is None
    return found


def told(dialect: SocketioDialect, frames: Iterable[str | bytes]) -> list[Said]:
    return [said for name, values in events_of(frames) for said in dialect.receive(write_event(name, values), 0)]


def sent(frame: Written) -> list[str | bytes]:
    """As the door sends what its dialect says."""
    name, value = event_of(frame)
    encoded = packet.Packet(packet.EVENT, data=[name, value], namespace="/voice").encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [engine.Packet(engine.MESSAGE, part).encode() for part in parts]


def read(wire: SocketioWire, frames: Iterable[Written]) -> list[Meant]:
    return [meant for frame in frames for part in sent(frame) for meant in wire.read(part)]


def started(wire: SocketioWire | None = None) -> tuple[SocketioWire, SocketioDialect, Began]:
    wire, dialect = wire or wire_of(), dialect_of()
    assert wire.hello() == []
    assert [type(meant) for meant in wire.read(OPEN)] == [Answer]
    (asked,) = wire.read(CONNECTED)
    assert isinstance(asked, Answer)
    (began,) = told(dialect, asked.frames)
    assert isinstance(began, Began)
    assert read(wire, dialect.opened()) == [Named("acme~s1")]
    return wire, dialect, began


def coded(pcm: bytes, began: Began) -> list[bytes]:
    return OpusEncoder(began.out_sample_rate, packet_ms=began.out_packet_ms).feed(pcm)


def test_it_shows_its_token_to_the_namespace_and_asks_for_its_session() -> None:
    wire = wire_of()
    (shown,) = wire.read(OPEN)
    assert shown == Answer(('40/voice,{"token":"t"}',))
    (asked,) = wire.read(CONNECTED)
    assert isinstance(asked, Answer)
    assert events_of(asked.frames) == [("voice:start", ({"sessionId": "s1"},))]


def test_without_a_token_it_shows_none() -> None:
    assert SocketioWire(tenant="acme", session="s1").read(OPEN) == [Answer(("40/voice,",))]


def test_a_ping_is_answered_at_once() -> None:
    assert wire_of().read("2") == [Answer(("3",))]


def test_a_microphone_nobody_listens_to_yet_is_not_hoarded() -> None:
    wire = wire_of()
    for _ in range(500):
        assert wire.speech(bytes(640)) == []
    wire, _dialect, _began = started(wire)
    assert len(events_of(wire.speech(bytes(640)))) <= 1


def test_what_the_caller_says_arrives() -> None:
    wire, dialect, began = started()
    assert began.encoding == "opus"
    spoken = sweep(1_200, APP_RATE)
    said = [one for at in range(0, len(spoken), 640) for one in told(dialect, wire.speech(spoken[at : at + 640]))]
    frames = [one for one in said if isinstance(one, Frame)]
    assert len(frames) == len(said) == 1_200 // 20
    decoder = OpusDecoder(APP_RATE)
    heard = b"".join(decoder.decode(frame.payload) for frame in frames)
    assert likeness(spoken, heard, APP_RATE)[0] > 0.9


def test_what_the_agent_says_is_heard_and_acknowledged() -> None:
    wire, dialect, began = started()
    meant = [one for fact in SPOKEN for one in read(wire, dialect.send(fact))]
    assert [one.text for one in meant if isinstance(one, Words)] == ["Hello."]
    spoken, speech = sweep(640, APP_RATE), []
    packets = coded(Rate(began.out_sample_rate).feed(spoken, APP_RATE), began)
    for number, payload in enumerate(packets):
        (came,) = read(wire, [dialect.audio(payload)])
        dialect.mark(f"mark {number}")
        assert isinstance(came, Speech) and came.sequence == number + 1
        speech.append(came)
    played = b"".join(Rate(APP_RATE).feed(one.pcm, one.sample_rate) for one in speech)
    assert likeness(spoken[:16_000], played[:16_000], APP_RATE)[0] > 0.9
    echoes = [said for one in speech for said in told(dialect, wire.played(one.sequence))]
    assert echoes == [MarkEchoed(f"mark {number}") for number in range(len(packets))]
    assert sum(bool(wire.played(one.sequence)) for one in speech) <= len(packets) // 5 + 1
    assert not [one for one in read(wire, dialect.send(FINISHED)) if isinstance(one, Cut | Broken)]


def test_an_interruption_cuts_what_is_queued_once() -> None:
    wire, dialect, began = started()
    for fact in SPOKEN:
        read(wire, dialect.send(fact))
    read(wire, [dialect.audio(coded(sweep(200, began.out_sample_rate), began)[0])])
    facts = (
        ReplyInterrupted(id="e6", call_id="c", reply="r1"),
        ReplyFinished(id="e7", call_id="c", reply="r1", interrupted=True),
    )
    assert [one for fact in facts for one in read(wire, dialect.send(fact))] == [Cut()]


def test_a_turn_may_be_ended_and_words_come() -> None:
    wire, dialect, _began = started()
    assert told(dialect, wire.end_of_turn()) == [Released()]
    assert read(wire, dialect.send(SETTLED)) == [Words("caller", "yes", True)]
    assert wire.transcript == [Words("caller", "yes", True)]
    assert read(wire, dialect.problem("RATE_LIMITED", "slower", 500)) == [Trouble("RATE_LIMITED", "slower", 500)]


def test_who_comes_back_keeps_each_line_once() -> None:
    wire, dialect, _began = started()
    facts = [*SPOKEN, REVISED, SETTLED]
    for fact in facts[:-1]:
        read(wire, dialect.send(fact))
    before = list(wire.transcript)
    _, again, _began = started(wire)
    new = [one for fact in facts for one in read(wire, again.send(fact)) if isinstance(one, Words)]
    assert [words.text for words in before] == ["Hello.", "ye"]
    assert new == [Words("caller", "yes", True)]
    assert wire.transcript == [*before, *new]


def test_a_goodbye_is_answered_by_the_end_and_the_server_leaves() -> None:
    wire, dialect, _began = started()
    assert told(dialect, wire.goodbye()) == [Wished("hang_up")]
    assert read(wire, dialect.send(CallEnded(id="e8", call_id="c", reason="request"))) == [Over()]
    assert read(wire, [Mouth(lambda: 1, tenant="").closed(1000, "ended")]) == []
    assert wire.read("41/voice") == [Left(1000)]


@pytest.mark.parametrize("code", [1012, 4409])
def test_the_servers_own_word_says_how_it_left(code: int) -> None:
    wire, _dialect, _began = started()
    assert read(wire, [Mouth(lambda: 1, tenant="").closed(code, "so")]) == []
    assert wire.read("41/voice,") == [Left(code)]


def test_a_server_that_says_nothing_may_be_called_again() -> None:
    wire, _dialect, _began = started()
    assert wire.read("41/voice,") == [Left(1001)]


def test_a_refusal_is_for_good_unless_it_says_when_to_come_again() -> None:
    told_ = {"message": "no", "data": {"code": "expired", "status": 401}}
    assert wire_of().read(f"44/voice,{json.dumps(told_)}") == [Trouble("expired", "no"), Left(1008)]
    later = {"message": "wait", "data": {"code": "keys_away", "status": 503, "retry_after": 5000}}
    assert wire_of().read(f"44/voice,{json.dumps(later)}") == [Trouble("keys_away", "wait", 5000), Left(1013)]


def test_a_companion_talks_and_so_becomes_the_stream() -> None:
    wire, dialect = wire_of(), dialect_of()
    for frame in (OPEN, CONNECTED):
        wire.read(frame)
    dialect.mouth.session = "s1"
    assert read(wire, [dialect.mouth.ready(is_companion=True)]) == [Named("acme~s1")]
    assert [name for name, _ in events_of(wire.speech(bytes(1_280)))][:1] == ["voice:audio_data"]


def test_a_client_that_comes_back_is_the_same_call_and_counts_anew() -> None:
    wire, dialect, began = started()
    audio = coded(sweep(200, began.out_sample_rate), began)
    assert [type(one) for one in read(wire, [dialect.audio(payload) for payload in audio[:3]])] == [Speech] * 3
    wire.read(sent(dialect.audio(audio[3]))[0])  # and the bytes of it are lost
    wire, again, resumed = started(wire)
    assert resumed.session == began.session
    (first,) = read(wire, [again.audio(audio[0])])
    assert isinstance(first, Speech) and first.sequence == 1
    assert any(isinstance(one, Frame) for one in told(again, wire.speech(sweep(200, APP_RATE))))


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "x",
        "4",
        "4x",
        b"\x01",
        "42/other,[\"voice:ended\"]",
        "42/voice,[]",
        "42/voice,{}",
        '42/voice,["voice:status",{"status":"dancing","timestamp":1}]',
        '42/voice,["voice:status",{"status":"listening"}]',
        '42/voice,["voice:audio","text"]',
        '42/voice,["voice:ended",{"timestamp":1}]',
        '42/voice,["voice:session_ready",{"sessionId":"s2","call":"acme~s2","timestamp":1}]',
        '452-/voice,["voice:audio",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        "44/voice,[]",
        "42/voice," + "[" * 100_000,
    ],
)  # fmt: skip
def test_a_server_that_breaks_the_protocol_is_found_out(frame: str | bytes) -> None:
    wire = wire_of()
    wire.hello()
    assert [type(one) for one in wire.read(frame)] == [Broken]


def test_bytes_belong_to_the_event_before_them() -> None:
    wire, dialect, began = started()
    header, _ = sent(dialect.audio(coded(sweep(200, began.out_sample_rate), began)[0]))
    assert wire.read(header) == []
    assert [type(one) for one in wire.read('42/voice,["voice:ended"]')] == [Broken]
    assert [type(one) for one in wire.read(b"\x01")] == [Broken]


# ---------------------------------------------------------------------- over a socket


@asynccontextmanager
async def server(*says: str) -> AsyncIterator[tuple[str, list[str], list[int | None]]]:
    """Says so much, one after each message of the client's; its address, what came, and how clients closed."""
    came: list[str] = []
    closed: list[int | None] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for said in says:
            await ws.send_str(said)
            message = await ws.receive()
            if message.type is not WSMsgType.TEXT:
                break
            came.append(message.data)
        else:
            await ws.receive()
        closed.append(ws.close_code)
        return ws

    app = web.Application()
    app.router.add_get("/socket.io/", handle)
    async with TestServer(app) as running:
        yield str(running.make_url("/")), came, closed


async def called(address: str, *steps: Step) -> CallReport:
    async def mute(text: str) -> bytes:
        return b"\xff" * 8

    config = AppConfig(address, "t", pace=20.0, first_retry_s=0.01)
    call = AppCall(config, wire_of(), voice=mute, jitter=lambda: 0.0, on_event=lambda seen: None)
    return await call.run(Script(steps=steps))


async def test_who_is_refused_closes_the_socket_and_does_not_come_back() -> None:
    refused = '44/voice,{"message":"no","data":{"code":"expired","status":401}}'
    async with server(OPEN, refused) as (address, came, closed):
        report = await called(address, WaitFor(wait_for="hangup", timeout_ms=600_000))
    assert came == ['40/voice,{"token":"t"}']
    assert closed == [1000]
    assert (report.streams, report.ended_by, report.failures) == (1, "closed 1008", ["expired: no"])


async def test_a_ping_on_the_way_is_answered_and_a_server_that_left_is_called_again() -> None:
    async with server(OPEN, "2", "41/voice,") as (address, came, closed):
        report = await called(address, Wait(wait=200), WaitFor(wait_for="hangup", timeout_ms=600_000))
    assert came[:3] == ['40/voice,{"token":"t"}', "3", '40/voice,{"token":"t"}']
    assert len(closed) == report.streams >= 2
    assert set(closed) == {1000}
    assert report.failures == ["6 attempts to come back were in vain"]
