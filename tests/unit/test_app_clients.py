"""The apps' ends of our wires against our ends of them, back to back; and how they come back after a loss."""

from __future__ import annotations

import audioop
import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from audio.opus import OpusDecoder, OpusEncoder
from clients.app import Rate
from clients.backoff import LONGEST_WAIT_S, Backoff
from clients.call_control import FORMATS, CallControlWire
from clients.mobile import MobileWire
from clients.wire import APP_RATE, Broken, Cut, Meant, Named, Over, Speech, Trouble, Wire, Words
from ingest.dialects.base import Began, Dialect, Frame, MarkEchoed, Released, Said, Wished
from ingest.dialects.call_control import CallControlDialect
from ingest.dialects.mobile import MobileDialect
from schema.call import CallEnded
from schema.envelope import Event
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted
from schema.turn import ReplyComposed, ReplyFinished, ReplyInterrupted, ReplySentence, ReplyStarted
from tests.support.sound import likeness, sweep

SPOKEN: list[Event] = [
    ReplyStarted(id="r1", call_id="c", why="greeting", agent="hero/triage"),
    ReplySentence(id="e2", call_id="c", reply="r1", index=0, text="Hello."),
    PlaybackStarted(id="e3", call_id="c", stream="s", reply="r1", sentence=0),
]
REVISED = TranscriptRevised(id="e8", call_id="c", stream="s", text="ye")
SETTLED = TranscriptSettled(id="e9", call_id="c", stream="s", text="yes", start_ms=0, end_ms=1, through_ms=1)

AUDIO = {"type": "audio_output", "session_id": "s1", "sequence": 1, "is_final": True, "audio_data": ""}
RESPONSE = {"type": "audio_response", "data": "", "format": "pcm16", "sample_rate": 16_000, "sequence": 1}


def mobile(encoding: str) -> tuple[MobileWire, MobileDialect]:
    dialect = MobileDialect(now=lambda: 1, new_session=lambda: "n")
    return MobileWire(business="acme", session="s1", encoding=encoding), dialect


def call_control(encoding: str) -> tuple[CallControlWire, CallControlDialect]:
    dialect = CallControlDialect(tenant="acme", now=lambda: 1, new_session=lambda: "n")
    return CallControlWire(tenant="acme", session="s1", agent="notes", encoding=encoding), dialect


PAIRS: dict[str, Callable[[], tuple[Wire, Dialect]]] = {
    **{f"mobile {encoding}": (lambda encoding=encoding: mobile(encoding)) for encoding in ("opus", "pcm16", "mulaw")},
    **{f"call {encoding}": (lambda encoding=encoding: call_control(encoding)) for encoding in FORMATS},
}


def told(dialect: Dialect, messages: list[str]) -> list[Said]:
    return [said for message in messages for said in dialect.receive(message, 0)]


def read(wire: Wire, frames: Any) -> list[Meant]:
    return [meant for frame in frames for meant in wire.read(frame)]


def started(name: str) -> tuple[Wire, Dialect, Began]:
    wire, dialect = PAIRS[name]()
    (began,) = told(dialect, wire.hello())
    assert isinstance(began, Began)
    assert all(isinstance(meant, Named) for meant in read(wire, dialect.opened()))
    return wire, dialect, began


def heard(frames: list[Frame], began: Began) -> bytes:
    """As samples at APP_RATE."""
    data = [frame.payload for frame in frames]
    if began.encoding == "opus":
        decoder = OpusDecoder(APP_RATE)
        return b"".join(decoder.decode(packet) for packet in data)
    return b"".join(data) if began.encoding == "pcm16" else audioop.ulaw2lin(b"".join(data), 2)


def coded(pcm: bytes, began: Began) -> list[bytes]:
    """As speaking would hand it out."""
    if began.out_encoding == "opus":
        return OpusEncoder(began.out_sample_rate, packet_ms=began.out_packet_ms).feed(pcm)
    pieces = [pcm[at : at + 1_920] for at in range(0, len(pcm), 1_920)]
    return pieces if began.out_encoding == "pcm16" else [audioop.lin2ulaw(piece, 2) for piece in pieces]


