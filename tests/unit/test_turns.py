"""Whose turn it is, told as sentences."""

from __future__ import annotations

from schema.turn import ReplyStarted
from tests.support.workers import CallModel, answering, types_of
from workers.agents import AgentSaid, CallerSaid


def test_a_caller_is_greeted_as_soon_as_a_stream_is_open() -> None:
    call = CallModel().begin()
    assert call.names()[-1] == "reply.started"
    assert call.last("reply.started").why == "greeting"


def test_nobody_is_greeted_twice() -> None:
    call = CallModel().greeted()
    call.close("peer_lost")
    call.open("MZ2")
    call.decide()
    assert call.count("reply.started") == 1


def test_a_complete_utterance_is_answered_after_the_short_silence() -> None:
    call = CallModel().greeted()
    assert types_of(call.says("make a note", complete=True, silence_ms=300)) == ["turn.taken", "reply.started"]
    assert call.last("reply.started").in_answer_to == call.last("turn.taken").id
    assert call.last("turn.taken").utterances == (call.last("transcript.settled").id,)


def test_an_utterance_nobody_can_judge_waits_for_the_middle_silence() -> None:
    call = CallModel().greeted()
    assert call.says("make a note", complete=None, silence_ms=300) == []
    voiced_at = call.talk.said[-1].voiced_at
    call.ring()
    assert call.now - voiced_at >= 750
    assert call.names()[-2:] == ["turn.taken", "reply.started"]


def test_an_incomplete_utterance_waits_for_the_long_silence() -> None:
    call = CallModel().greeted()
    assert call.says("make a note to", complete=False, silence_ms=300) == []
    voiced_at = call.talk.said[-1].voiced_at
    call.pass_time(600)
    assert call.talk.turn is None and call.talk.reply is None
    call.ring()
    assert call.now - voiced_at >= 1200
    assert call.names()[-2:] == ["turn.taken", "reply.started"]


def test_two_utterances_close_together_are_one_turn() -> None:
    call = CallModel().greeted()
    call.says("make a note to", complete=False)
    call.says("buy milk", complete=True)
    assert call.last("turn.taken").text == "make a note to buy milk"
    assert call.count("turn.taken") == 1


def test_words_after_a_pause_take_the_pause_back() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.pauses(300)
    call.settles("remind me", complete=None)
    call.guesses("to call")
    assert call.decide() == []


def test_a_profile_says_how_long_a_silence_has_to_be() -> None:
    call = CallModel({"endpointing": {"complete_ms": 500, "incomplete_ms": 900}}).greeted()
    assert call.says("make a note", complete=True, silence_ms=300) == []
    assert call.says("now", complete=True, silence_ms=500) != []


def test_silences_in_the_wrong_order_do_not_ring_for_ever() -> None:
    call = CallModel({"endpointing": {"complete_ms": 1200, "incomplete_ms": 300}}).greeted()
    call.says("make a note", complete=True, silence_ms=300)
    call.pass_time(2000)
    assert call.count("turn.taken") == 1


# Silence


def test_a_caller_who_says_nothing_is_asked_until_the_agent_says_goodbye() -> None:
    call = CallModel({"silence": {"after_ms": 8000, "max": 2}}).greeted()
    for count in (1, 2, 3):
        wait = call.ring()
        assert wait is not None and wait.name == "silence"
        reply = call.last("reply.started")
        assert (reply.why, reply.in_answer_to) == ("prompt", call.last("timer.rang").id)
        assert call.talk.prompts == count
        call.agent_says("Are you there?", hang_up="silence" if count == 3 else "")
        call.plays()
        call.decide()
    assert call.last("call.ended").reason == "silence"


def test_a_word_of_the_caller_starts_the_count_of_prompts_again() -> None:
    call = CallModel().greeted()
    call.ring()
    call.agent_says("Are you there?")
    call.plays()
    call.decide()
    call.says("yes")
    assert call.talk.prompts == 0


def test_nobody_is_prompted_while_speaking() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    assert "silence" not in {wait.name for wait in call.waits()}


def test_a_client_that_released_its_turn_is_not_prompted_until_it_speaks_again() -> None:
    call = CallModel().greeted()
    call.releases()
    assert "silence" not in {wait.name for wait in call.waits()}
    call.starts_speaking()
    call.settles("")
    call.stops_speaking()
    assert "silence" in {wait.name for wait in call.waits()}


def test_a_released_turn_is_answered_at_once() -> None:
    call = CallModel().greeted()
    call.says("make a note to", complete=False)
    assert types_of(call.releases()) == ["turn.taken", "reply.started"]


def test_words_that_settle_after_the_release_are_answered_at_once() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.releases()
    call.settles("make a note to", complete=False)
    assert types_of(call.decide()) == ["turn.taken", "reply.started"]


