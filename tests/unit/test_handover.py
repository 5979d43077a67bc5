"""A call handed from one agent to another, as the log tells it."""

from __future__ import annotations

from schema.turn import AgentChanged
from tests.support.workers import CALL, CallModel, types_of
from workers.agents import AgentSaid, CallerSaid, HandedOver
from workers.fitting import still_fits


def handing_over() -> CallModel:
    """The front desk has said whom it connects the caller with, and nobody has heard it yet."""
    call = CallModel().greeted()
    call.says("i need an estimate")
    call.agent_says("I'll connect you with estimates.", composed=False)
    call.hand_over("estimate")
    call.agent_says()
    return call


def test_the_new_agents_profile_is_owed_at_once_and_once() -> None:
    call = handing_over()
    assert types_of(call.decide()) == ["profile.used"]
    assert call.decide() == []
    assert call.count("profile.used") == 2


def test_the_new_agent_speaks_as_soon_as_the_old_one_was_heard() -> None:
    call = handing_over()
    call.decide()
    call.plays()
    assert types_of(call.decide()) == ["reply.finished", "reply.started"]
    started = call.last("reply.started")
    assert (started.why, started.in_answer_to) == ("handover", call.last("agent.changed").id)
    assert call.talk.handed_over == ""


def test_the_new_agent_hears_the_whole_history_and_where_its_own_begins() -> None:
    call = handing_over()
    call.decide()
    call.plays()
    call.decide()
    said, answered, handed = call.talk.history[-3:]
    assert isinstance(said, CallerSaid) and said.text == "i need an estimate"
    assert isinstance(answered, AgentSaid) and answered.heard == "I'll connect you with estimates."
    assert isinstance(handed, HandedOver) and handed.agent == "estimate"


def test_a_caller_who_speaks_into_the_hand_over_is_answered_by_the_new_agent() -> None:
    call = handing_over()
    call.decide()
    call.starts_playing()
    call.starts_speaking()
    call.guesses("wait a moment")
    assert "reply.interrupted" in types_of(call.decide())
    call.clears(0, 500)
    call.pauses(300)
    call.settles("wait a moment")
    call.stops_speaking()
    decided = types_of(call.decide())
    assert decided == ["reply.finished", "turn.taken", "reply.started"]
    assert call.last("reply.started").why == "turn"
    assert call.talk.handed_over == "", "it has the caller's words to answer: it does not introduce itself as well"


def test_no_word_is_taken_while_nobody_has_a_profile() -> None:
    call = handing_over()
    assert not call.talk.has_profile
    call.decide()
    assert call.talk.has_profile


def test_the_reply_that_hands_over_stays_its_agents() -> None:
    call = CallModel().greeted()
    call.says("i need an estimate")
    before = call.reply.profile
    call.agent_says("I'll connect you.", composed=False)
    call.hand_over("estimate")
    call.body = {**call.body, "name": "estimate"}
    call.decide()
    assert call.reply.profile == before and before in call.state.profiles
    assert call.reply.agent == "toy"


def test_a_hand_over_said_again_after_a_takeover_is_dropped() -> None:
    call = CallModel().greeted()
    call.says("i need an estimate")
    call.agent_says("I'll connect you with estimates.", composed=False)
    again = AgentChanged(id="again", call_id=CALL, agent="estimate", previous="", cause=call.reply.id)
    assert still_fits(call.state, again)
    call.hand_over("estimate")
    assert not still_fits(call.state, again)


def test_a_reply_that_was_interrupted_or_is_over_hands_nothing_over() -> None:
    call = CallModel().greeted()
    call.says("i need an estimate")
    call.agent_says("One moment.", composed=False)
    changed = AgentChanged(id="x", call_id=CALL, agent="estimate", cause=call.reply.id)
    assert still_fits(call.state, changed)
    call.request("interrupt")
    call.decide()
    assert not still_fits(call.state, changed)


def test_a_successor_owes_the_profile_its_predecessor_owed() -> None:
    call = handing_over()
    call.adopt("conversation:b:1")
    assert types_of(call.decide()) == ["profile.used"]


def test_a_call_handed_over_twice_names_both_times() -> None:
    call = handing_over()
    call.decide()
    call.plays()
    call.decide()
    call.agent_says("Let me give you to scheduling.", composed=False)
    call.hand_over("scheduling")
    call.agent_says()
    call.decide()
    call.plays()
    call.decide()
    assert call.count("profile.used") == 3
    assert call.last("reply.started").in_answer_to == call.last("agent.changed").id
    assert [item.agent for item in call.talk.history if isinstance(item, HandedOver)] == ["estimate", "scheduling"]


def test_a_tool_that_returns_after_the_hand_over_is_spoken_about_by_the_new_agent() -> None:
    call = CallModel().greeted()
    call.says("save it and give me to estimates")
    tool = call.call_tool()
    call.hand_over("estimate")
    call.agent_says("One moment.")
    call.plays()
    call.decide()
    assert call.last("reply.started").why == "handover"
    call.return_tool(tool.id)
    call.agent_says("Hello.")
    call.plays()
    assert types_of(call.decide()) == ["reply.finished", "reply.started"]
    assert call.last("reply.started").why == "tool"


def test_turns_end_as_the_new_profile_says() -> None:
    call = handing_over()
    call.body = {**call.body, "endpointing": {"complete_ms": 900}, "interruption": {"allowed": False}}
    call.decide()
    assert (call.talk.rules.complete_ms, call.talk.rules.interruptible) == (900, False)
