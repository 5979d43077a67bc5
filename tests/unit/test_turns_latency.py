"""How long the caller waited is told with the first reply of the turn that sounds, whoever had to be asked before."""

from __future__ import annotations

from schema.turn import Latency, ReplyFinished
from tests.support.workers import CallModel, types_of


def test_a_reply_for_which_a_tool_was_called_in_silence_tells_the_callers_whole_wait() -> None:
    call = CallModel().greeted()
    silent, spoken = answered_through_a_tool(call, "")
    assert (silent.first_audio, silent.agent, silent.heard) == (None, None, None)
    assert (spoken.endpoint, spoken.stt) == (silent.endpoint, silent.stt)
    assert spoken.first_audio is not None and spoken.endpoint is not None and spoken.agent is not None
    assert spoken.first_audio >= spoken.endpoint + spoken.agent


def test_a_second_tool_in_silence_still_belongs_to_the_wait() -> None:
    call = CallModel().greeted()
    call.says("make a note to buy milk")
    for _ in range(2):
        tool = call.call_tool()
        finished_reply(call, "")
        call.return_tool(tool.id)
        call.decide()
    assert finished_reply(call, "Done.").first_audio is not None


def test_who_was_told_to_wait_had_an_answer_already() -> None:
    call = CallModel().greeted()
    told, spoken = answered_through_a_tool(call, "One moment.")
    assert told.first_audio is not None
    assert (spoken.endpoint, spoken.first_audio) == (None, None)


def test_a_turn_that_was_answered_says_nothing_of_the_next_one() -> None:
    call = CallModel().greeted()
    answered_through_a_tool(call, "")
    call.ring()
    assert call.last("reply.started").why == "prompt"
    assert finished_reply(call, "Are you there?").first_audio is None


def answered_through_a_tool(call: CallModel, first: str) -> tuple[Latency, Latency]:
    """What the reply that called the tool says of its latency, and the one that speaks of what came back."""
    call.says("make a note to buy milk")
    tool = call.call_tool()
    asking = finished_reply(call, first)
    call.return_tool(tool.id)
    assert types_of(call.decide()) == ["reply.started"]
    assert call.last("reply.started").why == "tool"
    return asking, finished_reply(call, "Done.")


def finished_reply(call: CallModel, text: str) -> Latency:
    """The open reply says this and is heard to its end."""
    call.pass_time(40)
    if text:
        call.agent_says(text)
        call.pass_time(60)
        call.plays()
    else:
        call.agent_says(composed=True)
    call.decide()
    finished = call.last("reply.finished")
    assert isinstance(finished, ReplyFinished)
    return finished.latency