def test_speech_a_lost_stream_left_open_ends_with_hearings_last_word_on_it() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.close("peer_lost")
    call.open("MZ2")
    call.heard("MZ1")
    call.decide()
    assert not call.talk.speaking
    assert "silence" in {wait.name for wait in call.waits()}


# Keys and text


def test_typed_text_is_a_turn_at_once() -> None:
    call = CallModel().greeted()
    assert types_of(call.types("make a note")) == ["turn.taken", "reply.started"]
    assert call.last("turn.taken").kind == "text"


def test_keys_pressed_in_a_row_are_one_turn() -> None:
    call = CallModel().greeted()
    for digit in "142":
        assert call.presses(digit) == []
        call.pass_time(500)
    wait = call.ring()
    assert wait is not None and wait.name == "dtmf"
    assert (call.last("turn.taken").text, call.last("turn.taken").kind) == ("142", "dtmf")


def test_the_hash_key_ends_a_row_of_keys() -> None:
    call = CallModel().greeted()
    call.presses("1")
    assert types_of(call.presses("#")) == ["turn.taken", "reply.started"]
    assert call.last("turn.taken").text == "1#"


def test_a_key_silences_the_reply() -> None:
    call = answering()
    assert types_of(call.presses("1")) == ["reply.interrupted"]


# Requests and pauses


def test_a_request_to_say_something_is_spoken_with_its_own_cause() -> None:
    call = CallModel().greeted()
    request = call.request("say", "One moment please.")
    assert types_of(call.decide()) == ["reply.started"]
    assert (call.last("reply.started").why, call.last("reply.started").in_answer_to) == ("request", request.id)
    assert call.talk.instruction == "One moment please."


def test_requests_wait_for_the_reply_that_is_open_and_come_one_by_one() -> None:
    call = CallModel().begin()
    first, second = call.request("say", "One."), call.request("say", "Two.")
    assert call.decide() == []
    for request in (first, second):
        call.agent_says("Done.")
        call.plays()
        call.decide()
        assert call.last("reply.started").in_answer_to == request.id
    assert call.count("reply.started") == 3


def test_a_paused_call_is_silent_and_goes_on_when_resumed() -> None:
    call = answering()
    call.request("pause")
    assert types_of(call.decide()) == ["reply.interrupted"]
    assert call.last("reply.interrupted").why == "paused"
    call.clears(0, 500)
    call.pass_time(10_000)
    assert "reply.resumed" not in call.names()
    call.request("resume")
    assert types_of(call.decide()) == ["reply.resumed"]
    assert call.last("reply.resumed").why == "resumed"


def test_what_the_caller_says_in_a_pause_is_answered_after_it() -> None:
    call = CallModel().greeted()
    call.request("pause")
    assert call.says("make a note") == []
    call.pass_time(10_000)
    assert call.count("turn.taken") == 0
    call.request("resume")
    assert types_of(call.decide()) == ["turn.taken", "reply.started"]


def test_a_pause_in_the_middle_of_an_interruption_rings_no_timer_for_ever() -> None:
    call = answering()
    call.starts_speaking()
    call.guesses("no")
    call.decide()
    call.clears(0, 500)
    call.stops_speaking()
    call.request("pause")
    call.decide()
    call.pass_time(10_000)
    assert call.count("timer.rang") < 5


# Tools


def test_a_tool_that_came_back_is_spoken_about() -> None:
    call = CallModel().greeted()
    call.says("make a note to buy milk")
    tool = call.call_tool()
    call.agent_says("One moment.")
    call.plays()
    assert types_of(call.decide()) == ["reply.finished"]
    returned = call.return_tool(tool.id)
    assert types_of(call.decide()) == ["reply.started"]
    assert (call.last("reply.started").why, call.last("reply.started").in_answer_to) == ("tool", returned.id)


def test_two_tools_are_spoken_about_together() -> None:
    call = CallModel().greeted()
    call.says("make two notes")
    first, second = call.call_tool(), call.call_tool()
    call.agent_says(composed=True)
    call.decide()
    call.return_tool(first.id)
    assert "reply.started" not in types_of(call.decide())
    call.return_tool(second.id)
    assert types_of(call.decide()) == ["reply.started"]


def test_a_new_turn_answers_for_a_tool_that_came_back_meanwhile() -> None:
    call = CallModel().greeted()
    call.says("make a note to buy milk")
    tool = call.call_tool()
    call.agent_says("One moment.")
    call.starts_playing()
    call.return_tool(tool.id)
    call.says("and bread")
    call.clears(0, 400)
    call.decide()
    assert call.last("reply.started").why == "turn"
    call.agent_says("Done.")
    call.plays()
    assert types_of(call.decide()) == ["reply.finished"]


# Takeover and new streams


def test_a_reply_not_composed_goes_on_with_the_new_owner() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says("I made a note.", composed=False)
    call.starts_playing()
    call.adopt("conversation:b:1")
    assert types_of(call.decide()) == ["reply.resumed"]
    resumed = call.last("reply.resumed")
    assert (resumed.why, resumed.generation, resumed.after_index) == ("takeover", 2, 0)


