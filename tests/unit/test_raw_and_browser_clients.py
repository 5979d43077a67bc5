"""The raw and the browser client against our ends of their wires, back to back; and servers that break the rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from agents.website import Site
from audio.opus import OpusDecoder, OpusEncoder
from clients.app import Rate
from clients.browser import BrowserWire
from clients.raw import RawWire
from clients.wire import APP_RATE, Broken, Cut, Meant, Named, Over, Speech, Trouble, Wire, Words
from ingest.dialects.base import Answer, Began, Dialect, Frame, MarkEchoed, Released, Said, Wished
from ingest.dialects.base import Wire as OnTheWire
from ingest.dialects.browser import BrowserDialect
from ingest.dialects.raw import RawDialect
from schema.call import CallEnded
from schema.envelope import Event
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted
from schema.turn import ReplyFinished, ReplyInterrupted, ReplySentence, ReplyStarted, ToolCalled, ToolReturned
from tests.support.sound import likeness, sweep
from tests.support.transcripts import sound

SITE = Site(id="garden", title="Garden", tenants=("acme",), agent="site")
SPOKEN: list[Event] = [
    ReplyStarted(id="r1", call_id="c", why="greeting", agent="hero/triage"),
    ReplySentence(id="e2", call_id="c", reply="r1", index=0, text="Hello."),
    PlaybackStarted(id="e3", call_id="c", stream="s", reply="r1", sentence=0),
]
REVISED = TranscriptRevised(id="e8", call_id="c", stream="s", text="ye")
SETTLED = TranscriptSettled(id="e9", call_id="c", stream="s", text="yes", start_ms=0, end_ms=1, through_ms=1)
SHOWN: list[Event] = [
    ToolCalled(id="t1", call_id="c", reply="r1", name="navigate_to_page"),
    ToolReturned(id="e7", call_id="c", call="t1", status="ok", result={"page": "prices", "path": "/prices"}),
]


def visitor(wire: Wire) -> dict[str, Any]:
    return {
        "tenant": "acme",
        "query": dict(parse_qsl(urlsplit(wire.path).query)),
        "now": lambda: 1,
        "new_session": lambda: "made-here",
        "site_of": {"garden": SITE}.get,
    }


def raw(encoding: str) -> tuple[Wire, Dialect]:
    wire = RawWire(tenant="acme", session="s1", encoding=encoding, site="garden", locale="en-GB")
    return wire, RawDialect(**visitor(wire))


def browser() -> tuple[Wire, Dialect]:
    wire = BrowserWire(tenant="acme", session="s1", site="garden", language="en-GB")
    return wire, BrowserDialect(**visitor(wire))


PAIRS: dict[str, Callable[[], tuple[Wire, Dialect]]] = {
    "raw opus": lambda: raw("opus"),
    "raw pcm16": lambda: raw("pcm16"),
    "browser": browser,
}
each = pytest.mark.parametrize("name", PAIRS)


def told(dialect: Dialect, messages: Iterable[OnTheWire]) -> list[Said]:
    return [said for message in messages for said in dialect.receive(message, 0)]


def read(wire: Wire, frames: Iterable[OnTheWire]) -> list[Meant]:
    return [meant for frame in frames for meant in wire.read(frame)]


def connected(wire: Wire, dialect: Dialect) -> tuple[Began, list[Meant]]:
    """What the client understood until its session was open."""
    said = [*dialect.greet(), *told(dialect, wire.hello())]
    meant: list[Meant] = []
    for one in said:
        meant += read(wire, one.frames) if isinstance(one, Answer) else ()
        meant += read(wire, dialect.opened()) if isinstance(one, Began) else ()
    (began,) = [one for one in said if isinstance(one, Began)]
    return began, meant


def heard(frames: list[Frame], began: Began) -> bytes:
    """As samples at APP_RATE."""
    if began.encoding == "pcm16":
        return b"".join(frame.payload for frame in frames)
    decoder = OpusDecoder(APP_RATE)
    return b"".join(decoder.decode(frame.payload) for frame in frames)


def coded(pcm: bytes, began: Began) -> list[bytes]:
    """Speech at 16 kHz as speaking would hand it out."""
    pcm = Rate(began.out_sample_rate).feed(pcm, APP_RATE)
    if began.out_encoding == "opus":
        return OpusEncoder(began.out_sample_rate, packet_ms=began.out_packet_ms).feed(pcm)
    return [pcm[at : at + 2_880] for at in range(0, len(pcm), 2_880)]


@each
def test_a_client_names_its_session_its_site_and_its_language(name: str) -> None:
    began, meant = connected(*PAIRS[name]())
    assert (began.session, began.parameters, began.agent, began.language) == ("s1", {"site": "garden"}, "site", "en-GB")
    assert meant == [Named("acme~s1")]


@each
def test_what_the_caller_says_arrives(name: str) -> None:
    wire, dialect = PAIRS[name]()
    began, _ = connected(wire, dialect)
    spoken = sweep(1_200, APP_RATE)
    said = [one for at in range(0, len(spoken), 640) for one in told(dialect, wire.speech(spoken[at : at + 640]))]
    frames = [one for one in said if isinstance(one, Frame)]
    same = min(len(spoken), len(heard(frames, began)))
    assert same >= len(spoken) - 4_000  # what the last packet may still hold back
    assert likeness(spoken[:same], heard(frames, began)[:same], APP_RATE)[0] > 0.9


@each
def test_what_the_agent_says_is_heard_and_acknowledged(name: str) -> None:
    wire, dialect = PAIRS[name]()
    began, _ = connected(wire, dialect)
    assert [one.text for fact in SPOKEN for one in read(wire, dialect.send(fact)) if isinstance(one, Words)] == [
        "Hello."
    ]
    spoken = sweep(600, APP_RATE)
    speech: list[Speech] = []
    for number, payload in enumerate(coded(spoken, began)):
        (came,) = wire.read(dialect.audio(payload))
        dialect.mark(f"mark {number}")
        assert isinstance(came, Speech)
        speech.append(came)
    assert [one.sequence for one in speech] == list(range(1, len(speech) + 1))
    back = Rate(APP_RATE)
    played = b"".join(back.feed(one.pcm, one.sample_rate) for one in speech)
    assert likeness(spoken[:16_000], played[:16_000], APP_RATE)[0] > 0.9
    echoes = told(dialect, wire.played(speech[-1].sequence))
    assert echoes == [MarkEchoed(f"mark {number}") for number in range(len(speech))]
    assert read(wire, dialect.send(ReplyFinished(id="e5", call_id="c", reply="r1"))) == []


@each
def test_an_interruption_cuts_what_is_queued_once(name: str) -> None:
    wire, dialect = PAIRS[name]()
    began, _ = connected(wire, dialect)
    for fact in SPOKEN:
        read(wire, dialect.send(fact))
    wire.read(dialect.audio(coded(sweep(200, APP_RATE), began)[0]))
    facts = (
        ReplyInterrupted(id="e6", call_id="c", reply="r1"),
        ReplyFinished(id="e7", call_id="c", reply="r1", interrupted=True),
    )
    assert [one for fact in facts for one in read(wire, dialect.send(fact))] == [Cut()]


@each
def test_a_goodbye_is_answered_by_the_end(name: str) -> None:
    wire, dialect = PAIRS[name]()
    connected(wire, dialect)
    assert told(dialect, wire.goodbye()) == [Wished("hang_up")]
    assert read(wire, dialect.send(CallEnded(id="e8", call_id="c", reason="request", duration_ms=5))) == [Over()]


@each
def test_a_client_that_comes_back_is_the_same_session(name: str) -> None:
    wire, dialect = PAIRS[name]()
    first, _ = connected(wire, dialect)
    told(dialect, wire.speech(sweep(300, APP_RATE)))
    wire.read(dialect.audio(coded(sweep(200, APP_RATE), first)[0]))
    again = PAIRS[name]()[1]
    resumed, _ = connected(wire, again)
    assert resumed.session == first.session
    said = told(again, wire.speech(sweep(1_000, APP_RATE)))
    assert any(isinstance(one, Frame) for one in said)
    assert [type(one) for one in wire.read(again.audio(coded(sweep(200, APP_RATE), first)[0]))] == [Speech]


@each
def test_words_pages_troubles_and_the_end_of_a_turn_are_understood(name: str) -> None:
    wire, dialect = PAIRS[name]()
    connected(wire, dialect)
    assert isinstance(wire, RawWire | BrowserWire)
    assert told(dialect, wire.end_of_turn())[-1] == Released()
    assert read(wire, dialect.send(SETTLED)) == [Words("caller", "yes", True)]
    assert wire.transcript == [Words("caller", "yes", True)]
    for fact in SHOWN:
        read(wire, dialect.send(fact))
    assert wire.pages == ["/prices"]
    assert read(wire, dialect.problem("RATE_LIMITED", "slower", 500)) == [Trouble("RATE_LIMITED", "slower", 500)]


@each
def test_who_comes_back_keeps_each_line_once(name: str) -> None:
    wire, dialect = PAIRS[name]()
    connected(wire, dialect)
    assert isinstance(wire, RawWire | BrowserWire)
    facts = [*SPOKEN, REVISED, SETTLED]
    for fact in facts[:-1]:
        read(wire, dialect.send(fact))
    before = list(wire.transcript)
    again = PAIRS[name]()[1]
    connected(wire, again)
    new = [one for fact in facts for one in read(wire, again.send(fact)) if isinstance(one, Words)]
    assert [words.text for words in before] == ["Hello.", "ye"]
    assert new == [Words("caller", "yes", True)]
    assert wire.transcript == [*before, *new]


def test_a_sentence_that_was_held_and_goes_on_is_one_line() -> None:
    wire, dialect = PAIRS["raw opus"]()
    connected(wire, dialect)
    assert isinstance(wire, RawWire)
    for fact in (*SPOKEN, SPOKEN[-1]):
        assert not any(isinstance(one, Broken) for one in read(wire, dialect.send(fact)))
    assert wire.transcript == [Words("agent", "Hello.", True)]


def test_a_raw_client_says_ten_times_a_second_what_it_played() -> None:
    wire = RawWire(tenant="acme", session="s1")
    for packet in OpusEncoder(48_000, packet_ms=20).feed(sweep(240, 48_000)):
        wire.read(packet)
    said = [json.loads(message)["metadata"]["sequence"] for n in range(1, 13) for message in wire.played(n)]
    assert said == [5, 10, 12]


def test_a_microphone_nobody_listens_to_yet_is_not_hoarded() -> None:
    wire = BrowserWire(tenant="acme", session="s1")
    wire.hello()
    for _ in range(500):
        assert wire.speech(bytes(640)) == []


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        b"",
        b"\xff\xff",
        sound("opus", 60),
        {"type": "ready"},
        {"type": "ready", "metadata": {}},
        {"type": "audio_response", "metadata": {"final": False, "sequence": 7, "timestamp": 1}},
        {"type": "user_transcript", "data": "a", "metadata": {"final": False, "timestamp": 1}},
        {"type": "transcription", "data": "a", "metadata": {"timestamp": 1}},
        {"type": "navigation", "data": "/", "metadata": {"page": None, "timestamp": 1}},
        {"type": "voice_end", "metadata": {"final": False, "timestamp": 1}},
        {"type": "error", "data": "a", "metadata": {"timestamp": 1}},
    ],
)
def test_a_raw_server_that_breaks_the_protocol_is_found_out(frame: Any) -> None:
    wire = RawWire(tenant="acme", session="s1")
    assert isinstance(wire.read(json.dumps(frame) if isinstance(frame, dict) else frame)[0], Broken)


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        b"\xff",
        {"type": "session", "session_id": "s1", "call": "acme~s1"},
        {"type": "session", "session_id": "s2", "call": "acme~s2", "timestamp": 1},
        {"type": "audio_chunk", "audio": "AAA=", "sequence": 7, "timestamp": 1},
        {"type": "audio_chunk", "audio": "%", "sequence": 1, "timestamp": 1},
        {"type": "audio_chunk", "audio": "AA==", "sequence": 1, "timestamp": 1},
        {"type": "audio_chunk", "audio": "", "sequence": 1, "timestamp": 1},
        {"type": "status", "status": "dancing", "timestamp": 1},
        {"type": "transcript", "text": "a", "is_complete": True, "timestamp": 1},
    ],
)
def test_a_browser_server_that_breaks_the_protocol_is_found_out(frame: Any) -> None:
    wire = BrowserWire(tenant="acme", session="s1")
    assert isinstance(wire.read(json.dumps(frame) if isinstance(frame, dict) else frame)[0], Broken)
