"""The Socket.IO protocol: its page, its formats, and whatever strangers send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from ingest.companion_feed import Standing
from ingest.dialects.app_dialect import State
from ingest.dialects.base import (
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
from ingest.dialects.socketio import KINDS, TABLE, SocketioDialect, event_of
from ingest.dialects.socketio_messages import write_event
from ingest.socketio_pipe import ABNORMAL, MOST_WAITING, NORMAL, Pipe
from tests.support.dialects import ANOTHERS_CALL, AUDIO, SITES, conversation, engine_is_told, facts
from tests.support.transcripts import Replay, replay, sound, transcripts

DOCUMENTED: dict[str, set[str]] = {
    "voice:session_ready": {"sessionId", "call", "companion"},
    "voice:transcript": {"id", "text", "is_final", "speaker"},
    "voice:response": {"text", "is_final"},
    "voice:status": {"status"},
    "voice:navigation": {"page", "path"},
    "voice:ended": {"sessionId", "reason", "duration_ms"},
    "voice:error": {"error_code", "message"},
}
OPTIONAL = {"agent_name", "id", "interrupted", "ping_ms", "loss", "retry_after", "stage"}
SAID = (Began, Ended, Figures, Frame, Ignored, MarkEchoed, Problem, Released, Repeated, Typed, Violation, Wished)


def dialect() -> SocketioDialect:
    return SocketioDialect(tenant="acme", now=lambda: 7, new_session=lambda: "new-1", site_of=SITES.get)


def begun(**fields: Any) -> tuple[SocketioDialect, tuple[Said, ...]]:
    made = dialect()
    return made, made.receive(json.dumps(["voice:start", fields]), 0)


@pytest.mark.parametrize("lines", transcripts("socketio.md"))
def test_the_page_is_what_the_dialect_says(lines: list[Any]) -> None:
    def read(frame: str | bytes) -> Any:
        return ["voice:audio", "binary"] if isinstance(frame, bytes) else json.loads(frame)

    conversation = Replay(dialect(), read)
    replay(lines, conversation)
    assert [one for one in conversation.said if isinstance(one, Wished)] == [Wished("interrupt"), Wished("hang_up")]
    assert Released() in conversation.said and Typed("Never mind.") in conversation.said
    assert len([one for one in conversation.said if isinstance(one, Frame)]) == 2


@pytest.mark.parametrize(
    ("format_", "payload", "declared"),
    [
        ("opus", sound("opus", 20), ("opus", 48_000)),
        ("webm", sound("webm", 480), ("opus", 48_000)),
        ("pcm16", bytes(1_920), ("pcm16", 48_000)),
        ("mulaw", bytes(160), ("mulaw", 8_000)),
    ],
)
def test_each_format_is_heard_as_declared_and_answered_in_packets(
    format_: str, payload: bytes, declared: tuple[str, int]
) -> None:
    made, (began,) = begun(format=format_)
    assert isinstance(began, Began)
    assert (began.encoding, began.sample_rate) == declared
    assert (began.out_encoding, began.out_sample_rate, began.out_packet_ms) == ("opus", 48_000, 20)
    heard = made.receive(payload, 0)
    assert heard and all(isinstance(one, Frame) for one in heard)


def test_samples_go_out_where_they_are_asked_for() -> None:
    _, (began,) = begun(responseFormat="pcm16", responseSampleRate=24_000)
    assert isinstance(began, Began)
    assert (began.out_encoding, began.out_sample_rate, began.out_packet_ms) == ("pcm16", 24_000, 0)


def test_a_site_names_its_agent_and_language() -> None:
    _, (began,) = begun(siteId="garden", sessionId="acme~s1")
    assert isinstance(began, Began)
    assert (began.agent, began.language, began.session) == ("site", "en-US", "s1")
    assert dict(began.parameters) == {"site": "garden"}


def test_a_site_of_another_tenant_is_none() -> None:
    made = SocketioDialect(tenant="other", now=lambda: 7, new_session=lambda: "n", site_of=SITES.get)
    problem, violation = made.receive(json.dumps(["voice:start", {"siteId": "garden"}]), 0)
    assert isinstance(problem, Problem) and problem.code == "FORBIDDEN"
    assert isinstance(violation, Violation)


@pytest.mark.parametrize(
    "fields", [{"format": "mp3"}, {"responseFormat": "wav"}, {"format": "pcm16", "sampleRate": 11_025}, {"channels": 3}]
)
def test_a_start_that_asks_for_what_there_is_not_may_be_said_again(fields: dict[str, Any]) -> None:
    made, (problem,) = begun(**fields)
    assert isinstance(problem, Problem) and problem.code == "UNSUPPORTED_FORMAT"
    assert made.names_session(json.dumps(["voice:start", fields])) is None
    assert isinstance(made.receive('["voice:start"]', 0)[0], Began)


def test_a_connection_carries_one_session() -> None:
    made, _ = begun(sessionId="s1")
    assert made.receive('["voice:start", {"sessionId": "s1"}]', 0) == (Ignored("repeated_start"),)
    (problem,) = made.receive('["voice:start", {"sessionId": "s2"}]', 0)
    assert isinstance(problem, Problem) and problem.code == "CALL_RUNNING"


def test_only_a_usable_start_on_a_fresh_connection_names_a_session() -> None:
    made = dialect()
    assert made.names_session('["voice:start", {"sessionId": "s1"}]') == "s1"
    assert made.names_session('["voice:start"]') == ""
    assert made.names_session('["voice:text", {"sessionId": "s1"}]') is None
    assert made.names_session(b"s1") is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
fields = st.dictionaries(
    st.sampled_from(
        ["sessionId", "siteId", "format", "sampleRate", "channels", "data", "sequence", "text", "is_final"]
    ),
    values | st.sampled_from(["opus", "webm", "pcm16", "s1", 48_000]),
    max_size=5,
)
names = st.sampled_from(KINDS) | st.text() | values


events = st.tuples(names, st.lists(values | fields, max_size=3)).map(
    lambda event: write_event(event[0], tuple(event[1]))
)
frames = events | st.text() | st.binary() | st.sampled_from([sound("opus", 20), '["voice:start"]'])


@given(st.lists(frames | facts | st.just(AUDIO), max_size=25), st.booleans())
def test_nothing_breaks_it_and_all_it_says_is_documented(come: list[Any], is_begun: bool) -> None:
    made = begun()[0] if is_begun else dialect()
    for frame in conversation(made, come, voice=bytes(64), may_say=SAID):
        name, body = event_of(frame)
        if name != "voice:audio":
            known = DOCUMENTED[name] | {"timestamp"}
            assert known <= set(body) <= known | OPTIONAL


@given(st.lists(frames, max_size=5))
def test_what_begins_a_session_was_known_for_a_start(come: list[Wire]) -> None:
    made = dialect()
    for frame in come:
        session, said = made.names_session(frame), made.receive(frame, 0)
        begins = [one for one in said if isinstance(one, Began)]
        assert not begins or session is not None


def test_the_vendors_words_are_not_passed_on() -> None:
    def read(frame: Wire) -> tuple[str, str, str]:
        _, body = event_of(frame)
        return body["error_code"], body["stage"], body["message"]

    engine_is_told(dialect, read)


def test_another_users_call_is_told_by_the_error_alone() -> None:
    assert dialect().send(ANOTHERS_CALL) == ()


def test_audio_is_bare_bytes_and_what_a_client_played_is_a_mark() -> None:
    made, _ = begun()
    for name in ("a", "b"):
        assert made.audio(bytes(64)) == bytes(64)
        made.mark(name)
    assert made.receive('["voice:played", {"sequence": 1}]', 0) == (MarkEchoed("a"),)
    assert made.receive('["voice:played", {"sequence": 3}]', 0) == (Ignored("bad_played"),)
    assert made.receive('["voice:played", 2]', 0) == (Ignored("bad_played"),)


@pytest.mark.parametrize("data", ['"hello"', '{"text": " hello "}'])
def test_words_may_stand_alone_or_in_a_field(data: str) -> None:
    assert begun()[0].receive(f'["voice:text", {data}]', 0) == (Typed("hello"),)


@pytest.mark.parametrize("state", [State.FRESH, State.OPEN, State.ENDED])
@pytest.mark.parametrize("kind", KINDS)
def test_every_event_has_its_place_in_every_state(state: State, kind: str) -> None:
    assert (state, kind) in TABLE


class Line:
    """A connection that keeps what it was told."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.left: tuple[int, str] | None = None

    async def emit(self, frame: str | bytes) -> None:
        self.sent.append(frame)

    async def leave(self, code: int, reason: str) -> None:
        self.left = (code, reason)

    def unsent_bytes(self) -> int:
        return 0

    def abort(self) -> None:
        self.left = (ABNORMAL, "")