@pytest.mark.parametrize("name", PAIRS)
def test_what_the_caller_says_arrives(name: str) -> None:
    wire, dialect, began = started(name)
    spoken = sweep(1_200, APP_RATE)
    said = [one for at in range(0, len(spoken), 640) for one in told(dialect, wire.speech(spoken[at : at + 640]))]
    frames = [one for one in said if isinstance(one, Frame)]
    assert len(frames) == len(said)
    # A fifth of a second is what the last container and packet may still hold back.
    same = min(len(spoken), len(heard(frames, began)))
    assert same >= len(spoken) - 6_400
    correlation, _late_ms = likeness(spoken[:same], heard(frames, began)[:same], APP_RATE)
    assert correlation > 0.9


@pytest.mark.parametrize("name", PAIRS)
def test_what_the_agent_says_is_heard_and_acknowledged(name: str) -> None:
    wire, dialect, began = started(name)
    meant = [one for fact in SPOKEN for one in read(wire, dialect.send(fact))]
    assert [one.text for one in meant if isinstance(one, Words)] == ["Hello."]
    spoken = sweep(600, APP_RATE)
    speech: list[Speech] = []
    for number, payload in enumerate(coded(spoken, began)):
        (came,) = wire.read(dialect.audio(payload))
        dialect.mark(f"mark {number}")
        assert isinstance(came, Speech)
        speech.append(came)
    played = b"".join(Rate(APP_RATE).feed(one.pcm, one.sample_rate) for one in speech)
    assert likeness(spoken[:16_000], played[:16_000], APP_RATE)[0] > 0.9
    echoes = told(dialect, wire.played(speech[-1].sequence))
    assert echoes == [MarkEchoed(f"mark {number}") for number in range(len(speech))]
    ended = read(wire, dialect.send(ReplyFinished(id="e5", call_id="c", reply="r1")))
    assert not any(isinstance(one, Cut | Broken) for one in ended)


@pytest.mark.parametrize("name", PAIRS)
def test_an_interruption_cuts_what_is_queued_once(name: str) -> None:
    wire, dialect, began = started(name)
    for fact in SPOKEN:
        read(wire, dialect.send(fact))
    wire.read(dialect.audio(coded(sweep(200, APP_RATE), began)[0]))
    facts = (
        ReplyInterrupted(id="e6", call_id="c", reply="r1"),
        ReplyFinished(id="e7", call_id="c", reply="r1", interrupted=True),
    )
    meant = [one for fact in facts for one in read(wire, dialect.send(fact))]
    assert [type(one) for one in meant if not isinstance(one, Speech | Words)] == [Cut]


@pytest.mark.parametrize("name", PAIRS)
def test_a_goodbye_is_answered_by_the_end(name: str) -> None:
    wire, dialect, _began = started(name)
    assert told(dialect, wire.goodbye()) == [Wished("hang_up")]
    assert Over() in read(wire, dialect.send(CallEnded(id="e8", call_id="c", reason="request")))


@pytest.mark.parametrize("name", ["mobile opus", "call webm-opus"])
def test_a_client_that_comes_back_is_the_same_call(name: str) -> None:
    wire, _dialect, began = started(name)
    wire.speech(sweep(300, APP_RATE))
    again = PAIRS[name]()[1]
    (resumed,) = told(again, wire.hello())
    assert isinstance(resumed, Began)
    assert resumed.session == began.session
    read(wire, again.opened())
    frames = told(again, wire.speech(sweep(1_000, APP_RATE)))
    assert any(isinstance(one, Frame) for one in frames)
    assert not any(isinstance(one, Broken) for one in read(wire, [again.audio(coded(sweep(200, APP_RATE), began)[0])]))


@pytest.mark.parametrize("name", ["mobile pcm16", "call pcm16"])
def test_who_comes_back_keeps_each_line_once(name: str) -> None:
    wire, dialect, _began = started(name)
    assert isinstance(wire, MobileWire | CallControlWire)
    facts = [*SPOKEN, REVISED, SETTLED]
    for fact in facts[:-1]:
        read(wire, dialect.send(fact))
    before = list(wire.transcript)
    again = PAIRS[name]()[1]
    told(again, wire.hello())
    read(wire, again.opened())
    new = [one for fact in facts for one in read(wire, again.send(fact)) if isinstance(one, Words)]
    assert [words.text for words in before] == ["Hello.", "ye"]
    assert new == [Words("caller", "yes", True)]
    assert wire.transcript == [*before, *new]


