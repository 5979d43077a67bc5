"""The same conversation leaves the same events, whichever door it came through; media apart.

The calls take place at once, on one running house, at real pace. What counts as media stands in `tests.support.alike`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from calltape import world
from calltape.app_calls import APP_DOORS, TURNS, place
from clients.report import CallReport
from clients.script import Hangup, InterruptAfter, Network, Say, Script, Step, WaitFor
from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.call import CallEnded, CallSealed, CallStarted
from schema.speech import StreamHeard
from schema.stream import StreamClosed, StreamOpened, TurnReleased
from schema.turn import ReplyComposed, ReplySentence, ReplyStarted, ToolCalled, ToolReturned
from tests.support.alike import Said, Tape
from tests.support.calls import World, running, texts
from workers.engines.espeak import Espeak

# Nine calls at once at real pace: beside other tests a small machine garbles what it hears.
pytestmark = pytest.mark.long

SECRET = "s" * 32
TWILIO = "twilio"
ANSWERED = WaitFor(wait_for="reply", timeout_ms=40_000)
HELP, NOTE, YES, BYE = "what can you do", "make a note to buy milk", "yes that is right", "that is all thank you"
TO_THE_END: tuple[Step, ...] = (
    Say(say=NOTE),
    ANSWERED,
    # A bare "yes" is so short that an engine makes yeah of one codec and yep of another.
    Say(say=YES),
    ANSWERED,
    Say(say=BYE),
    WaitFor(wait_for="hangup", timeout_ms=40_000),
)
INTERRUPTED: tuple[Step, ...] = (ANSWERED, Say(say=HELP), InterruptAfter(interrupt_after_ms=2500), *TO_THE_END)
POLITE: tuple[Step, ...] = (ANSWERED, *TO_THE_END)
LOST: tuple[Step, ...] = (
    ANSWERED,
    Say(say=HELP),
    InterruptAfter(interrupt_after_ms=2000),
    Network(network="drop"),
    ANSWERED,
    Hangup(),
)
# Name of a call: its door and its script.
CALLS = {
    TWILIO: (TWILIO, INTERRUPTED),
    **{door: (door, INTERRUPTED) for door in APP_DOORS},
    "twilio polite": (TWILIO, POLITE),
    TURNS: (TURNS, POLITE),
    "socketio lost": ("socketio", LOST),
}
WRITERS = ("", "conversation", "hearing", "summariser", "recorder")
LIFE = (CallStarted, StreamOpened, CallEnded, StreamClosed, StreamHeard, CallSealed)
every_app = pytest.mark.parametrize("door", APP_DOORS)


@dataclass(frozen=True, slots=True)
class Called:
    report: CallReport
    tape: Tape


def _token() -> str:
    issued_at, secrets = int(world.now().timestamp()), TokenSecrets(secret=SECRET)
    return issue(secrets, tenant="acme", subject="u1", scopes=("call",), issued_at=issued_at, valid_s=600)[0]


async def _placed(world_: World, door: str, steps: tuple[Step, ...], voice: Espeak) -> Called:
    async def speak(text: str) -> bytes:
        return await voice.mulaw(text, "en-us", 140)

    if door == TWILIO:
        report = await world_.call(*steps)
    else:
        report = await place(
            door,
            Script(steps=steps),
            to=world_.address,
            token=_token(),
            tenant="acme",
            voice=speak,
            on_event=lambda seen: None,
        )
    await world_.shown(report.call_id)  # once everything is said
    return Called(report, Tape(await world_.events(report.call_id)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Called]]:
    folder: Path = tmp_path_factory.mktemp("house")
    async with running(folder, jwt_secret=SECRET) as world_, Espeak() as voice:
        placed = await asyncio.gather(*(_placed(world_, door, steps, voice) for door, steps in CALLS.values()))
    yield dict(zip(CALLS, placed, strict=True))


@pytest.mark.parametrize("name", CALLS)
def test_the_whole_script_was_played_and_no_rule_broken(calls: dict[str, Called], name: str) -> None:
    report = calls[name].report
    assert (report.violations, report.failures) == ([], [])
    assert report.clears == (1 if CALLS[name][1] is INTERRUPTED else 0)


def test_what_is_compared_is_the_whole_conversation(calls: dict[str, Called]) -> None:
    tape = calls[TWILIO].tape
    assert texts(tape.events, "turn.taken") == [HELP, NOTE, YES, BYE]
    assert [event.why for event in tape.events if isinstance(event, ReplyStarted)] == [
        *("greeting", "turn", "turn", "tool", "turn", "turn")
    ]
    assert [(said["type"], said["reply"]) for said in tape.cut()] == [
        ("reply.interrupted", "reply.started 2"),
        ("reply.finished", "reply.started 2"),
    ]
    assert [said.get("reason", said["type"]) for said in tape.of(*LIFE)] == [
        *("call.started", "stream.opened", "agent_goodbye", "stream.closed", "stream.heard", "call.sealed")
    ]
    assert [len(tape.by(writer)) for writer in WRITERS] == [3, 39, 14, 2, 1]


@every_app
def test_a_door_leaves_as_many_events_of_each_type(calls: dict[str, Called], door: str) -> None:
    assert calls[door].tape.kinds() == calls[TWILIO].tape.kinds()


@every_app
@pytest.mark.parametrize("writer", WRITERS, ids=[writer or "the doors" for writer in WRITERS])
def test_every_writer_says_the_same_in_the_same_order(calls: dict[str, Called], door: str, writer: str) -> None:
    assert calls[door].tape.by(writer) == calls[TWILIO].tape.by(writer)


@every_app
def test_a_call_lives_and_ends_in_the_same_order(calls: dict[str, Called], door: str) -> None:
    assert calls[door].tape.of(*LIFE) == calls[TWILIO].tape.of(*LIFE)


@every_app
def test_the_callers_words_lead_to_the_same_turns_and_answers(calls: dict[str, Called], door: str) -> None:
    assert calls[door].tape.words() == calls[TWILIO].tape.words()


@every_app
def test_a_reply_is_voiced_and_heard_sentence_by_sentence(calls: dict[str, Called], door: str) -> None:
    assert calls[door].tape.voiced() == calls[TWILIO].tape.voiced()
    assert calls[door].tape.heard() == calls[TWILIO].tape.heard()


@every_app
def test_the_interrupted_reply_is_cut_alike(calls: dict[str, Called], door: str) -> None:
    assert calls[door].tape.cut() == calls[TWILIO].tape.cut()


@every_app
def test_tools_are_called_alike(calls: dict[str, Called], door: str) -> None:
    tools = calls[door].tape.of(ToolCalled, ToolReturned)
    assert tools == calls[TWILIO].tape.of(ToolCalled, ToolReturned)
    assert [(said.get("name"), said.get("arguments"), said.get("status")) for said in tools] == [
        ("save_item", {"kind": "note", "title": "buy milk"}, None),
        (None, None, "ok"),
    ]


def test_over_socketio_a_lost_connection_is_taken_up_where_the_caller_stopped_hearing(
    calls: dict[str, Called],
) -> None:
    called = calls["socketio lost"]
    assert (called.report.streams, called.report.ended_by) == (2, "caller")
    kinds = called.tape.kinds()
    assert (kinds["stream.opened"], kinds["reply.resumed"], kinds["reply.interrupted"]) == (2, 1, 0)
    assert [said["reason"] for said in called.tape.of(CallEnded)] == ["request"]


# ---------------------------------------------------------------------- push-to-talk: a request a turn


def _but(tape: Tape, writer: str, *types: str) -> list[Said]:
    """What a writer said, without these types, and without how the greeting ended."""
    greeting = {"reply.interrupted", "reply.finished"}
    return [
        said
        for said in tape.by(writer)
        if said["type"] not in types and not (said["type"] in greeting and said["reply"] == "reply.started 1")
    ]


def test_push_to_talk_is_the_same_conversation(calls: dict[str, Called]) -> None:
    turns, phone = calls[TURNS].tape, calls["twilio polite"].tape
    for writer in ("conversation", "summariser", "recorder"):
        assert _but(turns, writer) == _but(phone, writer)
    assert texts(turns.events, "turn.taken") == [NOTE, YES, BYE]
    assert turns.words() == phone.words()
    assert turns.of(ReplyStarted, ReplySentence, ReplyComposed) == phone.of(ReplyStarted, ReplySentence, ReplyComposed)
    assert turns.of(ToolCalled, ToolReturned) == phone.of(ToolCalled, ToolReturned)
    answers = {reply: said for reply, said in phone.voiced().items() if reply != "reply.started 1"}
    assert {reply: said for reply, said in turns.voiced().items() if reply in answers} == answers


def test_a_turn_is_a_stream_of_its_own_and_says_when_it_is_over(calls: dict[str, Called]) -> None:
    turns, phone = calls[TURNS].tape, calls["twilio polite"].tape
    assert _but(turns, "hearing", "stream.heard") == _but(phone, "hearing", "stream.heard")
    assert (len(phone.of(StreamOpened)), len(phone.of(TurnReleased))) == (1, 0)
    assert [len(turns.of(kind)) for kind in (StreamOpened, StreamClosed, StreamHeard)] == [3, 3, 3]
    released = [event.stream for event in turns.events if isinstance(event, TurnReleased)]
    assert list(dict.fromkeys(released)) == [event.stream for event in turns.events if isinstance(event, StreamOpened)]
    streams = ("stream.opened", "stream.closed", "turn.released")
    assert _but(turns, "", *streams) == _but(phone, "", *streams)


def test_the_greeting_nobody_waited_for_is_cut_by_the_first_turn(calls: dict[str, Called]) -> None:
    turns, phone = calls[TURNS].tape, calls["twilio polite"].tape
    assert phone.cut() == []
    interrupted, finished = turns.cut()
    assert interrupted == {"type": "reply.interrupted", "role": "conversation", "reply": "reply.started 1"}
    assert finished == {**interrupted, "type": "reply.finished", "interrupted": True}


def test_only_the_carrier_speaks_of_its_own_affairs(calls: dict[str, Called]) -> None:
    """Else leaving it out would hide a difference between the apps."""
    for name, called in calls.items():
        assert bool(called.tape.left_out) == name.startswith(TWILIO), name
