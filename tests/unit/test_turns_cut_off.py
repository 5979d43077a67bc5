"""A caller who was speaking when the line went: told as sentences."""

from __future__ import annotations

import pytest

from schema.call import CallStarted, HistoryLine
from schema.turn import TimerRang
from tests.support.workers import CALL, CallModel
from workers.agents import CallerSaid


def cut_off(reason: str = "restart", *, silence_ms: int = 0) -> CallModel:
    """The caller says something and the line goes in the middle of it, perhaps in a pause."""
    call = CallModel().greeted()
    call.starts_speaking()
    call.now += 700
    if silence_ms:
        call.pauses(silence_ms)
    call.close(reason)
    call.decide()
    return call


def hears_the_rest(call: CallModel, text: str = "", *, complete: bool | None = None) -> None:
    """Hearing's last words on the stream that went."""
    call.settles(text, complete=complete)
    call.stops_speaking()
    call.heard()
    call.decide()


@pytest.mark.parametrize("reason", ["restart", "peer_lost", "lost", "slow", "peer_closed"])
def test_a_caller_who_was_cut_off_is_asked_to_say_it_again(reason: str) -> None:
    call = cut_off(reason)
    hears_the_rest(call, "remind me to", complete=False)
    call.open("MZ2")
    call.decide()
    opened_at = call.now
    wait = call.ring()
    assert wait is not None and (wait.name, wait.until) == ("cut_off", opened_at + 1200)
    assert call.names()[-3:] == ["timer.rang", "turn.taken", "reply.started"]
    assert call.reply.asks_again
    assert (call.reply.why, call.reply.in_answer_to) == ("turn", call.last("turn.taken").id)
    assert call.talk.history[-1] == CallerSaid("remind me to", "speech", call.last("turn.taken").utterances, True)


def test_who_was_cut_off_before_any_word_was_understood_is_asked_too() -> None:
    call = cut_off()
    hears_the_rest(call)
    call.open("MZ2")
    call.decide()
    call.ring()
    assert call.count("turn.taken") == 0
    assert call.reply.asks_again
    assert (call.reply.why, call.reply.in_answer_to) == ("prompt", call.last("timer.rang").id)


def test_a_sound_without_words_on_the_next_line_is_not_the_rest() -> None:
    """The end of the sentence that was cut, for instance: too short to be understood."""
    call = cut_off()
    hears_the_rest(call)
    call.open("MZ2")
    call.decide()
    call.starts_speaking("MZ2")
    call.settles("", stream="MZ2")
    call.stops_speaking("MZ2")
    call.decide()
    quiet_at = call.now
    wait = call.ring()
    assert wait is not None and wait.name == "cut_off" and wait.until <= quiet_at + 1200
    assert call.reply.asks_again


def test_a_complete_utterance_is_answered_and_nobody_asks() -> None:
    call = cut_off(silence_ms=300)
    hears_the_rest(call, "make a note", complete=True)
    assert call.count("turn.taken") == 0, "no turn is taken while nobody can hear the answer"
    call.open("MZ2")
    call.decide()
    call.pass_time(300)
    assert call.count("turn.taken") == 1
    assert call.reply.why == "turn" and not call.reply.asks_again
    call.agent_says("I made a note.")
    call.plays("MZ2")
    call.decide()
    call.pass_time(5000)
    assert call.count("reply.started") == 2, "the greeting and the answer"


def test_what_a_grammar_makes_of_half_a_sentence_is_not_answered() -> None:
    call = cut_off()
    hears_the_rest(call, "at one", complete=True)
    call.open("MZ2")
    call.decide()
    call.ring()
    assert call.reply.asks_again


def test_a_caller_who_goes_on_is_not_asked_and_both_parts_are_one_turn() -> None:
    call = cut_off()
    hears_the_rest(call, "remind me to", complete=False)
    call.open("MZ2")
    call.decide()
    call.starts_speaking("MZ2")
    call.now += 900
    call.pauses(300, "MZ2")
    call.settles("pay the rent", complete=True, stream="MZ2")
    call.stops_speaking("MZ2")
    call.decide()
    assert call.last("turn.taken").text == "remind me to pay the rent"
    assert not call.reply.asks_again


def test_the_end_of_the_older_stream_does_not_silence_who_speaks_on_the_newer_one() -> None:
    call = cut_off()
    call.open("MZ2")
    call.starts_speaking("MZ2")
    call.settles("remind me to", complete=False)
    call.pauses(1200)
    call.stops_speaking()
    call.heard()
    assert call.decide() == []
    assert call.talk.speaking and call.talk.silence_ms == 0
    call.pass_time(3000)
    assert call.count("turn.taken") == 0, "the caller still speaks"