@pytest.mark.parametrize("name", ["mobile pcm16", "call pcm16"])
def test_the_same_words_said_twice_are_two_lines(name: str) -> None:
    wire, dialect, _began = started(name)
    assert isinstance(wire, MobileWire | CallControlWire)
    for id_ in ("e9", "e10"):
        read(wire, dialect.send(replace(SETTLED, id=id_)))
    assert wire.transcript == [Words("caller", "yes", True)] * 2


def test_the_end_of_a_response_is_no_line() -> None:
    wire, dialect, _began = started("call pcm16")
    assert isinstance(wire, CallControlWire)
    for fact in (*SPOKEN, ReplyComposed(id="e4", call_id="c", reply="r1", sentences=1)):
        read(wire, dialect.send(fact))
    assert wire.transcript == [Words("agent", "Hello.", True)]


@pytest.mark.parametrize("name", ["mobile pcm16", "call pcm16"])
def test_a_turn_may_be_ended_and_words_come(name: str) -> None:
    wire, dialect, _began = started(name)
    assert isinstance(wire, MobileWire | CallControlWire)
    assert told(dialect, wire.end_of_turn()) == [Released()]
    assert read(wire, dialect.send(SETTLED)) == [Words("caller", "yes", True)]
    assert wire.transcript == [Words("caller", "yes", True)]
    assert read(wire, dialect.problem("RATE_LIMITED", "slower", 500)) == [Trouble("RATE_LIMITED", "slower", 500)]


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        b"\xff",
        {"type": "audio_output", "session_id": "s2"},
        {"type": "audio_output", "session_id": "s1", "sequence": 5, "is_final": False, "audio_data": "%"},
        {
            "type": "audio_output",
            "session_id": "s1",
            "sequence": 1,
            "is_final": True,
            "audio_data": "",
            "content_type": "x",
        },
        {"type": "session_status", "session_id": "s1", "status": "dancing", "agent_type": "job"},
        {"type": "session_status", "session_id": "s1", "status": "listening", "agent_type": "notes"},
        {"type": "error", "session_id": "s1"},
    ],
)
def test_a_mobile_server_that_breaks_the_protocol_is_found_out(frame: Any) -> None:
    wire = MobileWire(business="acme", session="s1")
    assert isinstance(wire.read(json.dumps(frame) if isinstance(frame, dict) else frame)[0], Broken)


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        {"type": "call_started", "call_id": "s2", "call": "acme~s2"},
        {
            "type": "audio_response",
            "data": "",
            "format": "mp3",
            "sample_rate": 16_000,
            "sequence": 1,
            "is_final": False,
        },
        {
            "type": "audio_response",
            "data": "",
            "format": "pcm16",
            "sample_rate": 16_000,
            "sequence": 7,
            "is_final": True,
        },
        {"type": "call_ended", "reason": "x", "duration_ms": None},
        {"type": "transcript", "text": "a"},
    ],
)
def test_a_call_server_that_breaks_the_protocol_is_found_out(frame: Any) -> None:
    wire = CallControlWire(tenant="acme", session="s1", encoding="pcm16")
    assert isinstance(wire.read(json.dumps(frame) if isinstance(frame, dict) else frame)[0], Broken)


def test_a_microphone_nobody_listens_to_yet_is_not_hoarded() -> None:
    wire = CallControlWire(tenant="acme", session="s1", encoding="pcm16")
    wire.hello()
    for _ in range(500):
        assert wire.speech(bytes(640)) == []
    wire.read(json.dumps({"type": "call_started", "call_id": "s1", "call": "acme~s1"}))
    assert len(wire.speech(bytes(640))) <= 1


def test_each_attempt_waits_twice_as_long_up_to_half_a_minute() -> None:
    backoff = Backoff(lambda: 0.0)
    assert [backoff.next_s() for _ in range(7)] == [1, 2, 4, 8, 16, LONGEST_WAIT_S, LONGEST_WAIT_S]
    backoff.reset()
    assert backoff.next_s() == 1


def test_chance_makes_a_wait_shorter_and_the_server_longer() -> None:
    assert Backoff(lambda: 1.0).next_s() == 0.75
    assert Backoff(lambda: 1.0).next_s(5.0) == 5.0
