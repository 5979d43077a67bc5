"""The raw and the browser door over real sockets: what comes goes on the log, what the log says comes back."""

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

from agents.website import Site
from audio.opus_toc import packet_ms
from clients import opus
from clients.webm import WebmWriter
from ingest.config import Limits, TokenSecrets
from ingest.tokens import issue
from schema.call import CallEnded, CallStarted, RequestMade
from schema.envelope import Event, type_of
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import encode, unpack_media
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackMarked, StreamClosed, StreamOpened, TextTyped
from schema.topics import MEDIA, partition_of
from schema.turn import ReplyFinished, ReplyInterrupted, ReplySentence, ReplyStarted
from tests.support.doors import Hands, House, close_of, house
from tests.support.sound import sweep
from tests.support.transcripts import sound

SECRETS = TokenSecrets(secret="s" * 32)
NOW_S = 1_800_000_000
CALL = "acme~s1"
PACKETS = {ms: opus.encode(sweep(600, 48_000), 48_000, packet_ms=ms) for ms in (20, 60)}
GARDEN = Site(id="garden", title="Garden", tenants=("acme",), agent="site", locale="en-US")
THEIRS = Site(id="theirs", title="Theirs", tenants=("other",))

Frame = dict[str, Any] | bytes


def token(*, valid_s: int = 3_600, scopes: tuple[str, ...] = ("call",)) -> str:
    return issue(SECRETS, tenant="acme", subject="u1", scopes=scopes, issued_at=NOW_S, valid_s=valid_s)[0]


def webm(packets: list[bytes]) -> bytes:
    writer = WebmWriter()
    return writer.header() + b"".join(writer.block(packet, 60 * number) for number, packet in enumerate(packets))


@dataclass(frozen=True, slots=True)
class Door:
    """What the same thing is called on each door."""

    name: str
    path: str  # of session s1
    start: tuple[Frame, ...]
    audio: tuple[Frame, ...]  # four packets
    heard: list[bytes]  # what of it is on the log
    released: Frame
    interrupt: Frame
    goodbye: Frame
    typed: Frame
    ready: str  # type of the message that names the session
    out: dict[str, Any]  # of stream.opened
    site: str  # in the query

    def payload(self, number: int) -> bytes:
        """Of the agent's voice, as speaking would hand it out."""
        if self.name == "raw":
            return PACKETS[20][number]
        return bytes([number + 1, 0]) * (24 * 60)

    @property
    def piece_ms(self) -> int:
        return 20 if self.name == "raw" else 60

    def is_voice(self, frame: Frame) -> bool:
        return isinstance(frame, bytes) or frame["type"] == "audio_chunk"

    def code_of(self, error: dict[str, Any]) -> str:
        return str(error["metadata"]["error"] if self.name == "raw" else error["error_code"])

    def retry_of(self, error: dict[str, Any]) -> int:
        return int(error["metadata"]["retryAfter"] if self.name == "raw" else error["retry_after"])


RAW = Door(
    "raw",
    "/voice-ws?sessionId=s1",
    ({"type": "voice_start", "metadata": {"sampleRate": 48_000, "channels": 1}},),
    (
        *PACKETS[20][:3],
        {"type": "voice_data", "data": base64.b64encode(PACKETS[20][3]).decode(), "metadata": {"sequence": 1}},
    ),
    PACKETS[20][:4],
    {"type": "voice_end"},
    {"type": "barge_in"},
    {"type": "voice_end", "metadata": {"final": True}},
    {"type": "text", "data": "hello"},
    "ready",
    {"encoding": "opus", "sample_rate": 48_000, "out_encoding": "opus", "out_sample_rate": 48_000, "out_packet_ms": 20},
    "siteId",
)
_RECORDING = webm(PACKETS[60][:4])
BROWSER = Door(
    "browser",
    "/ws/voice?session=s1",
    (),
    tuple(
        {"type": "audio_data", "audio": base64.b64encode(_RECORDING[at : at + 200]).decode(), "timestamp": at}
        for at in range(0, len(_RECORDING), 200)
    ),
    PACKETS[60][:4],
    {"type": "audio_data", "audio": "", "is_final": True},
    {"type": "interrupt"},
    {"type": "stop"},
    {"type": "text", "text": "hello"},
    "session",
    {"encoding": "opus", "sample_rate": 48_000, "out_encoding": "pcm16", "out_sample_rate": 24_000, "out_packet_ms": 0},
    "site",
)
both = pytest.mark.parametrize("door", [RAW, BROWSER], ids=lambda door: door.name)


