"""What a client may wish of a call beside its audio: silence, a pause, an end, a turn in writing or let go of."""

from __future__ import annotations

import pytest

from tests.support.workers import CallModel, types_of
from workers.agents import AgentSaid
from workers.lifecycle import LifeRules


def speaking(body: dict[str, object] | None = None) -> CallModel:
    """The agent is in the middle of its first sentence."""
    call = CallModel(body).begin()
    call.agent_says("Hello there.", "How are you?")
    call.starts_playing()
    return call


# Interrupt


@pytest.mark.parametrize("body", [None, {"interruption": {"allowed": False}}])
def test_the_button_silences_the_reply_whatever_the_profile_says_of_barge_in(body: dict[str, object] | None) -> None:
    call = speaking(body)
    request = call.request("interrupt")
    assert types_of(call.decide()) == ["reply.interrupted"]
    interrupted = call.last("reply.interrupted")
    assert (interrupted.why, interrupted.cause) == ("request", request.id)


def test_a_reply_silenced_by_request_is_finished_and_never_resumed() -> None:
    call = speaking()
    call.request("interrupt")
    call.decide()
    call.clears(0, 500)
    assert types_of(call.decide()) == ["reply.finished"]
    assert call.last("reply.finished").interrupted
    said = call.talk.history[-1]
    assert isinstance(said, AgentSaid) and said.heard != said.text
    call.pass_time(7000)
    assert call.count("reply.resumed") == 0


def test_the_turn_goes_to_the_caller() -> None:
    call = speaking()
    call.request("interrupt")
    call.decide()
    call.clears(0, 500)
    call.decide()
    assert types_of(call.says("stop that")) == ["turn.taken", "reply.started"]


def test_with_nothing_to_interrupt_nothing_happens() -> None:
    call = CallModel().greeted()
    call.request("interrupt")
    assert call.decide() == []
    call.says("hello")
    assert call.reply.unwanted == "", "an old wish silences no later reply"


def test_a_reply_that_was_held_is_given_up_by_the_button() -> None:
    call = speaking()
    call.request("pause")
    call.decide()
    call.clears(0, 500)
    call.request("interrupt")
    assert types_of(call.decide()) == ["reply.finished"]
    call.request("resume")
    assert "reply.resumed" not in types_of(call.decide())


def test_a_reply_that_nobody_has_composed_yet_is_silenced_too() -> None:
    call = CallModel().greeted()
    call.says("hello")
    call.request("interrupt")
    assert types_of(call.decide()) == ["reply.interrupted", "reply.finished"]


def test_a_successor_silences_what_its_predecessor_was_asked_to() -> None:
    call = CallModel().greeted()
    call.says("hello")
    call.agent_says("Well.", composed=False)
    call.starts_playing()
    call.request("interrupt")
    call.adopt("conversation:b:1")
    assert types_of(call.decide()) == ["reply.interrupted"]


def test_a_goodbye_that_was_silenced_ends_no_call() -> None:
    call = CallModel().greeted()
    call.says("bye")
    call.agent_says("Goodbye.", hang_up="agent_goodbye")
    call.starts_playing()
    call.request("interrupt")
    call.decide()
    call.clears(0, 200)
    assert types_of(call.decide()) == ["reply.finished"]


# Pause


def test_a_paused_call_is_not_prompted_and_a_prompt_that_was_due_is_not_made_up_for() -> None:
    call = CallModel().greeted()
    call.request("pause")
    call.decide()
    for _ in range(6):
        call.measure(frames=40)
        call.pass_time(10_000)
    assert call.count("reply.started") == 1
    call.ring_late("silence", call.now)
    call.request("resume")
    assert call.decide() == []
    call.measure(frames=40)
    call.pass_time(9000)
    assert call.last("reply.started").why == "prompt"


def test_a_held_reply_goes_on_where_it_was_heard() -> None:
    call = speaking()
    call.request("pause")
    assert types_of(call.decide()) == ["reply.interrupted"]
    assert call.last("reply.interrupted").why == "paused"
    call.clears(0, 700)
    call.decide()
    assert call.reply.sentences[0].heard_ms == 700
    call.request("resume")
    assert types_of(call.decide()) == ["reply.resumed"]
    assert call.last("reply.resumed").why == "resumed"
    assert call.reply.sentences[0].heard_ms == 700 and not call.reply.sentences[0].over


def test_the_idle_limit_runs_in_a_pause() -> None:
    call = CallModel(rules=LifeRules(idle_ms=60_000)).greeted()
    call.request("pause")
    call.decide()
    for _ in range(5):
        call.measure(frames=0)  # its process lives; no message comes
        call.pass_time(14_000)
    assert call.last("call.ended").reason == "idle"


def test_words_of_a_pause_are_answered_after_it() -> None:
    call = CallModel().greeted()
    call.request("pause")
    assert call.types("are you there") == []
    call.request("resume")
    assert types_of(call.decide()) == ["turn.taken", "reply.started"]


# A turn let go of


def test_a_turn_let_go_of_is_answered_at_once_though_the_words_are_not_complete() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.settles("remind me to", complete=False)
    assert call.decide() == []
    assert types_of(call.releases()) == ["turn.taken", "reply.started"]


def test_words_that_settle_after_the_turn_was_let_go_of_are_answered_at_once() -> None:
    call = CallModel().greeted()
    call.starts_speaking()
    call.releases()
    call.settles("remind me to", complete=False)
    assert types_of(call.decide()) == ["turn.taken", "reply.started"]


def let_go() -> CallModel:
    """A client that let go of its turn, was answered, and sends nothing."""
    call = CallModel().greeted()
    call.says("hello")
    call.releases()
    call.agent_says("Hello.")
    call.plays()
    call.decide()
    return call


def test_who_let_go_and_sends_nothing_is_not_prompted() -> None:
    call = let_go()
    for _ in range(6):
        call.measure(frames=40)
        call.pass_time(5000)
    assert call.count("reply.started") == 2


def test_who_sends_audio_again_and_says_nothing_is_prompted() -> None:
    call = let_go()
    call.measure(frames=40)
    call.pass_time(5000)
    call.measure(frames=290)
    call.pass_time(9000)
    assert call.last("reply.started").why == "prompt"


def test_a_timer_that_rang_as_the_turn_was_let_go_of_prompts_nobody() -> None:
    call = let_go()
    call.ring_late("silence", call.now)
    assert call.decide() == []


# Text, and an end


def test_typed_text_is_a_turn() -> None:
    call = CallModel().greeted()
    assert types_of(call.types("what do i have")) == ["turn.taken", "reply.started"]
    assert (call.last("turn.taken").kind, call.last("turn.taken").text) == ("text", "what do i have")


def test_typed_text_interrupts_as_speech_does() -> None:
    call = speaking()
    assert types_of(call.types("stop")) == ["reply.interrupted"]
    call.clears(0, 500)
    assert types_of(call.decide()) == ["reply.finished", "turn.taken", "reply.started"]


def test_a_wish_to_hang_up_ends_the_call() -> None:
    call = speaking()
    call.request("hang_up")
    call.decide()
    assert call.last("call.ended").reason == "request"
