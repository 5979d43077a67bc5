"""The call-control dialect: the documented conversation, every answer to every mistake, and whatever else may come."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.wav import read_wav, wav_bytes
from clients.webm import OggWriter
from ingest.dialects.app_dialect import State, by_state
from ingest.dialects.base import (
    Answer,
    Began,
    Ended,
    Figures,
    Frame,
    Ignored,
    MarkEchoed,
    Problem,
    Released,
    Repeated,
    Typed,
    Violation,
    Wire,
    Wished,
)
from ingest.dialects.call_control import KINDS, TABLE, CallControlDialect
from ingest.dialects.call_messages import HISTORY
from tests.support.dialects import (
    ANOTHERS_CALL,
    AUDIO,
    NOW_MS,
    all_documented,
    coded,
    conversation,
    engine_is_told,
    facts,
    shapes,
    told,
)
from tests.support.sound import tone
from tests.support.transcripts import Replay, replay, sound, transcripts

SAID = (
    Began,
    Frame,
    Repeated,
    MarkEchoed,
    Typed,
    Released,
    Wished,
    Figures,
    Answer,
    Problem,
    Ended,
    Ignored,
    Violation,
)
DOCUMENTED = {
    "connected": set(),
    "call_started": {"call_id", "call"},
    "transcript": {"id", "text", "is_final", "speaker"},
    "response": {"text", "is_final"},
    "audio_response": {"data", "format", "sample_rate", "sequence", "is_final"},
    "call_ended": {"reason", "duration_ms"},
    "quality": {"ping_ms", "loss", "degraded"},
    "error": {"error_code", "message"},
    "pong": set(),
}
OPTIONAL = {"interrupted", "agent_name", "id", "retry_after", "stage", "payload"}


def dialect() -> CallControlDialect:
    return CallControlDialect(tenant="acme", now=lambda: NOW_MS, new_session=lambda: "made-here")


def start(**fields: Any) -> str:
    return json.dumps({"type": "start_call", **fields})


def begun(**fields: Any) -> CallControlDialect:
    call = dialect()
    call.receive(start(**fields), 0)
    assert call.state is State.OPEN
    return call


def audio(data: bytes, **fields: Any) -> str:
    return json.dumps({"type": "audio", "data": coded(data), **fields})


@pytest.mark.parametrize("number", range(len(transcripts("call-control.md"))))
def test_the_documented_conversation_is_what_happens(number: int) -> None:
    replay(transcripts("call-control.md")[number], Replay(dialect()))


@pytest.mark.parametrize(
    ("given_", "session"),
    [
        ({}, "made-here"),
        ({"call_id": "7d1"}, "7d1"),
        ({"call_id": "acme~7d1"}, "7d1"),
        ({"tenant_id": "acme"}, "made-here"),
    ],
)
def test_a_call_is_named_by_its_client_or_by_us(given_: dict[str, Any], session: str) -> None:
    call = dialect()
    (began,) = call.receive(start(**given_), 0)
    assert isinstance(began, Began)
    assert began.session == session
    assert told(call.opened())[0] == {
        "type": "call_started",
        "call_id": session,
        "call": f"acme~{session}",
        "timestamp": NOW_MS,
    }


@pytest.mark.parametrize("tenant", ["other", 5, ["acme"], {"a": 1}, True])
def test_another_tenant_is_forbidden(tenant: object) -> None:
    problem, violation = dialect().receive(start(tenant_id=tenant), 0)
    assert isinstance(problem, Problem)
    assert isinstance(violation, Violation)
    assert (problem.code, violation.close_code) == ("FORBIDDEN", 1008)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ("opus", 48_000, 1, "pcm16", 16_000, 0)),
        ({"format": "wav"}, ("pcm16", 16_000, 1, "pcm16", 16_000, 0)),
        ({"format": "pcm16", "sample_rate": 44_100, "channels": 2}, ("pcm16", 44_100, 2, "pcm16", 16_000, 0)),
        ({"format": "mulaw", "response_format": "mulaw"}, ("mulaw", 8_000, 1, "mulaw", 8_000, 0)),
        ({"response_format": "opus"}, ("opus", 48_000, 1, "opus", 16_000, 60)),
        ({"response_format": "wav", "response_sample_rate": 24_000}, ("opus", 48_000, 1, "pcm16", 24_000, 0)),
    ],
)
def test_a_start_says_what_comes_and_what_goes(asked: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (began,) = dialect().receive(start(**asked), 0)
    assert isinstance(began, Began)
    assert expected == (
        began.encoding,
        began.sample_rate,
        began.channels,
        began.out_encoding,
        began.out_sample_rate,
        began.out_packet_ms,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "mp3"},
        {"format": "pcm16", "sample_rate": 11_025},
        {"format": "pcm16", "channels": 0},
        {"response_format": "mp3"},
        {"response_sample_rate": 44_100},
        {"response_sample_rate": "fast"},
    ],
)
def test_a_format_there_is_not_is_told_and_another_may_be_tried(wrong: dict[str, Any]) -> None:
    call = dialect()
    (problem,) = call.receive(start(**wrong), 0)
    assert isinstance(problem, Problem)
    assert problem.code == "UNSUPPORTED_FORMAT"
    assert isinstance(call.receive(start(), 1)[0], Began)


def test_history_is_the_newest_lines_that_are_lines() -> None:
    lines: list[Any] = [{"speaker": "caller", "text": str(number)} for number in range(HISTORY + 10)]
    (began,) = dialect().receive(start(history=lines), 0)
    assert isinstance(began, Began)
    assert [text for _, text in began.history] == [str(number) for number in range(10, HISTORY + 10)]
    odd = [
        5,
        {},
        {"speaker": "judge", "text": "a"},
        {"speaker": "agent", "text": " b "},
        {"speaker": "agent", "text": 1},
    ]
    (began,) = dialect().receive(start(history=odd), 0)
    assert isinstance(began, Began)
    assert began.history == (("agent", "b"),)
    (began,) = dialect().receive(start(history="hello"), 0)
    assert isinstance(began, Began)
    assert began.history == ()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "MALFORMED_MESSAGE"),
        ("[]", "MALFORMED_MESSAGE"),
        (b"\xff", "MALFORMED_MESSAGE"),
        ('{"type": 5}', "UNKNOWN_MESSAGE"),
        ('{"type": "dance"}', "UNKNOWN_MESSAGE"),
        ('{"type": "audio", "data": "%%%"}', "MALFORMED_MESSAGE"),
        ('{"type": "audio", "data": 5}', "MALFORMED_MESSAGE"),
        ('{"type": "text"}', "MALFORMED_MESSAGE"),
        ('{"type": "start_call", "call_id": "another"}', "CALL_RUNNING"),
    ],
)
def test_every_mistake_is_answered_and_the_call_goes_on(message: str | bytes, code: str) -> None:
    call = begun(call_id="7d1")
    (problem,) = call.receive(message, 0)
    assert isinstance(problem, Problem)
    assert problem.code == code
    assert call.state is State.OPEN


def test_the_same_start_again_is_nothing_new() -> None:
    call = begun(call_id="7d1")
    for again in (start(), start(call_id="7d1"), start(call_id="acme~7d1")):
        assert call.receive(again, 0) == (Ignored("repeated_start"),)


@pytest.mark.parametrize("kind", ["audio", "text", "interrupt", "pause", "resume"])
def test_before_the_start_there_is_no_call(kind: str) -> None:
    (problem,) = dialect().receive(json.dumps({"type": kind, "text": "a", "data": "AAAA"}), 0)
    assert isinstance(problem, Problem)
    assert problem.code == "SESSION_NOT_FOUND"


def test_an_ended_call_is_not_heard_any_more() -> None:
    call = begun()
    assert call.receive('{"type": "end_call"}', 0) == (Wished("hang_up"),)
    assert call.receive('{"type": "text", "text": "a"}', 1) == (Ignored("after_end"),)
    assert dialect().receive('{"type": "end_call"}', 0) == (Ended("stop"),)


@pytest.mark.parametrize(
    ("given_", "chunk", "frames"),
    [
        ({}, sound("webm", 480), 8),
        ({}, OggWriter().header() + OggWriter().page([sound("opus", 20)], 20), 1),
        ({"format": "wav"}, wav_bytes(tone(480, 16_000), 16_000), 5),
        ({"format": "pcm16"}, tone(480, 16_000), 1),
        ({"format": "mulaw"}, bytes(800), 1),
        ({"format": "opus"}, sound("opus", 20), 1),
    ],
    ids=["webm", "ogg", "wav", "pcm16", "mulaw", "opus"],
)
def test_each_format_is_heard(given_: dict[str, Any], chunk: bytes, frames: int) -> None:
    said = begun(**given_).receive(audio(chunk, is_final=True), 0)
    assert [type(one) for one in said] == [Frame] * frames + [Released]


def test_a_final_chunk_ends_the_turn_once() -> None:
    call = begun(format="pcm16")
    call.receive(audio(bytes(640), sequence=1), 0)
    assert call.receive(audio(b"", sequence=2, is_final=True), 1) == (Released(),)
    assert call.receive(audio(b"", sequence=2, is_final=True), 2) == (Repeated(),)
    assert call.receive(audio(bytes(640), sequence=2, is_final=True), 3) == (Repeated(),)
    assert call.receive(audio(b""), 4) == (Ignored("empty_audio"),)


@pytest.mark.parametrize("out", ["pcm16", "wav", "mulaw", "opus"])
def test_audio_is_what_was_asked_for(out: str) -> None:
    call = begun(response_format=out)
    payload = sound("opus", 60) if out == "opus" else tone(60, 16_000)
    message = json.loads(call.audio(payload))
    data = base64.b64decode(message["data"])
    assert message["format"] == out
    assert (read_wav(data, 16_000) if out == "wav" else data) == payload


def test_what_a_client_played_is_a_mark() -> None:
    call = begun()
    for name in ("a", "b"):
        call.audio(bytes(640))
        call.mark(name)
    assert call.receive('{"type": "played", "sequence": 1}', 0) == (MarkEchoed("a"),)
    assert call.receive('{"type": "played", "sequence": 7}', 0) == (Ignored("bad_played"),)


def test_the_vendors_words_are_not_passed_on() -> None:
    def read(frame: Wire) -> tuple[str, str, str]:
        (message,) = told([frame])
        return message["error_code"], message["stage"], message["message"]

    engine_is_told(begun, read)


def test_another_users_call_is_told_by_the_error_alone() -> None:
    assert begun().send(ANOTHERS_CALL) == ()


@pytest.mark.parametrize("state", [State.FRESH, State.OPEN, State.ENDED])
@pytest.mark.parametrize("kind", KINDS)
def test_every_message_has_its_place_in_every_state(state: State, kind: str) -> None:
    assert (state, kind) in TABLE


def test_a_row_with_a_gap_is_no_table() -> None:
    with pytest.raises(ValueError, match="shorter"):
        by_state((State.OPEN, State.ENDED), {"ping": (CallControlDialect.pong,)})


chunks = st.binary(max_size=60) | st.sampled_from([sound("webm", 60), sound("opus", 20), wav_bytes(bytes(640), 16_000)])
fields = {
    "data": chunks.map(coded) | shapes,
    "tenant_id": st.just("acme") | shapes,
    "call_id": st.text(max_size=8) | shapes,
    "agent_id": shapes,
    "format": st.sampled_from(["webm-opus", "wav", "pcm16", "mulaw", "opus"]) | shapes,
    "response_format": st.sampled_from(["wav", "pcm16", "mulaw"]) | shapes,
    "sample_rate": st.sampled_from([8_000, 16_000]) | shapes,
    "channels": st.integers(0, 3) | shapes,
    "history": shapes,
    "sequence": st.integers(0, 50) | shapes,
    "is_final": st.booleans() | shapes,
    "text": shapes,
    "payload": shapes,
    "metrics": shapes,
}
messages = st.fixed_dictionaries({"type": st.sampled_from(KINDS) | shapes}, optional=fields)
anything = messages.map(json.dumps) | st.text() | st.binary() | shapes.map(json.dumps)
steps = st.lists(anything | facts | st.just(AUDIO), max_size=25)


@given(steps, st.sampled_from([None, "webm-opus", "wav", "pcm16", "mulaw", "opus"]))
def test_nothing_breaks_it_and_all_it_says_is_documented(come: list[Any], given_: str | None) -> None:
    call = dialect() if given_ is None else begun(format=given_)
    all_documented(conversation(call, come, voice=bytes(64), may_say=SAID), DOCUMENTED, OPTIONAL)