class TestPipe:
    async def test_what_came_before_the_end_is_read_before_it(self) -> None:
        pipe = Pipe(Line())
        assert await pipe.give("one") and await pipe.give(b"two")
        pipe.lose(NORMAL)
        assert [(await pipe.receive()).data for _ in range(3)] == ["one", b"two", NORMAL]
        assert not await pipe.give("late")
        assert (await pipe.receive()).type is WSMsgType.CLOSED

    async def test_our_own_close_is_the_one_that_counts(self) -> None:
        line = Line()
        pipe = Pipe(line)
        assert await pipe.close(code=1012, message=b"restart")
        pipe.lose(ABNORMAL)
        assert (line.left, pipe.close_code) == ((1012, "restart"), 1012)
        assert not await pipe.close()
        with pytest.raises(ConnectionError):
            await pipe.send_str("late")

    async def test_what_is_unread_is_read_again_first(self) -> None:
        pipe = Pipe(Line())
        await pipe.give("one")
        await pipe.give("two")
        one, two = await pipe.receive(), await pipe.receive()
        await pipe.give("three")
        pipe.unread(one, two)
        assert [(await pipe.receive()).data for _ in range(3)] == ["one", "two", "three"]

    async def test_a_peer_that_says_too_much_waits_until_it_is_read(self) -> None:
        pipe = Pipe(Line())
        for _ in range(MOST_WAITING):
            await pipe.give("x")
        assert not pipe._has_room.is_set()
        for _ in range(MOST_WAITING):
            await pipe.receive()
        assert await pipe.give("more")


def test_a_call_lives_from_its_beginning_to_its_end_on_the_stream_opened_last() -> None:
    from tests.support.events import Tape

    tape, standing, seen = Tape(), Standing(), []
    for name, given_ in (
        ("call.started", {"user_id": "u1"}),
        ("stream.opened", {"stream": "s1", "user_id": "u1"}),
        ("stream.closed", {"stream": "s1"}),
        ("call.ended", {}),
    ):
        standing.take(tape.say(name, **given_))
        seen.append((standing.is_live, standing.stream, standing.user_id))
    assert seen == [(True, "", "u1"), (True, "s1", "u1"), (True, "", "u1"), (False, "", "u1")]
