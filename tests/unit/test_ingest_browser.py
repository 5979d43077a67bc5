"""The browser dialect: the documented conversation, the seed's own messages, and whatever else may come."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import opus
from clients.webm import OggWriter, WebmWriter, chunks
from ingest.dialects.app_dialect import State
from ingest.dialects.base import (
    Answer,
    Began,
    Figures,
    Frame,
    Ignored,
    MarkEchoed,
    Problem,
    Released,
    Repeated,
    Said,
    Typed,
    Violation,
    Wire,
    Wished,
)
from ingest.dialects.browser import KINDS, TABLE, BrowserDialect
from ingest.dialects.intake import BAD_IN_A_ROW
from schema.speech import TranscriptSettled
from schema.stream import PlaybackStarted
from schema.turn import ReplyFinished, ReplyInterrupted
from tests.support.dialects import (
    ANOTHERS_CALL,
    AUDIO,
    FACTS,
    NOW_MS,
    SITES,
    all_documented,
    coded,
    conversation,
    engine_is_told,
    facts,
    shapes,
    told,
)
from tests.support.sound import sweep, tone
from tests.support.transcripts import Replay, replay, sound, transcripts

PACKETS = opus.encode(sweep(600, 48_000), 48_000, packet_ms=60)
DOCUMENTED: dict[str, set[str]] = {
    "session": {"session_id", "call", "sample_rate"},
    "audio_chunk": {"audio", "sequence"},
    "transcript": {"id", "text", "is_user", "is_complete"},
    "speech_started": {"is_user"},
    "speech_stopped": {"is_user"},
    "interrupted": set(),
    "status": {"status"},
    "navigation": {"page", "path"},
    "latency": set(),
    "quality": {"ping_ms", "loss", "degraded"},
    "error": {"error_code", "message"},
    "pong": set(),
}
OPTIONAL = {"agent_name", "endpoint_ms", "first_audio_ms", "retry_after", "stage", "payload"}
SAID = (Answer, Began, Figures, Frame, Ignored, MarkEchoed, Problem, Released, Repeated, Typed, Wished)


def dialect(**query: str) -> BrowserDialect:
    return BrowserDialect(
        tenant="acme",
        query=query,
        now=lambda: NOW_MS,
        new_session=lambda: "made-here",
        site_of=SITES.get,
    )


def audio(payload: bytes, **more: Any) -> str:
    return json.dumps({"type": "audio_data", "audio": coded(payload), **more})


def recording(packets: list[bytes] = PACKETS) -> bytes:
    webm = WebmWriter()
    return webm.header() + b"".join(webm.block(packet, 60 * number) for number, packet in enumerate(packets))


def frames(said: list[Said] | tuple[Said, ...]) -> list[Frame]:
    return [one for one in said if isinstance(one, Frame)]


def types(said: Iterable[Wire]) -> list[str]:
    return [message["type"] for message in told(said)]


def test_the_documented_conversation_is_what_happens() -> None:
    (page,) = transcripts("browser.md")
    conversation = Replay(dialect(session="5c2"))
    replay(page, conversation)
    assert [said.ms for said in conversation.said if isinstance(said, Frame)] == [60 * n for n in range(8)]
    assert not [said for said in conversation.said if isinstance(said, Ignored)]


# ---------------------------------------------------------------------- beginning


def test_the_stream_opens_with_the_socket() -> None:
    (began,) = dialect().greet()
    assert isinstance(began, Began)
    assert (began.session, began.agent, began.language, began.parameters) == ("made-here", "", "", {})
    assert (began.encoding, began.sample_rate, began.channels) == ("opus", 48_000, 1)
    assert (began.out_encoding, began.out_sample_rate, began.out_channels) == ("pcm16", 24_000, 1)


def test_the_query_says_who_answers_and_which_session_goes_on() -> None:
    (began,) = dialect(session="5c2", agent="hero", language="de-DE").greet()
    assert isinstance(began, Began)
    assert (began.session, began.agent, began.language) == ("5c2", "hero", "de-DE")


def test_a_site_brings_its_agent_and_language() -> None:
    (began,) = dialect(site="garden").greet()
    assert isinstance(began, Began)
    assert (began.agent, began.language, began.parameters) == ("site", "en-US", {"site": "garden"})


@pytest.mark.parametrize("site", ["theirs", "none"])
def test_a_site_that_is_not_the_tenants_is_forbidden(site: str) -> None:
    problem, violation = dialect(site=site).greet()
    assert isinstance(problem, Problem)
    assert isinstance(violation, Violation)
    assert (problem.code, violation.close_code) == ("FORBIDDEN", 1008)


# ---------------------------------------------------------------------- the seed's own messages


def test_the_seeds_audio_message_is_understood() -> None:
    page = dialect()
    message = {"type": "audio_data", "audio": coded(recording()), "timestamp": 1234567890}
    assert [frame.payload for frame in frames(page.receive(json.dumps(message), 5))] == PACKETS


def test_the_seeds_answers_have_the_seeds_fields() -> None:
    page = dialect()
    (transcript,) = told(page.send(FACTS[TranscriptSettled]))
    assert {"type": "transcript", "text": "a b", "is_user": True, "is_complete": True}.items() <= transcript.items()
    started = told(page.send(FACTS[PlaybackStarted]))[0]
    assert started == {"type": "speech_started", "is_user": False, "timestamp": NOW_MS}
    chunk = json.loads(page.audio(bytes(2_880)))
    assert (chunk["type"], base64.b64decode(chunk["audio"])) == ("audio_chunk", bytes(2_880))
    assert isinstance(chunk["timestamp"], int)


# ---------------------------------------------------------------------- audio


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.booleans())
def test_a_recording_may_be_cut_anywhere(sizes: list[int], is_ogg: bool) -> None:
    whole = recording()
    if is_ogg:
        ogg = OggWriter()
        whole = ogg.header() + b"".join(ogg.page([packet], 60) for packet in PACKETS)
    page = dialect()
    pieces = [whole[:8], *chunks(whole[8:], sizes)]
    said = [one for number, piece in enumerate(pieces) for one in page.receive(audio(piece, sequence=number), 0)]
    assert frames(said) == [Frame(packet, 60 * number) for number, packet in enumerate(PACKETS)]
    assert len(frames(said)) == len(said)


def test_a_recorder_that_was_restarted_goes_on() -> None:
    page = dialect()
    times = [frame.ms for _ in range(2) for frame in frames(page.receive(audio(recording(PACKETS[:3])), 0))]
    assert times == [0, 60, 120, 180, 240, 300]


@pytest.mark.parametrize("bad", [tone(50, 24_000), PACKETS[0], b"RIFF0000WAVE"], ids=["samples", "packet", "wav"])
def test_what_is_no_recording_is_told_after_five_chunks_and_text_goes_on(bad: bytes) -> None:
    page = dialect()
    said = [one for _ in range(2 * BAD_IN_A_ROW) for one in page.receive(audio(bad), 0)]
    problems = [one for one in said if isinstance(one, Problem)]
    assert [problem.code for problem in problems] == ["UNSUPPORTED_FORMAT"]
    assert page.receive('{"type": "text", "text": "hello"}', 0) == (Typed("hello"),)
    assert len(frames(page.receive(audio(recording()), 0))) == len(PACKETS)


def test_a_final_chunk_ends_the_turn_once() -> None:
    page = dialect()
    said = page.receive(audio(recording(), sequence=1, is_final=True), 0)
    assert [type(one) for one in said] == [Frame] * len(PACKETS) + [Released]
    page.receive(audio(recording(), sequence=2), 0)
    assert page.receive(audio(b"", sequence=3, is_final=True), 0) == (Released(),)
    assert page.receive(audio(b"", sequence=3, is_final=True, timestamp=5), 0)[0] == Repeated()
    assert Released() not in page.receive(audio(b"x", sequence=3, is_final=True), 0)
    assert page.receive(audio(b""), 0) == (Ignored("empty_audio"),)


def test_the_pages_clock_is_measured_and_never_an_order() -> None:
    page = dialect()
    said: list[Said] = []
    whole = recording()
    for at, timestamp in ((0, 5_000), (100, 5_090), (200, 4_000)):
        piece = whole if at == 0 else b""
        said += page.receive(audio(piece, timestamp=timestamp, is_final=not piece), at)
    assert [one.values["drift_ms"] for one in said if isinstance(one, Figures)] == [0.0, 10.0, 1_200.0]
    assert len(frames(said)) == len(PACKETS)


@pytest.mark.parametrize("timestamp", ["soon", True, None, float("nan"), float("inf"), 10**400, [5]])
def test_a_clock_that_is_none_says_nothing(timestamp: Any) -> None:
    said = dialect().receive(audio(b"", is_final=True, timestamp=timestamp), 0)
    assert said in ((Released(),), (Problem("MALFORMED_MESSAGE", "a message is one JSON object", "not_json"),))


def test_a_clock_in_seconds_is_measured_from_anew() -> None:
    page = dialect()
    seen = [one for at in (0, 70_000) for one in page.receive(audio(b"", is_final=True, timestamp=at // 1000), at)]
    assert [one.values for one in seen if isinstance(one, Figures)] == [{"drift_ms": 0.0}]


# ---------------------------------------------------------------------- deeds


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ({"type": "text", "text": " hello "}, Typed("hello")),
        ({"type": "interrupt"}, Wished("interrupt")),
        ({"type": "pause"}, Wished("pause")),
        ({"type": "resume"}, Wished("resume")),
        ({"type": "stop"}, Wished("hang_up")),
        ({"type": "metrics", "snr": 12.5}, Figures({"snr": 12.5})),
        ({"type": "played", "sequence": 9}, Ignored("bad_played")),
        ({"type": "pong"}, None),
    ],
)
def test_what_a_page_says_means(message: dict[str, Any], meant: Said | None) -> None:
    assert dialect().receive(json.dumps(message), 0) == ((meant,) if meant else ())


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "MALFORMED_MESSAGE"),
        (b"\xff\xfe", "MALFORMED_MESSAGE"),
        ('{"type": "dance"}', "UNKNOWN_MESSAGE"),
        ('{"type": ["stop"]}', "UNKNOWN_MESSAGE"),
        ('{"type": "text", "text": "  "}', "MALFORMED_MESSAGE"),
        ('{"type": "audio_data", "audio": "%%%"}', "MALFORMED_MESSAGE"),
    ],
)
def test_a_mistake_is_answered_and_the_session_goes_on(frame: Wire, code: str) -> None:
    page = dialect()
    (problem,) = page.receive(frame, 0)
    assert isinstance(problem, Problem)
    (error,) = told(page.problem(problem.code, problem.message, 500))
    assert (error["error_code"], error["message"], error["retry_after"]) == (code, problem.message, 500)
    assert frames(page.receive(audio(recording()), 0))


def test_a_user_who_hung_up_is_not_heard_any_more() -> None:
    page = dialect()
    page.receive('{"type": "stop"}', 0)
    assert page.receive(audio(recording()), 0) == (Ignored("after_end"),)
    assert isinstance(page.receive('{"type": "ping"}', 0)[0], Answer)


# ---------------------------------------------------------------------- saying


def test_chunks_are_numbered_and_what_was_played_is_a_mark() -> None:
    page = dialect()
    for name in ("a", "b", "c"):
        assert json.loads(page.audio(bytes(2_880)))["sequence"] == ord(name) - ord("a") + 1
        page.mark(name)
    assert page.receive('{"type": "played", "sequence": 2}', 0) == (MarkEchoed("a"), MarkEchoed("b"))


def test_a_reply_begins_once_and_ends_once() -> None:
    page, started = dialect(), FACTS[PlaybackStarted]
    second = PlaybackStarted(id="3", call_id="c", stream="s", reply="r", sentence=1)
    assert types(page.send(started)) == ["speech_started", "status"]
    assert page.send(second) == ()
    assert types(page.send(FACTS[ReplyFinished])) == ["speech_stopped", "latency", "status"]
    assert types(page.send(ReplyFinished(id="4", call_id="c", reply="r"))) == []


def test_an_interrupted_reply_that_goes_on_begins_again() -> None:
    page, started, interrupted = dialect(), FACTS[PlaybackStarted], FACTS[ReplyInterrupted]
    assert page.send(interrupted) == ()
    for _ in range(2):
        assert types(page.send(started)) == ["speech_started", "status"]
        assert types(page.send(interrupted)) == ["interrupted", "status"]
    assert types(page.send(ReplyFinished(id="4", call_id="c", reply="r", interrupted=True))) == []


def test_a_reply_that_another_follows_is_ended_first() -> None:
    page = dialect()
    page.send(FACTS[PlaybackStarted])
    other = PlaybackStarted(id="9", call_id="c", stream="s", reply="r2", sentence=0)
    assert [(m["type"], m["is_user"]) for m in told(page.send(other))] == [
        ("speech_stopped", False),
        ("speech_started", False),
    ]


def test_the_stages_of_a_reply_are_told_as_far_as_they_are_known() -> None:
    (latency,) = [message for message in told(dialect().send(FACTS[ReplyFinished])) if message["type"] == "latency"]
    assert {name for name in latency if name.endswith("_ms")} == {"endpoint_ms", "first_audio_ms"}
    assert latency["first_audio_ms"] == 420


def test_the_vendors_words_are_not_passed_on() -> None:
    def read(frame: Wire) -> tuple[str, str, str]:
        (message,) = told([frame])
        return message["error_code"], message["stage"], message["message"]

    engine_is_told(dialect, read)


def test_another_users_call_is_told_by_the_error_alone() -> None:
    assert dialect().send(ANOTHERS_CALL) == ()


@pytest.mark.parametrize("state", [State.OPEN, State.ENDED])
@pytest.mark.parametrize("kind", KINDS)
def test_every_message_has_its_place_in_every_state(state: State, kind: str) -> None:
    assert (state, kind) in TABLE


pieces = st.binary(max_size=60) | st.sampled_from([recording(), recording()[:100], recording()[100:], PACKETS[0]])
fields = {
    "audio": pieces.map(coded) | shapes,
    "timestamp": st.integers(0, 10**13) | shapes,
    "sequence": st.integers(0, 50) | shapes,
    "is_final": st.booleans() | shapes,
    "text": shapes,
    "payload": shapes,
    "metrics": shapes,
}
messages = st.fixed_dictionaries({"type": st.sampled_from(KINDS) | shapes}, optional=fields)
anything = messages.map(json.dumps) | st.text() | st.binary() | shapes.map(json.dumps)
steps = st.lists(anything | facts | st.just(AUDIO) | st.just(sound("webm", 60)), max_size=25)


@given(steps)
def test_nothing_breaks_it_and_all_it_says_is_documented(come: list[Any]) -> None:
    says = conversation(dialect(), come, voice=bytes(64), may_say=SAID)
    assert types(says[:1]) == ["session"]
    all_documented(says, DOCUMENTED, OPTIONAL)
