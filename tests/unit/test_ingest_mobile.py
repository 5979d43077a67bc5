"""The mobile dialect: the documented conversation, the Swift app's own messages, and whatever else may come."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.webm import OggWriter
from ingest.dialects.app_dialect import State
from ingest.dialects.base import (
    Answer,
    Began,
    Ended,
    Figures,
    Frame,
    Ignored,
    MarkEchoed,
    Named,
    Problem,
    Released,
    Repeated,
    Said,
    Typed,
    Violation,
    Wire,
    Wished,
)
from ingest.dialects.mobile import TABLE, MobileDialect
from ingest.dialects.mobile_messages import AGENT_TYPES, CAMEL, agent_type
from tests.support.dialects import (
    ANOTHERS_CALL,
    AUDIO,
    FACTS,
    NOW_MS,
    answers,
    coded,
    conversation,
    facts,
    shapes,
    told,
)
from tests.support.transcripts import Replay, replay, sound, transcripts

SWIFT = Path(__file__).parents[1] / "golden" / "mobile_swift"
SAID = (
    *(Named, Began, Frame, Repeated, MarkEchoed, Typed, Released, Wished, Figures, Answer, Problem, Ended, Ignored),
    Violation,
)
START = {"type": "start_session", "session_id": "s1", "audio_format": "opus", "sample_rate": 16000, "channels": 1}
KINDS = sorted({kind for _, kind in TABLE})


def dialect() -> MobileDialect:
    return MobileDialect(now=lambda: NOW_MS, new_session=lambda: "made-here")


def begun(**start: Any) -> MobileDialect:
    mobile = dialect()
    mobile.receive(json.dumps({**START, **start}), 0)
    assert mobile.state is State.OPEN
    return mobile


def input_of(payload: bytes, sequence: int = 1, *, is_final: bool = False, **more: Any) -> str:
    return json.dumps(
        {
            "type": "audio_input",
            "session_id": "s1",
            "audio_data": coded(payload),
            "sequence": sequence,
            "is_final": is_final,
            **more,
        }
    )


@pytest.mark.parametrize("number", range(len(transcripts("mobile.md"))))
def test_the_documented_conversation_is_what_happens(number: int) -> None:
    replay(transcripts("mobile.md")[number], Replay(dialect()))


# ---------------------------------------------------------------------- the Swift app


def swift(name: str) -> bytes:
    (path,) = SWIFT.glob(f"*_{name}.json")
    return path.read_bytes()


def test_the_swift_app_is_understood_message_by_message() -> None:
    """Its `start` names no format, its audio is PCM though it says Opus, its frames are binary."""
    mobile = dialect()
    assert [json.loads(frame)["status"] for frame in answers(mobile.receive(swift("start_session"), 0))] == [
        "listening"
    ]
    assert mobile.receive((SWIFT / "2_audio_input.json").read_bytes(), 64) == ()
    assert mobile.receive((SWIFT / "3_audio_input.json").read_bytes(), 128) == ()
    said = mobile.receive(swift("audio_input_final"), 728)
    began = said[0]
    assert isinstance(began, Began)
    assert (began.session, began.encoding, began.sample_rate) == (
        "E621E1F8-C36C-495A-93FC-0C247A3E6E5F",
        "pcm16",
        16_000,
    )
    assert (began.out_encoding, began.out_sample_rate, began.out_packet_ms) == ("opus", 16_000, 60)
    assert [(type(one), getattr(one, "ms", None)) for one in said[1:]] == [(Frame, 0), (Frame, 64), (Released, None)]
    assert mobile.opened() == ()


def test_the_swift_app_may_lose_its_start() -> None:
    mobile = dialect()
    said = [
        one
        for at, name in ((0, "2_audio_input"), (64, "3_audio_input"), (700, "4_audio_input_final"))
        for one in mobile.receive((SWIFT / f"{name}.json").read_bytes(), at)
    ]
    assert [type(one) for one in said] == [Began, Frame, Frame, Released]
    assert told(mobile.opened())[0]["sessionId"] == "E621E1F8-C36C-495A-93FC-0C247A3E6E5F"


def test_the_swift_app_understands_every_answer() -> None:
    """Its `VoiceMessage` needs `type` and `sessionId`, and these types where a field is there."""
    mobile = dialect()
    mobile.receive(swift("start_session"), 0)
    mobile.receive(json.dumps({"type": "text", "sessionId": "E621E1F8-C36C-495A-93FC-0C247A3E6E5F", "text": "hi"}), 1)
    frames = [frame for fact in FACTS.values() for frame in mobile.send(fact)]
    frames += [mobile.audio(sound("opus", 60)), *mobile.problem("AUTH_EXPIRED", "come back", 1000)]
    kinds = {
        "audioData": str,
        "sequence": int,
        "isFinal": bool,
        "contentType": str,
        "durationMs": int,
        "status": str,
        "agentType": str,
        "errorCode": str,
        "message": str,
        "retryAfter": int,
    }
    for message in told(tuple(frames)):
        assert isinstance(message["sessionId"], str)
        assert not set(message) & set(CAMEL)
        assert all(type(message[key]) is kind for key, kind in kinds.items() if key in message)
        if message["type"] == "audio_output":
            base64.b64decode(message["audioData"], validate=True)


def test_samples_at_a_phones_own_rate_are_taken_at_it() -> None:
    mobile, said = dialect(), []
    for number in range(1, 8):
        said += mobile.receive(input_of(bytes(9_600), number), 100 * number)
    assert isinstance(said[0], Began)
    assert said[0].sample_rate == 48_000
    assert [one.ms for one in said if isinstance(one, Frame)] == [0, 100, 200, 300, 400, 500, 600]


# ---------------------------------------------------------------------- beginning


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({}, ("opus", 16_000, 1, "opus", 16_000, 60)),
        ({"audio_format": None}, ("opus", 16_000, 1, "opus", 16_000, 60)),
        ({"audio_format": "pcm16", "sample_rate": "24000"}, ("pcm16", 24_000, 1, "pcm16", 24_000, 0)),
        ({"audio_format": "mulaw", "sample_rate": None}, ("mulaw", 8_000, 1, "mulaw", 8_000, 0)),
        ({"audio_format": "PCM16", "channels": 2}, ("pcm16", 16_000, 2, "pcm16", 16_000, 0)),
    ],
)
def test_a_start_says_what_comes_and_what_goes(start: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (began,) = dialect().receive(json.dumps({**START, **start}), 0)
    assert isinstance(began, Began)
    assert (began.session, began.out_channels) == ("s1", 1)
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
    [{"audio_format": "mp3"}, {"audio_format": "pcm16", "sample_rate": 11_025}, {"channels": 3}, {"channels": "x"}],
)
def test_a_format_there_is_not_is_told_and_another_may_be_tried(wrong: dict[str, Any]) -> None:
    mobile = dialect()
    (problem,) = mobile.receive(json.dumps({**START, **wrong}), 0)
    assert isinstance(problem, Problem)
    assert problem.code == "UNSUPPORTED_FORMAT"
    assert told(mobile.problem(problem.code, problem.message))[0]["session_id"] == "s1"
    assert isinstance(mobile.receive(json.dumps(START), 1)[0], Began)


def test_an_app_that_names_no_session_is_given_one() -> None:
    mobile = dialect()
    (began,) = mobile.receive(json.dumps({"type": "start_session", "audio_format": "opus"}), 0)
    assert isinstance(began, Began)
    assert began.session == "made-here"


@pytest.mark.parametrize(
    ("message", "deed"),
    [
        ({"type": "text", "text": " hello "}, Typed("hello")),
        ({"type": "interrupt"}, Wished("interrupt")),
        ({"type": "pause"}, Wished("pause")),
        ({"type": "resume"}, Wished("resume")),
    ],
)
def test_a_deed_begins_a_session_that_declared_nothing(message: dict[str, Any], deed: Said) -> None:
    for first in ([], [{"type": "start_session", "session_id": "s1"}]):
        mobile = dialect()
        for one in first:
            mobile.receive(json.dumps(one), 0)
        began, done = mobile.receive(json.dumps({"session_id": "s1", **message}), 1)
        assert isinstance(began, Began)
        assert (began.session, began.encoding, done) == ("s1", "opus", deed)


def test_audio_that_waits_to_be_judged_is_judged_when_the_app_writes() -> None:
    mobile = dialect()
    mobile.receive(input_of(bytes(2_048)), 0)
    said = mobile.receive(json.dumps({"type": "text", "session_id": "s1", "text": "hello"}), 1)
    assert [type(one) for one in said] == [Began, Frame, Typed]
    assert said[0].encoding == "pcm16"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("{", "not_json"),
        ("[]", "not_json"),
        (b"\xff\xfe", "not_json"),
        ('{"type": 5}', "unknown_type"),
        ('{"type": ["audio_input"]}', "unknown_type"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": "text", "session_id": 5, "text": "a"}', "malformed"),
        ('{"type": "text", "session_id": "s2", "text": "a"}', "other_session"),
        ('{"type": "text", "session_id": "s1", "text": "  "}', "empty_text"),
        (json.dumps(START), "repeated_start"),
        ('{"type": "audio_input", "session_id": "s1", "audio_data": "%%%"}', "not_base64"),
        ('{"type": "audio_input", "session_id": "s1"}', "empty_audio"),
        ('{"type": "audio_input", "session_id": "s1", "audio_data": "/w=="}', "undecodable_audio"),
        ('{"type": "played", "session_id": "s1", "sequence": 9}', "bad_played"),
        ('{"type": "played", "session_id": "s1"}', "bad_played"),
    ],
)
def test_what_makes_no_sense_is_counted_and_never_answered(message: str | bytes, kind: str) -> None:
    assert begun().receive(message, 0) == (Ignored(kind),)


def test_a_final_piece_ends_the_turn_once() -> None:
    mobile = begun()
    packet = sound("opus", 20)
    assert [type(one) for one in mobile.receive(input_of(packet, 1, is_final=True), 0)] == [Frame, Released]
    assert mobile.receive(input_of(packet, 1, is_final=True), 1)[0] is not None
    mobile = begun()
    mobile.receive(input_of(packet, 4), 0)
    assert mobile.receive(input_of(b"", 5, is_final=True), 1) == (Released(),)
    assert mobile.receive(input_of(b"", 5, is_final=True), 2) == (Repeated(),)
    (frame,) = mobile.receive(input_of(packet, 1), 3)
    assert isinstance(frame, Frame)
    assert frame.lost == 0


def test_pages_of_ogg_are_opened() -> None:
    mobile, ogg = begun(), OggWriter()
    mobile.receive(input_of(ogg.header(), 1), 0)
    packet = sound("opus", 20)
    said = mobile.receive(input_of(ogg.page([packet, packet], 40), 2), 1)
    assert said == (Frame(packet, 0), Frame(packet, 20))


def test_an_app_that_hangs_up_is_not_heard_any_more() -> None:
    mobile = begun()
    assert mobile.receive('{"type": "end_session", "session_id": "s1"}', 0) == (Wished("hang_up"),)
    assert mobile.receive(input_of(sound("opus", 20)), 1) == (Ignored("after_end"),)
    assert dialect().receive('{"type": "end_session"}', 0) == (Ended("stop"),)


def test_figures_are_kept_as_far_as_they_are_numbers() -> None:
    values = {"latencyMs": 80, "snr": 12.5, "clarity": "good", "loss": True, "temper": 3}
    assert begun().receive(json.dumps({"type": "metrics", **values}), 0) == (
        Figures({"latency_ms": 80.0, "snr": 12.5}),
    )
    assert begun().receive(json.dumps({"type": "metrics", "metrics": {"latencyMs": 9}}), 0) == (
        Figures({"latency_ms": 9.0}),
    )


@pytest.mark.parametrize("payload", [0, "abc", {"deep": [1, None]}, [1.5], False])
def test_a_pong_returns_the_payload(payload: object) -> None:
    (answer,) = answers(begun().receive(json.dumps({"type": "ping", "payload": payload}), 0))
    assert json.loads(answer)["payload"] == payload


@pytest.mark.parametrize("depth", [10, 900, 990, 1_000, 5_000, 100_000])
def test_a_payload_however_deep_breaks_nothing(depth: int) -> None:
    said = begun().receive(f'{{"type": "ping", "payload": {"[" * depth}1{"]" * depth}}}', 0)
    assert said == (Ignored("not_json"),) or answers(said)[0].startswith('{"type":"pong"')


# ---------------------------------------------------------------------- saying


def test_audio_is_numbered_and_what_was_played_is_a_mark() -> None:
    mobile = begun()
    numbers = []
    for name in ("a", "b", "c"):
        numbers.append(json.loads(mobile.audio(sound("opus", 60)))["sequence"])
        assert mobile.mark(name) is None  # type: ignore[func-returns-value]
    assert numbers == [1, 2, 3]
    assert mobile.receive('{"type": "played", "sequence": 2}', 0) == (MarkEchoed("a"), MarkEchoed("b"))
    assert mobile.receive('{"type": "played", "sequence": 2}', 0) == ()
    assert mobile.receive('{"type": "played", "sequence": 3}', 0) == (MarkEchoed("c"),)


@pytest.mark.parametrize(
    ("encoding", "rate", "payload", "content_type", "duration_ms"),
    [
        ("pcm16", 16_000, bytes(3_200), "audio/pcm;rate=16000", 100),
        ("mulaw", 8_000, bytes(160), "audio/mulaw;rate=8000", 20),
        ("opus", 16_000, sound("opus", 60), "audio/opus", 60),
    ],
)
def test_audio_says_what_it_is(encoding: str, rate: int, payload: bytes, content_type: str, duration_ms: int) -> None:
    message = json.loads(begun(audio_format=encoding, sample_rate=rate).audio(payload))
    assert (message["content_type"], message["duration_ms"]) == (content_type, duration_ms)
    assert base64.b64decode(message["audio_data"]) == payload


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hero/estimate", "estimate"),
        ("hero-scheduling", "scheduling"),
        ("job", "job"),
        ("notes", "triage"),
        ("", "triage"),
        ("hero/triage", "triage"),
    ],
)
def test_the_agent_is_one_the_app_knows(name: str, expected: str) -> None:
    assert agent_type(name) == expected
    assert expected in AGENT_TYPES


def test_another_users_call_is_told_by_the_error_alone() -> None:
    mobile = begun()
    assert mobile.send(ANOTHERS_CALL) == ()
    assert mobile.close_code("forbidden") == 1008


@pytest.mark.parametrize(
    ("reason", "code"),
    [("ended", 1000), ("restart", 1012), ("slow", 1013), ("expired", 4401), ("superseded", 4409), ("limit", 1008)],
)
def test_each_reason_has_its_code(reason: str, code: int) -> None:
    assert dialect().close_code(reason) == code


def test_complete_is_told_once_and_last() -> None:
    mobile = begun()
    statuses = [
        message["status"]
        for fact in [*FACTS.values()] * 2
        for message in told(mobile.send(fact))
        if message["type"] == "session_status"
    ]
    assert statuses.count("complete") == 1
    assert statuses[-1] == "complete"


# ---------------------------------------------------------------------- anything

audio = (st.binary(max_size=60) | st.sampled_from([sound("opus", 20), bytes(640), OggWriter().header()])).map(coded)
fields = {
    "session_id": st.sampled_from(["s1", "s2", ""]) | shapes,
    "audio_data": audio | shapes,
    "sequence": st.integers(0, 50) | shapes,
    "is_final": st.booleans() | shapes,
    "audio_format": st.sampled_from(["opus", "pcm16", "mulaw"]) | shapes,
    "sample_rate": st.sampled_from([8_000, 16_000]) | shapes,
    "channels": st.integers(0, 3) | shapes,
    "text": shapes,
    "payload": shapes,
    "metrics": shapes,
    "latency_ms": shapes,
}
messages = st.fixed_dictionaries({"type": st.sampled_from(KINDS) | shapes}, optional=fields)
cased = st.tuples(messages, st.booleans()).map(
    lambda pair: {CAMEL.get(key, key) if pair[1] else key: value for key, value in pair[0].items()}
)
anything = (
    cased.map(json.dumps)
    | cased.map(lambda m: json.dumps(m).encode())
    | st.text()
    | st.binary()
    | shapes.map(json.dumps)
)
steps = st.lists(anything | facts | st.just(AUDIO), max_size=25)


@given(steps, st.booleans())
def test_nothing_breaks_it_and_all_it_says_is_documented(come: list[Any], is_begun: bool) -> None:
    mobile = begun() if is_begun else dialect()
    _all_documented(conversation(mobile, come, voice=b"\x08" * 30, may_say=SAID))


def _all_documented(says: list[Wire]) -> None:
    numbers = []
    for frame in says:
        assert isinstance(frame, str)
        message = json.loads(frame)
        snake = {snake: message[camel] for snake, camel in CAMEL.items() if camel in message} | message
        assert isinstance(snake["session_id"], str)
        assert snake["timestamp"] == NOW_MS
        assert snake["type"] in ("session_status", "audio_output", "transcript", "quality", "error", "pong")
        if snake["type"] == "audio_output":
            numbers.append(snake["sequence"])
        if snake["type"] == "session_status":
            assert snake["agent_type"] in AGENT_TYPES
    assert numbers == list(range(1, len(numbers) + 1))
