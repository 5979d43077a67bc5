"""What holds for every order in which callers, sockets, engines, owners and timers may speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.call import CallReported, CallStarted, CallTransferred, ProfileUsed
from schema.envelope import Event, type_of
from schema.registry import EVENTS
from schema.stream import StreamMeasured
from schema.turn import AgentChanged, ReplyFinished, ReplyStarted, ReplyVoiced
from tests.support.events import DATA, ROLES, an_event
from tests.support.workers import CALL, CallModel
from workers import callstate, heardlines, hearing
from workers.lifecycle import LifeRules

STREAMS = ("MZ1", "MZ2", "MZ3")
Act = Callable[[CallModel, int], object]


def _reply_id(call: CallModel) -> str:
    return call.talk.reply.id if call.talk.reply is not None else "nobody"


def _open(call: CallModel, n: int) -> None:
    if call.now and n % 3 == 0:
        call.open(STREAMS[len(call.state.life.lines) % 3])


def _close(call: CallModel, n: int) -> None:
    line = call.state.life.line
    if line is not None:
        call.close(("stop", "peer_lost", "peer_lost", "superseded")[n % 4], line.id)


def _says(call: CallModel, n: int) -> None:
    """A sentence of the agent, if it is being asked."""
    reply = call.talk.reply
    if reply is not None and not reply.composed and not reply.interrupted and not call.talk.ended:
        call.agent_says(f"Sentence {n}.", composed=n % 2 == 0, hang_up="agent_goodbye" if n % 7 == 0 else "")


def _composed(call: CallModel, n: int) -> None:
    reply = call.talk.reply
    if reply is not None and not reply.composed and not reply.interrupted and not call.talk.ended:
        call.agent_says(hang_up="agent_goodbye" if n % 5 == 0 else "")


def _tool(call: CallModel, n: int) -> None:
    reply = call.talk.reply
    if reply is not None and not reply.composed and not call.talk.ended and len(call.talk.tools) < 3:
        call.call_tool(repeatable=n % 2 == 0)


def _hand_over(call: CallModel, n: int) -> None:
    reply = call.talk.reply
    agent = ("front", "back")[n % 2]
    if reply is not None and not reply.composed and not reply.interrupted and call.talk.agent != agent:
        call.hand_over(agent)


def _returned(call: CallModel, n: int) -> None:
    if call.talk.tools:
        call.return_tool(call.talk.tools[n % len(call.talk.tools)].id)


def _play(call: CallModel, n: int) -> None:
    if call.talk.reply is not None and call.talk.stream:
        call.plays(call.talk.stream)


def _playback(call: CallModel, n: int) -> None:
    if call.talk.reply is not None and call.talk.reply.sentences:
        index = n % len(call.talk.reply.sentences)
        (call.starts_playing, lambda i, s: call.marks(i, n * 97, stream=s), lambda i, s: call.clears(i, n * 31, s))[
            n % 3
        ](index, call.talk.stream or "MZ1")


def _unvoiced(call: CallModel, n: int) -> None:
    if call.talk.reply is not None and not call.talk.ended:
        voiced = ReplyVoiced(id=call.new_id(), call_id=CALL, reply=_reply_id(call), index=n % 3, duration_ms=0)
        call.say(voiced, role="conversation")


def _transfer(call: CallModel, n: int) -> None:
    if n == 0:
        call.say(CallTransferred(id=call.new_id(), call_id=CALL, to="+15550100003"), role="conversation")


def _report(call: CallModel, n: int) -> None:
    status = ("in-progress", "ringing", "completed", "failed")[n % 4] if n < 3 else "in-progress"
    call.say(CallReported(id=call.new_id(), call_id=CALL, status=status), source=CALL)


def _measure(call: CallModel, n: int) -> None:
    measured = StreamMeasured(
        id=call.new_id(), call_id=CALL, stream=call.talk.stream or "MZ1", frames=n, outbox_through=n
    )
    call.say(measured, source=measured.stream)


ACTS: tuple[Act, ...] = (
    _open,
    _close,
    _says,
    _says,
    _composed,
    _tool,
    _hand_over,
    _returned,
    _play,
    _playback,
    _unvoiced,
    _transfer,
    _report,
    _measure,
    lambda call, n: call.adopt(f"conversation:{n}:1"),
    lambda call, n: call.starts_speaking(STREAMS[n % 2]),
    lambda call, n: call.guesses("no " * (n % 4)),
    lambda call, n: call.pauses((300, 700, 1200)[n % 3]),
    lambda call, n: call.settles(("", "yes", "make a note")[n % 3], complete=(None, True, False)[n // 3 % 3]),
    lambda call, n: call.stops_speaking(),
    lambda call, n: call.heard(STREAMS[n % 3]),
    lambda call, n: call.types("hello"),
    lambda call, n: call.presses("12#"[n % 3]),
    lambda call, n: call.releases(),
    lambda call, n: call.request(("say", "pause", "resume", "resume", "say", "hang_up")[n % 6], "words"),
    lambda call, n: call.request(("pause", "resume", "interrupt")[n % 3]),
    lambda call, n: call.ring(),
    lambda call, n: call.ring(),
    lambda call, n: call.pass_time(n * 211),
)
steps = st.lists(st.tuples(st.integers(0, len(ACTS) - 1), st.integers(0, 20)), max_size=60)
bodies = st.fixed_dictionaries(
    {
        "endpointing": st.fixed_dictionaries(
            {"complete_ms": st.sampled_from([0, 300, 1500]), "incomplete_ms": st.sampled_from([0, 1200])}
        ),
        "interruption": st.fixed_dictionaries(
            {
                "allowed": st.booleans(),
                "min_words": st.integers(0, 3),
                "min_voiced_ms": st.sampled_from([0, 240]),
                "false_barge_in_ms": st.sampled_from([0, 1500]),
            }
        ),
        "silence": st.fixed_dictionaries({"after_ms": st.sampled_from([0, 8000]), "max": st.integers(0, 3)}),
    }
)


def run(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> CallModel:
    """A call with that story; whatever is owed is decided after each of its steps."""
    call = CallModel(body, LifeRules(grace_ms=20_000))
    call.say(CallStarted(id=call.new_id(), call_id=CALL, channel="twilio"), source="webhook")
    call.adopt()
    call.decide()
    call.open("MZ1")
    call.decide()
    for act, n in story:
        ACTS[act](call, n)
        call.decide()
    return call


@settings(max_examples=400)
@given(bodies, steps)
def test_no_two_replies_are_open_at_once(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> None:
    open_reply = ""
    for event in run(body, story).events:
        if isinstance(event, ReplyStarted):
            assert not open_reply
            open_reply = event.id
        elif isinstance(event, ReplyFinished):
            assert event.reply == open_reply
            open_reply = ""


CAUSES = {
    "turn": "turn.taken",
    "prompt": "timer.rang",
    "request": "request.made",
    "tool": "tool.returned",
    "handover": "agent.changed",
}


@settings(max_examples=400)
@given(bodies, steps)
def test_every_reply_has_its_own_admitted_cause(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> None:
    said: dict[str, Event] = {}
    answered: set[str] = set()
    for event in run(body, story).events:
        if isinstance(event, ReplyStarted):
            assert event.in_answer_to not in answered
            answered.add(event.in_answer_to)
            if event.why != "greeting":
                assert type_of(said[event.in_answer_to]) == CAUSES[event.why]
            else:
                assert event.in_answer_to == ""
        said[event.id] = event


@settings(max_examples=400)
@given(bodies, steps)
def test_every_utterance_is_answered_at_most_once(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> None:
    call = run(body, story)
    taken = [id_ for event in call.events if type_of(event) == "turn.taken" for id_ in event.utterances]  # type: ignore[attr-defined]
    assert len(taken) == len(set(taken))


@settings(max_examples=400)
@given(bodies, steps)
def test_who_answers_is_who_has_the_call(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> None:
    agent, profiles = "", 0
    for event in run(body, story).events:
        if isinstance(event, AgentChanged):
            agent, profiles = event.agent, 0
        elif isinstance(event, ProfileUsed):
            profiles += 1
        elif isinstance(event, ReplyStarted):
            assert profiles == 1, "each agent's profile is on the log once before it speaks"
            assert event.why != "handover" or agent


@settings(max_examples=400)
@given(bodies, steps)
def test_after_its_end_nothing_is_said(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> None:
    names = run(body, story).names()
    if "call.ended" in names:
        after = names[names.index("call.ended") :]
        assert not {"turn.taken", "reply.started", "reply.resumed"} & set(after)


@settings(max_examples=400)
@given(bodies, steps)
def test_every_call_ends_sealed_when_its_caller_does_no_more(
    body: dict[str, Any], story: Sequence[tuple[int, int]]
) -> None:
    call = run(body, story)
    call.request("resume")
    call.decide()
    for _ in range(200):
        if call.state.sealed:
            break
        assert call.ring() is not None, "nobody waits for anything and the call is not sealed"
    assert call.state.sealed
    assert call.talk.reply is None and not call.talk.tools
    assert call.count("call.ended") == call.count("call.sealed") == 1
    assert call.void == [] or all(type_of(event) != "call.ended" for event in call.void)


@settings(max_examples=300)
@given(bodies, steps)
def test_every_call_ends_sealed_even_if_it_stays_paused(body: dict[str, Any], story: Sequence[tuple[int, int]]) -> None:
    call = run(body, story)
    call.request("pause")
    call.decide()
    for _ in range(200):
        if call.state.sealed:
            return
        assert call.ring() is not None
    raise AssertionError("the call is not sealed")


@settings(max_examples=200)
@given(bodies, steps)
def test_a_second_fold_of_the_same_events_is_the_same_state(
    body: dict[str, Any], story: Sequence[tuple[int, int]]
) -> None:
    call = run(body, story)
    call.now += 1
    once, again = (callstate.fresh(LifeRules()) for _ in range(2))
    for position, event in enumerate(call.events, 1):
        once = callstate.fold(once, event, position, 1000 + position)
        again = callstate.fold(again, event, position, 1000 + position)
    assert once == again
    assert callstate.owed(once) == callstate.owed(again)


names = st.sampled_from(sorted(DATA))
ids = st.sampled_from(["a", "b", "c", ""])
counts = st.integers(0, 3)


@st.composite
def nonsense(draw: st.DrawFn) -> Event:
    """Any event that names anything: as an old, foreign or broken writer might leave it on the log."""
    name = draw(names)
    event = an_event(name, id=draw(ids))
    changes: dict[str, Any] = {}
    for field in msgspec.structs.fields(EVENTS[name]):
        if field.name in ("reply", "call", "in_answer_to", "stream", "by"):
            changes[field.name] = draw(ids)
        elif field.name in ("index", "sentence", "generation", "heard_ms", "frames", "outbox_through", "due"):
            changes[field.name] = draw(counts) * 500
    if name in ROLES:
        changes["role"] = draw(st.sampled_from(["conversation", "hearing"]))
    if name == "timer.rang":
        timers = [
            "silence",
            "dtmf",
            "endpoint",
            "barge_in",
            "false_barge_in",
            "cleared",
            "playback",
            "seal",
            "idle",
            "cut_off",
        ]
        changes["name"] = draw(st.sampled_from([*timers, "longest", "grace", "ingest:a", "ingest:", "gap", "new"]))
    return msgspec.structs.replace(event, **changes)


@settings(max_examples=500)
@given(st.lists(nonsense(), max_size=40))
def test_every_fold_takes_every_event_in_every_order(events: Sequence[Event]) -> None:
    state, lines, ears = callstate.fresh(LifeRules()), heardlines.HeardLines(), hearing.HearingState()
    for position, event in enumerate(events):
        state = callstate.fold(state, event, position, position * 250)
        lines = heardlines.fold(lines, event)
        ears = hearing.fold(ears, event)
        decisions, waits = callstate.owed(state)
        assert not (decisions and waits) or len(decisions) + len(waits) > 0
    assert len(lines.lines()) <= len(lines.order)


@settings(max_examples=300)
@given(st.lists(nonsense(), max_size=40))
def test_a_call_of_nonsense_can_still_be_ended_and_sealed(events: Sequence[Event]) -> None:
    call = CallModel(rules=LifeRules(grace_ms=20_000))
    call.say(CallStarted(id=call.new_id(), call_id=CALL, channel="twilio"), source="webhook")
    call.adopt()
    call.decide()
    for event in events:
        if event.role:
            call.say(msgspec.structs.replace(event, id=call.new_id(), prior=""), role=event.role)
        else:
            call.say(msgspec.structs.replace(event, id=call.new_id()), source="nobody")
        call.decide()
    for _ in range(300):
        if call.state.sealed:
            return
        assert call.ring() is not None
    raise AssertionError("the call is not sealed")