def test_a_newer_stream_tells_that_the_older_one_was_cut() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.open("MZ2")
    call.decide()
    hears_the_rest(call)
    call.ring()
    assert call.reply.asks_again


def test_who_was_cut_off_by_the_death_of_a_door_is_asked_though_hearing_waited_for_no_more() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.now += 700
    call.say(TimerRang(id=call.new_id(), call_id=CALL, name="gap", due=0), role="hearing")
    call.guesses("remind me")
    call.settles("remind me to", complete=False)
    call.stops_speaking()
    assert call.decide() == []
    call.open("MZ2")
    call.decide()
    call.ring()
    assert call.reply.asks_again and call.last("turn.taken").text == "remind me to"


def test_a_gap_that_was_answered_is_no_cut() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.say(TimerRang(id=call.new_id(), call_id=CALL, name="gap", due=0), role="hearing")
    call.pauses(1200)
    call.settles("make a note", complete=False)
    call.stops_speaking()
    call.decide()
    assert call.count("turn.taken") == 1
    call.agent_says("I made a note.")
    call.plays()
    call.decide()
    call.close("peer_lost")
    call.open("MZ2")
    call.decide()
    assert not call.talk.cut


@pytest.mark.parametrize("reason", ["stop", "ended"])
def test_whoever_wanted_the_end_was_not_cut_off(reason: str) -> None:
    assert not cut_off(reason).talk.cut


def test_who_was_silent_when_the_line_went_is_not_asked() -> None:
    call = CallModel().greeted()
    call.close("restart")
    call.heard()
    call.open("MZ2")
    call.decide()
    call.pass_time(5000)
    assert call.count("reply.started") == 1


@pytest.mark.parametrize("deed", ["types", "presses", "releases"])
def test_who_says_it_in_another_way_is_not_asked(deed: str) -> None:
    call = cut_off()
    hears_the_rest(call, "remind me to", complete=False)
    call.open("MZ2")
    call.decide()
    getattr(call, deed)(*{"types": ["buy milk"], "presses": ["1"], "releases": []}[deed])
    call.pass_time(1500)
    assert call.count("turn.taken") == 1
    assert not call.reply.asks_again


def test_asking_again_is_no_prompt_for_silence() -> None:
    call = cut_off()
    hears_the_rest(call)
    call.open("MZ2")
    call.decide()
    call.ring()
    assert call.talk.prompts == 0
    call.agent_says("Sorry, the line was interrupted.", "Could you say that again?")
    call.plays("MZ2")
    call.decide()
    call.ring()
    assert call.talk.prompts == 1, "the first prompt for silence is the first"


def test_who_was_cut_off_twice_is_asked_once_a_line() -> None:
    call = cut_off()
    hears_the_rest(call, "remind me", complete=False)
    call.open("MZ2")
    call.close("peer_lost", stream="MZ2")
    call.decide()
    call.open("MZ3")
    call.decide()
    call.ring()
    assert call.reply.asks_again
    call.agent_says("Sorry, the line was interrupted.")
    call.plays("MZ3")
    call.decide()
    call.pass_time(3000)
    assert call.count("turn.taken") == 1 and call.count("reply.started") == 2


def test_a_successor_asks_in_the_same_words() -> None:
    """What is asked lies in the state, so that a takeover goes on with it."""
    call = cut_off()
    hears_the_rest(call)
    call.open("MZ2")
    call.decide()
    call.ring()
    call.adopt("conversation:b:1")
    call.decide()
    assert call.reply.asks_again and call.reply.generation == 2


def asked(*texts: str) -> CallModel:
    """A caller who has just been asked something and has not answered."""
    call = CallModel().greeted()
    call.says("remind me to pay the rent on monday")
    call.agent_says(*(texts or ("I will remind you to pay the rent.", "Is that right?")))
    call.plays()
    call.decide()
    return call


def comes_back(call: CallModel, reason: str = "restart") -> CallModel:
    """The line goes, and the next one opens."""
    call.close(reason)
    call.heard()
    call.decide()
    call.open("MZ2")
    call.decide()
    return call


def timers(call: CallModel) -> list[str]:
    return [wait.name for wait in call.waits()]


