"""The Socket.IO protocol: its page, its formats, and whatever strangers send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from agents.website import Site
from ingest.companion_feed import Standing
from ingest.dialects.base import Began, Frame, Ignored, Problem, Released, Said, Typed, Violation, Wished
from ingest.dialects.socketio import KINDS, SocketioDialect, event_of
from ingest.dialects.socketio_messages import write_event
from ingest.socketio_pipe import ABNORMAL, MOST_WAITING, NORMAL, Pipe
from tests.support.transcripts import Replay, replay, sound, transcripts

SITES = {"shop": Site(title="Shop", tenants=("acme",), id="shop", agent="site", locale="de-DE")}


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
    _, (began,) = begun(siteId="shop", sessionId="acme~s1")
    assert isinstance(began, Began)
    assert (began.agent, began.language, began.session) == ("site", "de-DE", "s1")
    assert dict(began.parameters) == {"site": "shop"}


def test_a_site_of_another_tenant_is_none() -> None:
    made = SocketioDialect(tenant="other", now=lambda: 7, new_session=lambda: "n", site_of=SITES.get)
    problem, violation = made.receive(json.dumps(["voice:start", {"siteId": "shop"}]), 0)
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


@given(st.lists(st.tuples(names, st.lists(values | fields, max_size=3)), max_size=8))
def test_no_event_breaks_the_dialect(events: list[tuple[Any, list[Any]]]) -> None:
    made = dialect()
    for name, data in events:
        frame = write_event(name, tuple(data))
        made.names_session(frame)
        for said in made.receive(frame, 0):
            if isinstance(said, Problem):
                (told,) = made.problem(said.code, said.message)
                assert event_of(told)[0] == "voice:error"


@given(st.text() | st.binary())
def test_no_frame_breaks_the_dialect(frame: str | bytes) -> None:
    for made in (dialect(), begun()[0]):
        assert isinstance(made.receive(frame, 0), tuple)


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
