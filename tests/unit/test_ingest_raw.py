"""The raw dialect: the documented conversations, the seed's bare frame, and whatever else may come."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.opus_toc import packet_ms
from clients import opus
from ingest.dialects.app_dialect import State
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
    Said,
    Typed,
    Violation,
    Wire,
    Wished,
)
from ingest.dialects.intake import BAD_IN_A_ROW
from ingest.dialects.raw import KINDS, TABLE, RawDialect
from ingest.dialects.raw_messages import MOST_BYTES
from schema.private import Sealed
from schema.stream import PlaybackStarted
from schema.turn import ReplyFinished, ReplyInterrupted, ReplySentence, ToolCalled, ToolReturned, TurnTaken
from tests.support.dialects import (
    ANOTHERS_CALL,
    AUDIO,
    FACTS,
    NOW_MS,
    SITES,
    answers,
    coded,
    conversation,
    engine_is_told,
    facts,
    shapes,
    told,
)
from tests.support.sound import sweep
from tests.support.transcripts import Replay, replay, sound, transcripts

PACKET = sound("opus", 20)
# Each type with what its metadata has, besides the timestamp.
DOCUMENTED: dict[str, set[str]] = {
    "ready": {"sessionId"},
    "vad": {"active", "audioStartMs"},
    "transcription": {"partial", "id"},
    "user_transcript": {"final", "id"},
    "audio_response": {"streaming", "final", "sequence"},
    "barge_in": set(),
    "navigation": {"page"},
    "voice_end": {"final", "duration"},
    "quality": {"ping", "loss", "degraded"},
    "error": {"error"},
    "pong": set(),
}
OPTIONAL = {"audioEndMs", "latency", "agent", "id", "retryAfter", "stage"}
SAID = (
    *(Answer, Began, Ended, Figures, Frame, Ignored, MarkEchoed, Problem),
    *(Released, Repeated, Typed, Violation, Wished),
)


class Clock:
    def __init__(self) -> None:
        self.at = NOW_MS

    def __call__(self) -> int:
        return self.at


def dialect(now: Any = None, **query: str) -> RawDialect:
    return RawDialect(
        tenant="acme", query=query, now=now or Clock(), new_session=lambda: "made-here", site_of=SITES.get
    )


def start(**metadata: Any) -> str:
    return json.dumps({"type": "voice_start", "metadata": metadata})


def begun(**metadata: Any) -> RawDialect:
    raw = dialect()
    raw.greet()
    raw.receive(start(**metadata), 0)
    assert raw.state is State.OPEN
    return raw


@dataclass(slots=True)
class RawReplay(Replay):
    """Binary frames stand in the page by themselves: `<opus 20 ms>`, `<1920 bytes>`."""

    def client(self, text: str) -> list[Any]:
        found = re.fullmatch(r"<(?:(\w+) (\d+) ms|(\d+) bytes)>", text)
        if found is None:
            return Replay.client(self, text)
        self.now_ms += 20
        frame = sound(found[1], int(found[2])) if found[1] else bytes(int(found[3]))
        return self._answers(self.dialect.receive(frame, self.now_ms))


def shown(frame: Wire) -> Any:
    return json.loads(frame) if isinstance(frame, str) else f"opus {packet_ms(frame)} ms"


@pytest.mark.parametrize("number", range(len(transcripts("raw-opus.md"))))
def test_the_documented_conversation_is_what_happens(number: int) -> None:
    conversation = RawReplay(dialect(), shown)
    replay(transcripts("raw-opus.md")[number], conversation)
    frames = [said for said in conversation.said if isinstance(said, Frame)]
    assert [frame.ms for frame in frames] == [0, 20]
    assert not [said for said in conversation.said if isinstance(said, Ignored)]


# ---------------------------------------------------------------------- beginning


def test_the_seeds_bare_frame_is_samples() -> None:
    """`ws.send(new ArrayBuffer(1920))`, labelled 20 ms at 48 kHz, is no Opus."""
    raw = dialect()
    raw.greet()
    began, frame = raw.receive(bytes(1920), 0)
    assert isinstance(began, Began)
    assert (began.encoding, began.sample_rate, began.channels) == ("pcm16", 48_000, 1)
    assert (began.out_encoding, began.out_sample_rate, began.out_channels, began.out_packet_ms) == (
        *("opus", 48_000, 1),
        20,
    )
    assert frame == Frame(bytes(1920), 0)
    assert raw.receive(bytes(1920), 20) == (Frame(bytes(1920), 20),)
    assert raw.opened() == ()


STEREO = bytes([PACKET[0] | 4]) + PACKET[1:]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (PACKET, ("opus", 48_000, 1)),
        (STEREO, ("opus", 48_000, 2)),
        (bytes(1_920), ("pcm16", 48_000, 1)),
        (bytes(3_840), ("pcm16", 48_000, 2)),
    ],
    ids=["packet", "stereo packet", "samples", "stereo samples"],
)
def test_the_first_frame_of_a_client_that_declared_nothing_says_what_it_is(
    frame: bytes, expected: tuple[Any, ...]
) -> None:
    began, heard = dialect().receive(frame, 0)
    assert isinstance(began, Began)
    assert (began.encoding, began.sample_rate, began.channels) == expected
    assert heard == Frame(frame, 0)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ("opus", 48_000, 1)),
        ({"encoding": None, "sampleRate": 16_000, "channels": 2}, ("opus", 48_000, 2)),
        ({"encoding": "PCM16"}, ("pcm16", 48_000, 1)),
        ({"encoding": "pcm16", "sampleRate": "16000", "channels": 2}, ("pcm16", 16_000, 2)),
    ],
)
def test_a_start_says_what_comes(metadata: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (began,) = dialect().receive(start(**metadata), 0)
    assert isinstance(began, Began)
    assert (began.encoding, began.sample_rate, began.channels) == expected
    assert (began.session, began.agent, began.language) == ("made-here", "", "")


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": "flac"}, {"encoding": "pcm16", "sampleRate": 11_025}, {"channels": 3}, {"channels": "x"}],
)
def test_a_format_there_is_not_is_told_and_another_may_be_tried(wrong: dict[str, Any]) -> None:
    raw = dialect()
    (problem,) = raw.receive(start(**wrong), 0)
    assert isinstance(problem, Problem)
    assert problem.code == "UNSUPPORTED_FORMAT"
    assert isinstance(raw.receive(start(), 1)[0], Began)


def test_a_site_brings_its_agent_and_language_and_the_client_may_choose_others() -> None:
    (began,) = dialect().receive(start(siteId="garden"), 0)
    assert isinstance(began, Began)
    assert (began.parameters, began.agent, began.language) == ({"site": "garden"}, "site", "en-US")
    (began,) = dialect().receive(start(siteId="garden", locale="en-GB", agentId="notes"), 0)
    assert isinstance(began, Began)
    assert (began.agent, began.language) == ("notes", "en-GB")


@pytest.mark.parametrize("first", [start(siteId="theirs"), start(siteId="none")])
def test_a_site_that_is_not_the_tenants_is_forbidden(first: str) -> None:
    raw = dialect()
    problem, violation = raw.receive(first, 0)
    assert isinstance(problem, Problem)
    assert isinstance(violation, Violation)
    assert (problem.code, violation.close_code, raw.state) == ("FORBIDDEN", 1008, State.FRESH)


def test_no_audio_slips_past_a_site_in_the_query() -> None:
    assert [type(one) for one in dialect(siteId="theirs").receive(PACKET, 0)] == [Problem, Violation]


def test_the_query_says_what_a_start_may_leave_out() -> None:
    raw = dialect(sessionId="9a4", encoding="pcm16", sampleRate="16000", siteId="garden", locale="de-DE")
    ready = told(answers(raw.greet()))[0]
    assert ready["metadata"]["sessionId"] == "9a4"
    began, frame = raw.receive(bytes(640), 0)
    assert isinstance(began, Began)
    assert (began.session, began.encoding, began.sample_rate) == ("9a4", "pcm16", 16_000)
    assert (began.parameters, began.language) == ({"site": "garden"}, "de-DE")
    assert isinstance(frame, Frame)
    assert raw.opened() == ()


def test_who_comes_back_is_told_so() -> None:
    raw = begun(sessionId="9a4")
    assert [message["metadata"]["sessionId"] for message in told(raw.opened())] == ["9a4"]


def test_words_begin_a_session_too() -> None:
    raw = dialect()
    began, typed = raw.receive(json.dumps({"type": "text", "data": " hello "}), 0)
    assert isinstance(began, Began)
    assert (began.encoding, typed) == ("opus", Typed("hello"))


# ---------------------------------------------------------------------- audio


def packets(ms: int, bitrate: int = 24_000) -> list[bytes]:
    return opus.encode(sweep(600, 48_000), 48_000, packet_ms=ms, bitrate=bitrate)


@pytest.mark.parametrize(
    "bad",
    [
        packets(40)[3],
        packets(60)[3],
        bytes(1_920),
        PACKET + bytes(MOST_BYTES),
        b"\x03\x00",
        b'{"type": "voice_start"}',
    ],
    ids=["40 ms", "60 ms", "samples", "too long", "no frames", "text"],
)
def test_what_is_not_one_packet_of_20_ms_is_skipped_counted_and_told_after_five(bad: bytes) -> None:
    for raw in (begun(), dialect()):
        if raw.state is State.FRESH and len(bad) == 1_920:
            continue
        said = [one for number in range(2 * BAD_IN_A_ROW) for one in raw.receive(bad, 20 * number)]
        assert [type(one) for one in said].count(Problem) == 1
        assert isinstance(said[BAD_IN_A_ROW - 1], Problem)
        assert {type(one) for one in said} == {Problem, Ignored}
        assert isinstance(raw.receive(PACKET, 999)[-1], Frame)


def test_samples_that_were_not_declared_are_told_how_to_be() -> None:
    raw = begun()
    said = [one for _ in range(BAD_IN_A_ROW) for one in raw.receive(bytes(1_920), 0)]
    assert "pcm16" in said[-1].message  # type: ignore[union-attr]


@pytest.mark.parametrize("bitrate", [6_000, 24_000, 128_000, 256_000])
def test_every_packet_of_a_real_encoder_is_taken(bitrate: int) -> None:
    raw = begun()
    coded = packets(20, bitrate)
    said = [one for packet in coded for one in raw.receive(packet, 0)]
    assert said == [Frame(packet, 20 * number) for number, packet in enumerate(coded)]


def test_silence_that_takes_one_byte_is_a_packet() -> None:
    assert begun().receive(PACKET[:1], 0) == (Frame(PACKET[:1], 0),)


def test_base64_is_one_binary_frame_and_its_numbers_count() -> None:
    raw = begun()

    def data(number: int) -> tuple[Said, ...]:
        payload = coded(PACKET)
        return raw.receive(json.dumps({"type": "voice_data", "data": payload, "metadata": {"sequence": number}}), 0)

    assert data(1) == (Frame(PACKET, 0),)
    assert data(1) == (Repeated(),)
    assert data(4) == (Frame(PACKET, 60, 2),)
    assert raw.receive('{"type": "voice_end"}', 0) == (Released(),)
    assert data(1) == (Frame(PACKET, 80),)


def test_base64_may_come_first() -> None:
    payload = coded(bytes(1_920))
    began, frame = dialect().receive(json.dumps({"type": "voice_data", "data": payload}), 0)
    assert isinstance(began, Began)
    assert (began.encoding, frame) == ("pcm16", Frame(bytes(1_920), 0))


def test_each_utterance_may_be_started_and_ended() -> None:
    raw = begun(sessionId="9a4")
    for number in range(3):
        assert raw.receive(start(sessionId="9a4", encoding="opus"), 0) == ()
        assert raw.receive(PACKET, 0) == (Frame(PACKET, 20 * number),)
        assert raw.receive('{"type": "voice_end"}', 0) == (Released(),)


def test_a_start_behind_the_first_audio_cannot_change_it() -> None:
    raw = dialect()
    raw.receive(bytes(1_920), 0)
    assert raw.receive(start(), 0) == ()
    (problem,) = raw.receive(start(encoding="opus"), 0)
    assert isinstance(problem, Problem)
    assert problem.code == "UNSUPPORTED_FORMAT"


# ---------------------------------------------------------------------- deeds


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ({"type": "barge_in"}, Wished("interrupt")),
        ({"type": "pause"}, Wished("pause")),
        ({"type": "resume"}, Wished("resume")),
        ({"type": "voice_end"}, Released()),
        ({"type": "voice_end", "metadata": {"final": True}}, Wished("hang_up")),
        ({"type": "text", "text": "hello"}, Typed("hello")),
        ({"type": "vad", "metadata": {"active": True}}, Figures({"vad_active": 1.0})),
        ({"type": "vad", "active": False}, Figures({"vad_active": 0.0})),
        ({"type": "vad", "metadata": {"active": "yes"}}, Ignored("malformed")),
        ({"type": "metrics", "metadata": {"latency": 80, "snr": "loud"}}, Figures({"latency_ms": 80.0})),
        ({"type": "played", "metadata": {"sequence": 9}}, Ignored("bad_played")),
        ({"type": "pong"}, None),
    ],
)
def test_what_a_client_says_means(message: dict[str, Any], meant: Said | None) -> None:
    assert begun().receive(json.dumps(message), 0) == ((meant,) if meant else ())


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "MALFORMED_MESSAGE"),
        ("[]", "MALFORMED_MESSAGE"),
        ('{"type": "dance"}', "UNKNOWN_MESSAGE"),
        ('{"type": ["text"]}', "UNKNOWN_MESSAGE"),
        ('{"type": "text", "data": "  "}', "MALFORMED_MESSAGE"),
        ('{"type": "voice_data", "data": "%%%"}', "MALFORMED_MESSAGE"),
        ('{"type": "voice_start", "metadata": {"sessionId": "other"}}', "CALL_RUNNING"),
    ],
)
def test_a_mistake_is_answered_and_the_session_goes_on(frame: str, code: str) -> None:
    raw = begun()
    (problem,) = raw.receive(frame, 0)
    assert isinstance(problem, Problem)
    (error,) = told(raw.problem(problem.code, problem.message, 500))
    assert (error["type"], error["metadata"]["error"], error["metadata"]["retryAfter"]) == ("error", code, 500)
    assert error["data"] == problem.message
    assert raw.receive(PACKET, 0) == (Frame(PACKET, 0),)


def test_nothing_is_done_before_a_session_or_after_its_end() -> None:
    raw = dialect()
    for kind in ("barge_in", "pause", "resume", "voice_end"):
        assert raw.receive(json.dumps({"type": kind}), 0) == (Ignored("before_start"),)
    assert raw.receive(b"", 0) == (Ignored("empty_audio"),)
    assert raw.receive('{"type": "voice_end", "metadata": {"final": true}}', 0) == (Ended("stop"),)
    assert raw.receive(PACKET, 0) == (Ignored("after_end"),)
    assert raw.receive(start(), 0) == (Ignored("after_end"),)


@pytest.mark.parametrize("payload", [0, "abc", {"deep": [1, None]}, [1.5], False])
def test_a_pong_returns_the_payload(payload: object) -> None:
    for name in ("data", "payload"):
        (answer,) = answers(begun().receive(json.dumps({"type": "ping", name: payload}), 0))
        assert json.loads(answer)["data"] == payload


# ---------------------------------------------------------------------- saying


def test_packets_are_numbered_and_what_was_played_is_a_mark() -> None:
    raw = begun()
    for name in ("a", "b", "c"):
        assert raw.audio(PACKET) == PACKET
        raw.mark(name)
    assert raw.receive('{"type": "played", "metadata": {"sequence": 2}}', 0) == (MarkEchoed("a"), MarkEchoed("b"))
    assert raw.receive('{"type": "played", "metadata": {"sequence": "3"}}', 0) == (MarkEchoed("c"),)


def spoken(raw: RawDialect, reply: str, index: int = 0) -> list[dict[str, Any]]:
    return told(raw.send(PlaybackStarted(id="p", call_id="c", stream="s", reply=reply, sentence=index)))


def test_the_first_sentence_of_an_answer_says_how_long_the_caller_waited() -> None:
    clock = Clock()
    raw = dialect(clock)
    raw.send(TurnTaken(id="t", call_id="c", utterances=(), text="x"))
    clock.at += 180
    latencies = [message["metadata"].get("latency") for index in (0, 1) for message in spoken(raw, "r1", index)]
    assert latencies == [180, None]


def test_a_reply_held_by_a_cough_goes_on_with_its_sentence() -> None:
    raw = begun()
    raw.send(ReplySentence(id="e2", call_id="c", reply="r1", index=0, text="Well."))
    assert spoken(raw, "r1")[0]["data"] == "Well."
    assert told(raw.send(ReplyInterrupted(id="5", call_id="c", reply="r1")))[0]["type"] == "barge_in"
    assert raw.send(ReplyInterrupted(id="6", call_id="c", reply="r1")) == ()
    assert [(message["data"], message["metadata"]["id"]) for message in spoken(raw, "r1")] == [("Well.", "e2")]
    assert [message["metadata"]["final"] for message in told(raw.send(FACTS[ReplyFinished]))] == []
    ended = told(raw.send(ReplyFinished(id="7", call_id="c", reply="r1")))
    assert [message["metadata"]["final"] for message in ended] == [True]


def test_a_reply_that_another_follows_is_ended_first() -> None:
    raw = begun()
    spoken(raw, "r1")
    assert [message["metadata"]["final"] for message in spoken(raw, "r2")] == [True, False]


def test_a_sealed_sentence_has_a_header_without_its_words() -> None:
    raw = begun()
    raw.send(ReplySentence(id="e2", call_id="c", reply="r1", index=0, text=Sealed("k", "eA==")))
    assert spoken(raw, "r1")[0]["data"] == ""


def test_only_a_page_that_was_found_is_shown() -> None:
    raw = begun()
    called = [ToolCalled(id=n, call_id="c", reply="r", name="navigate_to_page") for n in ("t1", "t2", "t3")]
    raw.send(ToolCalled(id="t0", call_id="c", reply="r", name="search_site"))
    for fact in called:
        assert raw.send(fact) == ()
    shown: dict[str, Any] = {"page": "prices", "path": "/prices"}
    assert raw.send(ToolReturned(id="1", call_id="c", call="t0", status="ok", result=shown)) == ()
    assert raw.send(ToolReturned(id="2", call_id="c", call="t1", status="failed", result=shown)) == ()
    assert (
        raw.send(ToolReturned(id="3", call_id="c", call="t2", status="ok", result={"page": Sealed("k", "eA==")})) == ()
    )
    (message,) = told(raw.send(ToolReturned(id="4", call_id="c", call="t3", status="ok", result=shown)))
    assert (message["data"], message["metadata"]["page"]) == ("/prices", "prices")
    assert raw.send(ToolReturned(id="5", call_id="c", call="t3", status="ok", result=shown)) == ()


def test_the_vendors_words_are_not_passed_on() -> None:
    def read(frame: Wire) -> tuple[str, str, str]:
        (message,) = told([frame])
        return message["metadata"]["error"], message["metadata"]["stage"], message["data"]

    engine_is_told(begun, read)


def test_another_users_call_is_told_by_the_error_alone() -> None:
    raw = begun()
    assert raw.send(ANOTHERS_CALL) == ()
    assert raw.close_code("forbidden") == 1008


@pytest.mark.parametrize("state", [State.FRESH, State.OPEN, State.ENDED])
@pytest.mark.parametrize("kind", KINDS)
def test_every_message_has_its_place_in_every_state(state: State, kind: str) -> None:
    assert (state, kind) in TABLE


chunks = st.binary(max_size=60) | st.sampled_from([PACKET, STEREO, bytes(1_920), bytes(640), packets(40)[0]])
metadata = st.fixed_dictionaries(
    {},
    optional={
        "sessionId": st.sampled_from(["9a4", ""]) | shapes,
        "encoding": st.sampled_from(["opus", "pcm16", ""]) | shapes,
        "sampleRate": st.sampled_from([8_000, 48_000]) | shapes,
        "channels": st.integers(0, 3) | shapes,
        "siteId": st.sampled_from(["garden", "theirs", ""]) | shapes,
        "locale": shapes,
        "agentId": shapes,
        "sequence": st.integers(0, 50) | shapes,
        "active": st.booleans() | shapes,
        "latency": shapes,
    },
)
data = chunks.map(coded) | shapes
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | shapes}, optional={"data": data, "metadata": metadata | shapes, "text": shapes}
)
anything = messages.map(json.dumps) | chunks | st.text() | shapes.map(json.dumps)
steps = st.lists(anything | facts | st.just(AUDIO), max_size=25)


@given(steps, st.sampled_from([None, "opus", "pcm16"]))
def test_nothing_breaks_it_and_all_it_says_is_documented(come: list[Any], encoding: str | None) -> None:
    raw = dialect() if encoding is None else begun(encoding=encoding)
    _check(conversation(raw, come, voice=PACKET, may_say=SAID))


def _check(says: list[Wire]) -> None:
    sent = 0
    for frame in says:
        if isinstance(frame, bytes):
            sent += 1
            continue
        message = json.loads(frame)
        known = DOCUMENTED[message["type"]] | {"timestamp"}
        assert {"type", "metadata"} <= set(message) <= {"type", "data", "metadata"}
        assert known <= set(message["metadata"]) <= known | OPTIONAL
        if message["type"] == "audio_response":
            assert message["metadata"]["sequence"] == sent + 1
