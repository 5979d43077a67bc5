"""A caller who was speaking when the line went: told as sentences."""

from __future__ import annotations

import pytest

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
