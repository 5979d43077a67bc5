"""A caller who speaks into a reply: what silences it, what lets it go on, and what is remembered of it."""

from __future__ import annotations

from schema.turn import ReplyInterrupted
from tests.support.workers import CallModel, answering, types_of
from workers.agents import AgentSaid


def test_a_caller_who_interrupts_with_words_silences_the_reply() -> None:
    call = answering()
    speech = call.starts_speaking()
    assert call.decide() == []
    call.guesses("no")
    decided = call.decide()
    assert types_of(decided) == ["reply.interrupted"]
    assert isinstance(decided[0], ReplyInterrupted) and decided[0].why == "barge_in"
    assert decided[0].cause == speech.id


def test_a_profile_may_want_more_words_for_an_interruption() -> None:
    call = answering({"interruption": {"min_words": 3, "min_voiced_ms": 10_000}})
    call.starts_speaking()
    call.guesses("well no")
    assert call.decide() == []
    call.guesses("well no not")
    assert types_of(call.decide()) == ["reply.interrupted"]


def test_speech_that_goes_on_interrupts_before_any_word_is_known() -> None:
    call = answering()
    call.starts_speaking()
    call.decide()
    wait = call.ring()
    assert wait is not None and wait.name == "barge_in"
    assert call.names()[-1] == "reply.interrupted"


def test_speech_that_stops_soon_without_a_word_interrupts_nothing() -> None:
    call = answering()
    call.starts_speaking()
    call.settles("")
    call.stops_speaking()
    call.pass_time(1000)
    assert call.count("reply.interrupted") == 0


def test_a_reply_that_may_not_be_interrupted_is_heard_to_its_end_and_then_answered() -> None:
    call = answering({"interruption": {"allowed": False}})
    assert call.says("no wait") == []
    call.plays()
    assert types_of(call.decide()) == ["reply.finished", "turn.taken", "reply.started"]
    assert call.count("reply.interrupted") == 0


def test_what_was_cut_is_remembered_as_it_was_heard() -> None:
    call = answering()
    call.starts_speaking()
    call.guesses("no")
    call.decide()
    call.clears(0, 700)
    call.pauses(300)
    call.settles("no wait")
    call.stops_speaking()
    assert types_of(call.decide()) == ["reply.finished", "turn.taken", "reply.started"]
    said = [item for item in call.talk.history if isinstance(item, AgentSaid)][-1]
    assert said.text == "I made a note of that for you. Is there anything else?"
    assert said.heard == "I made a"


def test_a_sentence_whose_rest_never_came_says_nothing_of_the_one_after_it() -> None:
    call = answering()
    call.starts_playing(1)
    call.says("no wait")
    call.clears(0, 700)
    assert call.decide() == []
    call.clears(1, 400)
    assert types_of(call.decide()) == ["reply.finished", "turn.taken", "reply.started"]


def test_an_interruption_of_a_resumed_reply_waits_for_no_sentence_that_never_sounded_again() -> None:
    call = answering()
    call.starts_playing(1)  # written ahead of the first one's end
    call.starts_speaking()
    call.decide()
    call.ring()
    call.clears(0, 700)
    call.clears(1, 0)
    call.settles("")
    call.stops_speaking()
    assert types_of(call.decide()) == ["reply.resumed"]
    call.says("no wait")
    call.clears(0, 900)
    assert types_of(call.decide()) == ["reply.finished", "turn.taken", "reply.started"]


def test_the_answer_waits_for_word_of_what_was_heard_but_not_for_ever() -> None:
    call = answering()
    call.says("no wait")
    assert call.names()[-1] == "reply.interrupted"
    wait = call.ring()
    assert wait is not None and wait.name == "cleared"
    assert call.names()[-3:] == ["reply.finished", "turn.taken", "reply.started"]


def test_a_cough_lets_the_reply_go_on_where_the_caller_stopped_hearing() -> None:
    call = answering()
    call.starts_speaking()
    call.decide()
    call.ring()
    call.clears(0, 700)
    call.settles("")
    call.stops_speaking()
    assert types_of(call.decide()) == ["reply.resumed"]
    resumed = call.last("reply.resumed")
    assert (resumed.why, resumed.generation, resumed.after_index) == ("false_barge_in", 2, 1)
    call.plays()
    assert types_of(call.decide()) == ["reply.finished"]
    assert not call.last("reply.finished").interrupted


def test_speech_that_never_settles_is_a_false_interruption_after_a_while() -> None:
    call = answering()
    call.starts_speaking()
    call.decide()
    call.ring()
    call.clears(0, 700)
    call.stops_speaking()
    assert call.decide() == []
    call.pass_time(1500)
    assert call.last("reply.resumed").why == "false_barge_in"


def test_a_goodbye_that_was_talked_over_is_taken_back() -> None:
    call = CallModel().greeted()
    call.says("bye")
    call.agent_says("Goodbye.", hang_up="agent_goodbye")
    call.starts_playing()
    call.says("wait")
    call.clears(0, 300)
    call.decide()
    assert call.count("call.ended") == 0
    assert call.last("turn.taken").text == "wait"


def test_a_goodbye_that_was_heard_ends_the_call() -> None:
    call = CallModel().greeted()
    call.says("bye")
    call.agent_says("Goodbye.", hang_up="agent_goodbye")
    assert call.decide() == []
    call.plays()
    assert types_of(call.decide()) == ["reply.finished", "call.ended"]
    assert call.last("call.ended").reason == "agent_goodbye"