@asynccontextmanager
async def doors(hands: Hands | None = None, **changes: Any) -> AsyncIterator[House]:
    given: dict[str, Any] = {"clock": hands} if hands else {}
    sites = {site.id: site for site in (GARDEN, THEIRS)}
    async with house(
        now=lambda: NOW_S * 1000 + (hands.at if hands else 0), tokens=SECRETS, sites=sites, **given, **changes
    ) as h:
        yield h


async def connected(h: House, path: str, bearer: str = "") -> aiohttp.ClientWebSocketResponse:
    return await h.http.ws_connect(h.base + path, headers={"Authorization": f"Bearer {bearer or token()}"})


async def put(ws: aiohttp.ClientWebSocketResponse, *frames: Frame) -> None:
    for frame in frames:
        if isinstance(frame, bytes):
            await ws.send_bytes(frame)
        else:
            await ws.send_json(frame)


async def taken(ws: aiohttp.ClientWebSocketResponse) -> Frame:
    async with asyncio.timeout(5):
        message = await ws.receive()
    if message.type is aiohttp.WSMsgType.BINARY:
        return bytes(message.data)
    assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {ws.close_code}"
    found: dict[str, Any] = json.loads(message.data)
    return found


async def through(ws: aiohttp.ClientWebSocketResponse, kind: str) -> list[Frame]:
    """All frames up to the first message of this type."""
    found: list[Frame] = []
    while True:
        found.append(frame := await taken(ws))
        if isinstance(frame, dict) and frame["type"] == kind:
            return found


