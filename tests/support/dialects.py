"""What the tests of the dialects share: facts to tell a client, whatever it may send, and what must hold then.

Facts are named by their class, `FACTS[ReplyStarted]`; all belong to call `c`, stream `s` and reply `r`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from hypothesis import strategies as st

from agents.website import Site
from ingest.dialects.app_dialect import State
from ingest.dialects.base import Answer, Began, Dialect, Frame, Problem, Said, Wire
from schema.call import CallEnded
from schema.envelope import Event
from schema.failure import EngineChanged, WorkFailed
from schema.speech import SpeechStarted, SpeechStopped, TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted, StreamDegraded
from schema.turn import (
    AgentChanged,
    Latency,
    ReplyComposed,
    ReplyFinished,
    ReplyInterrupted,
    ReplySentence,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TurnTaken,
)

NOW_MS = 1_800_000_000_000
STEP_MS = 30  # between two things that come
SITES = {
    "garden": Site(id="garden", title="Garden", tenants=("acme",), agent="site", locale="en-US"),
    "theirs": Site(id="theirs", title="Theirs", tenants=("other",)),
}
_FACTS: tuple[Event, ...] = (
    ReplyStarted(id="1", call_id="c", why="turn", agent="hero/job"),
    ReplySentence(id="2", call_id="c", reply="r", index=0, text="Yes."),
    ReplyComposed(id="3", call_id="c", reply="r", sentences=1),
    PlaybackStarted(id="4", call_id="c", stream="s", reply="r", sentence=0),
    ReplyFinished(id="5", call_id="c", reply="r", latency=Latency(endpoint=300, first_audio=420)),
    ReplyInterrupted(id="6", call_id="c", reply="r"),
    TurnTaken(id="7", call_id="c", utterances=(), text="x"),
    AgentChanged(id="8", call_id="c", agent="hero-contact"),
    TranscriptRevised(id="9", call_id="c", stream="s", text="a"),
    TranscriptSettled(id="10", call_id="c", stream="s", text="a b", start_ms=0, end_ms=1, through_ms=1),
    SpeechStarted(id="11", call_id="c", stream="s", at_ms=20),
    SpeechStopped(id="12", call_id="c", stream="s", voiced_ms=500),
    StreamDegraded(id="13", call_id="c", stream="s", ping_ms=1200.5, loss=0.1),
    ToolCalled(id="14", call_id="c", reply="r", name="navigate_to_page", arguments={"page": "prices"}),
    ToolReturned(id="15", call_id="c", call="14", status="ok", result={"page": "prices", "path": "/prices"}),
    WorkFailed(id="16", call_id="c", stage="tts", code="quota", message="the vendor's own words"),
    EngineChanged(id="17", call_id="c", port="stt", name="google", state="none"),
    CallEnded(id="18", call_id="c", reason="request", duration_ms=5),
)
FACTS: Mapping[type[Event], Event] = {type(fact): fact for fact in _FACTS}
ANOTHERS_CALL = CallEnded(id="e", call_id="c", reason="forbidden")
UNHEARD = (  # troubles that a client does not notice
    WorkFailed(id="1", call_id="c", stage="summary", code="x", message="y"),
    EngineChanged(id="1", call_id="c", port="stt", name="x", state="used"),
)

AUDIO = object()  # among what comes: the agent's voice goes out
facts = st.sampled_from(_FACTS)
scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(-(10**40), 10**40) | st.floats() | st.text(max_size=12)
)
shapes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class AppDialect(Dialect, Protocol):
    state: State


def coded(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def told(frames: Iterable[Wire]) -> list[dict[str, Any]]:
    """JSON messages."""
    return [json.loads(frame) for frame in frames]


def answers(said: Iterable[Said]) -> list[Wire]:
    """What the protocol answers by itself."""
    return [frame for one in said if isinstance(one, Answer) for frame in one.frames]


def conversation(dialect: AppDialect, come: list[Any], *, voice: bytes, may_say: tuple[type, ...]) -> list[Wire]:
    """All that is said to a client from whom or for whom this comes: frames, facts, AUDIO (`voice`, once it has begun).

    Raises AssertionError for a meaning not among `may_say`, for a frame of audio that is empty, out of order or beyond
    64 bits, and for a session that goes back.
    """
    heard: list[Said] = []
    says = _said_of(dialect, dialect.greet(), heard)
    has_begun = dialect.state is State.OPEN
    for number, one in enumerate(come):
        before = dialect.state
        if isinstance(one, Event):
            says += dialect.send(one)
        elif one is AUDIO:
            if has_begun:
                says.append(dialect.audio(voice))
                dialect.mark(f"m{number}")
        else:
            says += _said_of(dialect, dialect.receive(one, number * STEP_MS), heard)
            has_begun = has_begun or dialect.state is State.OPEN
        _goes_on(before, dialect.state)
    assert all(isinstance(one, may_say) for one in heard)
    _is_in_order([one for one in heard if isinstance(one, Frame)])
    return says


def _said_of(dialect: AppDialect, said: tuple[Said, ...], heard: list[Said]) -> list[Wire]:
    """As a session puts it on the socket."""
    says: list[Wire] = []
    for one in said:
        heard.append(one)
        match one:
            case Answer(frames):
                says += frames
            case Problem(code, message):
                says += dialect.problem(code, message)
            case Began():
                says += dialect.opened()
    return says


def _goes_on(before: State, after: State) -> None:
    order = list(State)
    # A start that asked for what there is not may be said again.
    assert order.index(after) >= order.index(before) or (before, after) == (State.NAMED, State.FRESH)


def _is_in_order(frames: list[Frame]) -> None:
    last_ms = 0
    for frame in frames:
        assert frame.payload
        assert last_ms <= frame.ms < 1 << 53
        assert 0 <= frame.lost < 1 << 53
        last_ms = frame.ms


def all_documented(says: Iterable[Wire], documented: Mapping[str, set[str]], optional: set[str]) -> None:
    """Of messages whose fields stand beside their type: no field is missing, none is unknown, audio is numbered."""
    numbers = []
    for message in told(says):
        wanted = documented[message.pop("type")] | {"timestamp"}
        assert wanted <= set(message) <= wanted | optional
        numbers += [message["sequence"]] if "sequence" in message else []
    assert numbers == list(range(1, len(numbers) + 1))


def engine_is_told(dialect: Callable[[], AppDialect], read: Callable[[Wire], tuple[str, str, str]]) -> None:
    """An engine that is away is told in our words. `read` gives a message's code, stage and text."""
    for fact, stage in ((FACTS[WorkFailed], "tts"), (FACTS[EngineChanged], "stt")):
        (failed,) = dialect().send(fact)
        code, named, text = read(failed)
        assert (code, named) == ("ENGINE_UNAVAILABLE", stage)
        assert "vendor" not in text
    assert [frame for fact in UNHEARD for frame in dialect().send(fact)] == []