@pytest.mark.parametrize("reason", ["restart", "peer_lost", "lost"])
def test_who_owes_an_answer_when_the_line_goes_is_asked_the_question_again(reason: str) -> None:
    call = comes_back(asked(), reason)
    opened_at = call.now
    wait = call.ring()
    assert wait is not None and (wait.name, wait.until) == ("cut_off", opened_at + 1200)
    assert call.names()[-2:] == ["timer.rang", "reply.started"]
    assert (call.reply.why, call.reply.in_answer_to) == ("prompt", call.last("timer.rang").id)
    assert call.reply.question == "Is that right?"


def test_the_death_of_a_door_after_a_question_has_it_asked_again() -> None:
    call = asked()
    call.open("MZ2")
    call.decide()
    call.ring()
    assert call.reply.question == "Is that right?"


def test_a_question_is_asked_again_once_a_line_and_is_no_prompt_for_silence() -> None:
    call = comes_back(asked())
    call.ring()
    assert call.talk.prompts == 0
    call.agent_says("Is that right?")
    call.plays("MZ2")
    call.decide()
    assert "cut_off" not in timers(call)
    call.ring()
    assert call.talk.prompts == 1 and not call.reply.asks_again


def test_who_answers_on_the_next_line_is_not_asked_again() -> None:
    call = comes_back(asked())
    call.starts_speaking("MZ2")
    call.now += 900
    call.pauses(300, "MZ2")
    call.settles("yes that is right", stream="MZ2")
    call.stops_speaking("MZ2")
    call.decide()
    assert call.last("turn.taken").text == "yes that is right"
    assert call.reply.why == "turn" and not call.reply.asks_again


def test_an_answer_that_hearing_understood_late_is_answered_and_nothing_is_asked_again() -> None:
    call = asked()
    call.starts_speaking()
    call.now += 900
    call.pauses(300)
    call.settles("yes that is right")
    call.close("restart")
    call.stops_speaking()
    call.heard()
    call.decide()
    call.open("MZ2")
    call.decide()
    call.pass_time(2000)
    assert call.last("turn.taken").text == "yes that is right" and not call.reply.asks_again


def test_who_began_to_answer_just_before_the_line_went_is_asked_to_say_it_again() -> None:
    """Hearing is a moment behind: the log has the end of the line before the beginning of the words on it."""
    call = asked()
    call.close("restart")
    call.starts_speaking()
    call.settles("yes", complete=True)
    call.stops_speaking()
    call.heard()
    call.decide()
    call.open("MZ2")
    call.decide()
    call.ring()
    assert call.last("turn.taken").text == "yes"
    assert call.reply.asks_again and not call.reply.question


@pytest.mark.parametrize("texts", [("I made a note.",), ("Is that right?", "Take your time.")])
def test_what_was_no_question_is_not_said_again(texts: tuple[str, ...]) -> None:
    call = comes_back(asked(*texts))
    call.pass_time(5000)
    assert call.count("reply.started") == 2, "the greeting and the answer"


def test_a_question_that_was_not_heard_to_its_end_goes_on_and_is_not_asked_again() -> None:
    call = CallModel().greeted()
    call.says("remind me to pay the rent on monday")
    call.agent_says("Is that right?")
    call.starts_playing()
    call.close("restart")
    call.open("MZ2")
    call.decide()
    assert call.reply.generation == 2
    call.plays("MZ2")
    call.decide()
    assert "silence" in timers(call) and "cut_off" not in timers(call)


@pytest.mark.parametrize("reason", ["stop", "ended"])
def test_whoever_wanted_the_end_is_not_asked_again(reason: str) -> None:
    call = asked()
    call.close(reason)
    assert not call.talk.lost


def test_what_was_asked_before_the_call_is_not_asked_again_on_its_first_line() -> None:
    call = CallModel()
    history = (HistoryLine(speaker="agent", text="Is that right?"),)
    call.say(CallStarted(id=call.new_id(), call_id=CALL, channel="app", history=history), source="app")
    call.adopt()
    call.open("MZ1")
    call.decide()
    assert not call.talk.cut and call.reply.why == "greeting"


def test_a_whole_answer_that_was_understood_after_the_line_went_is_answered() -> None:
    call = asked()
    call.close("restart")
    call.starts_speaking()
    call.pauses(300)
    call.settles("yes that is right")
    call.stops_speaking()
    call.heard()
    call.decide()
    call.open("MZ2")
    call.decide()
    call.pass_time(2000)
    assert call.last("turn.taken").text == "yes that is right" and not call.reply.asks_again