async def until(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    last = (await through(ws, kind))[-1]
    assert isinstance(last, dict)
    return last


async def begun(
    h: House, door: Door, bearer: str = "", *, streams: int = 1
) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """An open stream, the call's so many-th, and its name."""
    ws = await connected(h, door.path, bearer)
    await until(ws, door.ready)
    await put(ws, *door.start)
    async with asyncio.timeout(5):
        while len(opened := await found(h, "stream.opened")) < streams:
            pass
    return ws, opened[-1].stream


def fact(stream: str, position: int, event: Event) -> OutboxFact:
    return OutboxFact(call_id=CALL, stream=stream, position=position, body=encode(event))


def voice(door: Door, stream: str, number: int, *, last: bool = False) -> OutboxAudio:
    return OutboxAudio(
        call_id=CALL,
        stream=stream,
        reply="r1",
        sentence=0,
        sentence_id="e2",
        offset_ms=door.piece_ms * number,
        take=7,
        payload=door.payload(number),
        last=last,
    )


async def speak(h: House, door: Door, stream: str, pieces: int, *, whole: bool) -> None:
    sentence = ReplySentence(id="e2", call_id=CALL, reply="r1", index=0, text="Hello.")
    await h.mail(
        fact(stream, 7, ReplyStarted(id="r1", call_id=CALL, why="greeting", agent="notes")),
        fact(stream, 8, sentence),
        *(voice(door, stream, number, last=whole and number == pieces - 1) for number in range(pieces)),
    )


async def found(h: House, kind: str) -> list[Any]:
    return [event for event in await h.events(kind, CALL) if type_of(event) == kind]


async def received(h: House, count: int, call_id: str = CALL) -> list[bytes]:
    reader = h.log.reader(MEDIA.name, {partition_of(call_id, MEDIA.partitions): 0})
    payloads: list[bytes] = []
    async with asyncio.timeout(5):
        while len(payloads) < count:
            payloads += [unpack_media(record.value).payload for record in await reader.read(wait_ms=50)]
    return payloads


@both
async def test_what_a_client_says_is_on_the_log(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        await put(ws, *door.audio, door.released, door.typed, door.interrupt, door.goodbye)
        async with asyncio.timeout(5):
            while len(await found(h, "request.made")) < 2:
                pass
        events = await h.events("request.made", CALL)
        await ws.close()
        assert await received(h, 4) == door.heard
        (began,) = await found(h, "call.started")
        (opened,) = await found(h, "stream.opened")
    assert isinstance(began, CallStarted)
    assert (began.channel, began.agent, began.user_id, began.tenant_id) == (door.name, "notes", "u1", "acme")
    assert (opened.stream, opened.door) == (stream, door.name)
    assert {name: getattr(opened, name) for name in door.out} == door.out
    names = [type_of(event) for event in events]
    assert names.index("turn.released") < names.index("text.typed") < names.index("request.made")
    assert [event.text for event in events if isinstance(event, TextTyped)] == ["hello"]
    assert [event.kind for event in events if isinstance(event, RequestMade)] == ["interrupt", "hang_up"]


async def test_a_page_is_greeted_though_it_has_sent_nothing() -> None:
    async with doors() as h:
        ws = await connected(h, "/ws/voice")
        named = await until(ws, "session")
        events = await h.events("stream.opened", named["call"])
        await ws.close()
    assert named["call"] == f"acme~{named['session_id']}"
    assert [type_of(event) for event in events][:2] == ["call.started", "stream.opened"]


async def test_the_seeds_own_test_begins_a_call() -> None:
    """Connect with the token in a header, send one bare frame of 1,920 bytes."""
    async with doors() as h:
        ws = await connected(h, "/voice-ws")
        ready = await until(ws, "ready")
        await ws.send_bytes(bytes(1_920))
        call = f"acme~{ready['metadata']['sessionId']}"
        (opened,) = [event for event in await h.events("stream.opened", call) if isinstance(event, StreamOpened)]
        assert await received(h, 1, call) == [bytes(1_920)]
        await ws.close()
    assert (opened.encoding, opened.sample_rate, opened.out_encoding) == ("pcm16", 48_000, "opus")


@pytest.mark.parametrize("path", ["/voice-ws", "/ws/voice"])
async def test_a_token_may_come_as_a_subprotocol_or_in_the_query(path: str) -> None:
    async with doors() as h:
        ws = await h.http.ws_connect(h.base + path, protocols=("bearer", token()))
        assert ws.protocol == "bearer"
        await until(ws, "ready" if path == "/voice-ws" else "session")
        await ws.close()
        ws = await h.http.ws_connect(f"{h.base}{path}?token={token()}")
        await until(ws, "ready" if path == "/voice-ws" else "session")
        await ws.close()


@both
async def test_transcripts_come_as_they_are_heard(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        revised = TranscriptRevised(id="e3", call_id=CALL, stream=stream, text="hel")
        settled = {"text": "hello", "start_ms": 0, "end_ms": 1, "through_ms": 1}
        await h.mail(
            fact(stream, 7, revised),
            fact(stream, 8, TranscriptSettled(id="e4", call_id=CALL, stream=stream, **settled)),  # type: ignore[arg-type]
        )
        if door is RAW:
            texts = [(await until(ws, kind))["data"] for kind in ("transcription", "user_transcript")]
        else:
            texts = [(await until(ws, "transcript"))["text"] for _ in range(2)]
        await ws.close()
    assert texts == ["hel", "hello"]


@both
async def test_a_sentence_stands_before_its_audio_and_what_was_played_is_known(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        await speak(h, door, stream, 3, whole=True)
        header = await until(ws, "audio_response" if door is RAW else "speech_started")
        if door is RAW:
            assert (header["data"], header["metadata"]["sequence"]) == ("Hello.", 1)
        voices: list[Frame] = []
        while sum(map(length_ms, voices)) < 3 * door.piece_ms:
            frame = await taken(ws)
            voices += [frame] if door.is_voice(frame) else []
        assert b"".join(map(sound_of, voices)) == b"".join(door.payload(number) for number in range(3))
        played = {"sequence": len(voices)}
        await ws.send_json({"type": "played", "metadata": played, **played})
        async with asyncio.timeout(5):
            while not [mark for mark in await found(h, "playback.marked") if mark.last]:
                pass
        marked = await found(h, "playback.marked")
        await h.mail(fact(stream, 9, ReplyFinished(id="e9", call_id=CALL, reply="r1")))
        end = await until(ws, "audio_response" if door is RAW else "speech_stopped")
        await ws.close()
    assert end["metadata"]["final"] is True if door is RAW else end["is_user"] is False
    assert isinstance(marked[-1], PlaybackMarked)
    assert (marked[-1].heard_ms, marked[-1].estimated) == (3 * door.piece_ms, False)


def sound_of(frame: Frame) -> bytes:
    return frame if isinstance(frame, bytes) else base64.b64decode(frame["audio"])


def length_ms(frame: Frame) -> float:
    return packet_ms(frame) if isinstance(frame, bytes) else len(sound_of(frame)) / 48


@both
async def test_an_interrupted_reply_is_silent_at_once(door: Door) -> None:
    hands = Hands()
    async with doors(hands) as h:
        ws, stream = await begun(h, door)
        await speak(h, door, stream, 3, whole=False)
        while not door.is_voice(await taken(ws)):
            pass
        hands.at += 30
        await h.mail(fact(stream, 9, ReplyInterrupted(id="e9", call_id=CALL, reply="r1")))
        await h.mail(voice(door, stream, 3), voice(door, stream, 4, last=True))
        await until(ws, "barge_in" if door is RAW else "interrupted")
        await ws.send_json({"type": "ping"})
        said = await through(ws, "pong")
        cleared = await found(h, "playback.cleared")
        await ws.close()
    assert not [frame for frame in said if door.is_voice(frame)]
    assert cleared[-1].heard_ms <= 30


@both
async def test_whoever_comes_back_is_in_the_same_call(door: Door) -> None:
    async with doors() as h:
        ws, first = await begun(h, door)
        await put(ws, *door.audio)
        await received(h, 4)
        ws._response.connection.transport.abort()  # type: ignore[union-attr]
        closed = await found(h, "stream.closed")
        again, second = await begun(h, door, streams=2)
        await put(again, *door.audio)
        assert await received(h, 8) == door.heard * 2
        opened = await found(h, "stream.opened")
        await again.close()
    assert isinstance(closed[-1], StreamClosed)
    assert closed[-1].reason == "peer_lost"
    assert [event.stream for event in opened] == [first, second]
    assert first != second


async def test_a_start_may_name_the_session_to_go_on_with() -> None:
    async with doors() as h:
        ws = await connected(h, "/voice-ws")
        await until(ws, "ready")
        await ws.send_json({"type": "voice_start", "metadata": {"sessionId": "s1"}})
        again = await until(ws, "ready")
        (opened,) = await found(h, "stream.opened")
        await ws.close()
    assert again["metadata"]["sessionId"] == "s1"
    assert opened.call_id == CALL


@both
async def test_a_site_of_the_tenants_is_spoken_for_by_its_agent(door: Door) -> None:
    async with doors() as h:
        ws = await connected(h, f"{door.path}&{door.site}=garden")
        await put(ws, *door.start)
        (began,) = await found(h, "call.started")
        await ws.close()
    assert isinstance(began, CallStarted)
    assert (began.agent, began.language, dict(began.parameters)) == ("site", "en-US", {"site": "garden"})


@both
@pytest.mark.parametrize("site", ["theirs", "none"])
async def test_another_tenants_site_is_forbidden(door: Door, site: str) -> None:
    async with doors() as h:
        ws = await connected(h, f"{door.path}&{door.site}={site}")
        await put(ws, *door.start)
        assert door.code_of(await until(ws, "error")) == "FORBIDDEN"
        assert await close_of(ws) == 1008


@both
async def test_a_session_id_that_is_none_is_told(door: Door) -> None:
    async with doors() as h:
        ws = await connected(h, door.path.replace("s1", "a%2Fb"))
        await put(ws, *door.start)
        assert door.code_of(await until(ws, "error")) == "SESSION_INVALID"
        assert await close_of(ws) == 1008


@both
@pytest.mark.parametrize(("scope", "status"), [("", 401), ("screen", 403)])
async def test_who_may_not_come_in_is_told_before_the_upgrade(door: Door, scope: str, status: int) -> None:
    async with doors() as h:
        headers = {"Authorization": f"Bearer {token(scopes=(scope,))}"} if scope else {}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await h.http.ws_connect(h.base + door.path, headers=headers)
    assert refused.value.status == status


@both
async def test_bad_input_is_counted_and_the_session_goes_on(door: Door) -> None:
    async with doors() as h:
        ws, _stream = await begun(h, door)
        bad = sound("opus", 60) if door is RAW else {"type": "audio_data", "audio": base64.b64encode(b"x").decode()}
        await put(ws, bad, {"type": "dance"})
        assert door.code_of(await until(ws, "error")) == "UNKNOWN_MESSAGE"
        counts = h.ingest.tally.bad_input
        assert (counts[door.name, "undecodable_audio"], counts[door.name, "unknown_type"]) == (1, 1)
        await put(ws, *door.audio)
        assert await received(h, 4) == door.heard
        await ws.close()


@both
async def test_an_expired_token_is_told_and_then_closes(door: Door) -> None:
    hands = Hands(at=0)
    async with doors(hands, limits=Limits(token_grace_ms=30_000)) as h:
        ws, _stream = await begun(h, door, token(valid_s=60))
        hands.at += 61_000
        assert door.code_of(await until(ws, "error")) == "AUTH_EXPIRED"
        hands.at += 30_000
        assert await close_of(ws) == 4401


@both
async def test_a_server_that_leaves_says_when_to_come_back(door: Door) -> None:
    async with doors() as h:
        ws, _stream = await begun(h, door)
        draining = asyncio.create_task(h.ingest.drain())
        left = await until(ws, "error")
        assert (door.code_of(left), door.retry_of(left)) == ("SERVER_RESTARTING", 1_000)
        assert await close_of(ws) == 1012
        await draining


@both
async def test_the_end_is_told_and_then_closes(door: Door) -> None:
    async with doors() as h:
        ws, stream = await begun(h, door)
        await h.mail(fact(stream, 9, CallEnded(id="e9", call_id=CALL, reason="agent_goodbye", duration_ms=5)))
        end = await until(ws, "voice_end" if door is RAW else "status")
        assert end["data"] == "agent_goodbye" if door is RAW else end["status"] == "complete"
        assert await close_of(ws) == 1000
