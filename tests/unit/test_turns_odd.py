"""Orders of events that are rare and must not be wrong."""

from __future__ import annotations

from tests.support.workers import CallModel, types_of
from workers.agents import AgentSaid


def test_a_guess_after_a_pause_takes_the_pause_back() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.pauses(300)
    call.guesses("remind me to")
    call.settles("remind me", complete=True)
    assert call.decide() == []
    call.pauses(300)
    assert types_of(call.decide()) == ["turn.taken", "reply.started"]


def test_what_was_heard_once_stays_heard() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says("I made a note of that for you.")
    call.starts_playing()
    call.marks(0, 1500)
    call.close("peer_lost")
    call.open("MZ2")
    call.decide()
    call.marks(0, 300, stream="MZ2")
    call.types("stop")
    call.clears(0, 400, "MZ2")
    call.decide()
    said = [item for item in call.talk.history if isinstance(item, AgentSaid)][-1]
    assert said.heard == "I made a note of that"


def test_a_reply_is_finished_before_the_seal_and_nothing_is_void() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.call_tool()
    call.agent_says("I made a note.", composed=False)
    call.starts_playing()
    call.close("stop")
    call.heard()
    assert types_of(call.decide()) == [
        "call.ended",
        "reply.interrupted",
        "reply.finished",
        "tool.returned",
        "call.sealed",
    ]
    assert call.void == []


def test_a_stream_that_opens_after_the_seal_is_not_greeted() -> None:
    call = CallModel().greeted()
    call.close("stop")
    call.heard()
    call.decide()
    call.open("MZ2")
    assert call.decide() == [] and call.waits() == ()


def test_an_ended_call_without_a_profile_is_sealed() -> None:
    call = CallModel()
    call.begin()
    call.close("stop")
    call.heard()
    call.decide()
    assert call.names()[-1] == "call.sealed"


def test_a_timer_that_rings_twice_is_admitted_once_and_means_nothing_the_second_time() -> None:
    call = CallModel().greeted()
    call.ring()
    assert call.talk.reply is not None
    call.ring_late("silence", call.now)
    call.agent_says("Are you there?")
    call.plays()
    decided = types_of(call.decide())
    assert decided[0] == "reply.finished"
    assert decided.count("reply.started") <= 1


def test_playback_of_a_reply_that_is_over_changes_nothing() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says("I made a note.")
    reply = call.reply
    call.plays()
    call.decide()
    before = call.talk
    call.say(call.last("playback.marked"), source="MZ1")
    assert reply.id not in str(call.talk.reply)
    assert call.talk == before


def test_two_tools_of_two_owners_each_get_their_answer() -> None:
    call = CallModel().greeted()
    call.says("make two notes")
    first = call.call_tool()
    call.adopt("conversation:b:1")
    call.decide()
    second = call.call_tool()
    call.agent_says("One moment.")
    call.plays()
    call.decide()
    assert call.last("tool.returned").call == first.id
    assert [tool.id for tool in call.talk.tools] == [second.id]