def test_a_composed_reply_needs_nothing_of_its_new_owner_but_a_voice() -> None:
    call = answering()
    call.adopt("conversation:b:1")
    assert call.decide() == []
    assert call.talk.take == len(call.events)


def test_a_tool_that_may_not_be_repeated_is_answered_unknown_after_a_takeover() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    tool = call.call_tool(repeatable=False)
    call.agent_says("One moment.")
    call.adopt("conversation:b:1")
    assert types_of(call.decide()) == ["tool.returned"]
    assert (call.last("tool.returned").call, call.last("tool.returned").status) == (tool.id, "unknown")
    call.plays()
    assert types_of(call.decide()) == ["reply.finished", "reply.started"]
    assert call.last("reply.started").why == "tool"


def test_a_repeatable_tool_stays_open_after_a_takeover() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.call_tool(repeatable=True)
    call.agent_says("One moment.")
    call.adopt("conversation:b:1")
    assert call.decide() == []
    assert len(call.talk.tools) == 1


def test_a_reply_goes_on_in_a_new_stream() -> None:
    call = answering()
    call.marks(0, 800)
    call.close("peer_lost")
    assert call.decide() == []
    call.open("MZ2")
    assert types_of(call.decide()) == ["reply.resumed"]
    assert call.last("reply.resumed").why == "new_stream"
    assert call.reply.stream == "MZ2"


def test_a_reply_that_was_heard_whole_is_not_begun_again_in_a_new_stream() -> None:
    call = answering()
    call.plays()
    call.close("peer_lost")
    call.open("MZ2")
    assert types_of(call.decide()) == ["reply.finished"]


def test_words_before_a_gap_belong_to_the_turn_after_it() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.close("peer_lost")
    call.settles("remind me to", complete=False)
    call.stops_speaking()
    assert call.decide() == []
    call.pass_time(10_000)
    assert call.count("turn.taken") == 0
    call.open("MZ2")
    call.decide()
    call.says("call the dentist")
    assert call.last("turn.taken").text == "remind me to call the dentist"


def test_words_before_a_gap_are_answered_when_the_caller_says_no_more() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.close("peer_lost")
    call.settles("remind me")
    call.stops_speaking()
    call.open("MZ2")
    call.decide()
    call.pass_time(2000)
    assert call.last("turn.taken").text == "remind me"


def test_a_reply_whose_marks_never_come_is_believed_to_have_been_played() -> None:
    call = answering()
    call.pass_time(2 * 2000)
    call.measure(frames=400)
    call.pass_time(5001)
    assert call.names()[-1] == "reply.finished"


def test_a_reply_whose_door_was_dead_meanwhile_is_played_on_the_next_stream() -> None:
    call = answering()
    call.pass_time(30_000)
    assert call.names()[-1] == "stream.lost"
    call.open("MZ2")
    call.decide()
    assert call.names()[-1] == "reply.resumed"


def test_a_slow_voice_is_waited_for() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says("I made a note.", voiced=False)
    call.pass_time(14_000)
    assert call.talk.reply is not None


# The end


def test_an_ended_call_owes_only_endings() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    tool = call.call_tool()
    call.agent_says("I made", composed=False)
    call.starts_playing()
    call.close("stop")
    assert types_of(call.decide()) == ["call.ended", "reply.interrupted", "reply.finished", "tool.returned"]
    assert call.last("tool.returned").call == tool.id
    call.settles("late words")
    call.request("say", "One moment.")
    assert call.decide() == []
    call.heard()
    assert types_of(call.decide()) == ["call.sealed"]


def test_a_caller_who_hangs_up_is_not_answered_any_more() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.pauses(300)
    call.settles("make a note")
    call.stops_speaking()
    call.close("stop")
    assert types_of(call.decide()) == ["call.ended"]


def test_the_history_is_what_both_really_heard() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says("I made a note.")
    call.plays()
    call.decide()
    assert call.talk.history == (
        AgentSaid("Hello.", "Hello.", "greeting"),
        CallerSaid("make a note", "speech", (call.last("transcript.settled").id,)),
        AgentSaid("I made a note.", "I made a note.", "turn"),
    )


def test_latency_comes_from_the_log_alone() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says("I made a note.")
    call.plays()
    finished = call.decide()[0]
    latency = finished.latency  # type: ignore[attr-defined]
    assert latency.endpoint is not None and latency.endpoint >= 300
    assert latency.first_audio is not None and latency.first_audio > latency.endpoint


def test_a_reply_that_says_nothing_is_over_at_once() -> None:
    call = CallModel().greeted()
    call.says("make a note")
    call.agent_says(composed=True)
    assert types_of(call.decide()) == ["reply.finished"]
    assert isinstance(call.last("reply.started"), ReplyStarted)
