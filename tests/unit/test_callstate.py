"""What the streams of a call are told, and for how long it is kept."""

from __future__ import annotations

from eventlog.memory import MemoryLog
from eventlog.port import Entry
from schema.envelope import type_of
from schema.outbox import OutboxFact
from schema.registry import decode, unpack_outbox
from schema.stream import StreamDegraded, StreamMeasured
from schema.turn import AgentChanged, ReplySentence
from tests.support.workers import CALL, SENTENCE_MS, CallModel
from workers.appender import Appender
from workers.callstate import MOST_FACTS, missed
from workers.callstate_facts import Fact
from workers.outbound import Outbound


class Mail(Appender):
    """What reaches the mailboxes, in order."""

    def __init__(self) -> None:
        super().__init__(MemoryLog(now=lambda: 0))
        self.facts: list[OutboxFact] = []

    def put(self, topic: str, entry: Entry) -> int:
        message = unpack_outbox(entry.value)
        assert isinstance(message, OutboxFact)
        self.facts.append(message)
        return 0


def told(call: CallModel, fact: Fact) -> list[str]:
    mail = Mail()
    Outbound(mail).fact(call.state, fact)
    return [message.stream for message in mail.facts]


def test_what_dialects_can_say_is_kept_in_the_order_of_the_log() -> None:
    call = CallModel().greeted()
    kept = [type_of(fact.event) for fact in call.state.facts]
    assert kept[:4] == ["call.started", "call.adopted", "stream.opened", "reply.started"]
    assert "profile.used" not in kept and "playback.marked" not in kept
    positions = [fact.position for fact in call.state.facts]
    assert positions == sorted(positions)


def test_what_a_stream_has_taken_is_forgotten() -> None:
    call = CallModel().greeted()
    through = call.state.facts[2].position
    measured = StreamMeasured(id=call.new_id(), call_id=CALL, stream="MZ1", outbox_through=through)
    call.say(measured, source="MZ1")
    assert call.state.facts[0].position > through


def test_what_an_older_stream_has_taken_counts_no_more() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    kept = len(call.state.facts)
    measured = StreamMeasured(id=call.new_id(), call_id=CALL, stream="MZ1", outbox_through=9_999)
    call.say(measured, source="MZ1")
    assert len(call.state.facts) == kept


def test_facts_nobody_takes_are_bounded() -> None:
    call = CallModel().greeted()
    for _ in range(MOST_FACTS):
        call.starts_speaking()
        call.stops_speaking()
    assert len(call.state.facts) == MOST_FACTS


def test_facts_go_to_the_stream_that_speaks_for_the_call() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    call.decide()
    assert told(call, call.state.facts[0]) == ["MZ2"]


def test_a_superseded_stream_is_told_itself() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    call.decide()
    fact = next(fact for fact in call.state.facts if type_of(fact.event) == "stream.superseded")
    assert told(call, fact) == ["MZ1"]


def test_everybody_who_may_hold_a_socket_is_told_the_end() -> None:
    call = CallModel().greeted()
    call.pass_time(16_000)
    assert call.count("stream.lost") == 1
    call.open("MZ2")
    call.decide()
    call.open("MZ3")
    call.decide()
    call.close("superseded", "MZ2")
    call.request("hang_up")
    call.decide()
    assert call.state.ended is not None
    assert told(call, call.state.ended) == ["MZ1", "MZ3"]


def test_a_call_without_a_stream_tells_nobody() -> None:
    call = CallModel().greeted()
    call.close("peer_lost")
    assert told(call, call.state.facts[0]) == []


def test_a_fact_travels_as_it_is_on_the_log() -> None:
    call = CallModel().greeted()
    mail = Mail()
    fact = call.state.facts[-1]
    Outbound(mail).fact(call.state, fact)
    assert decode(mail.facts[0].body) == fact.event
    assert mail.facts[0].position == fact.position


# What a stream that opens in the middle is told


def confirm(call: CallModel, stream: str = "MZ1") -> None:
    """The stream has taken everything so far."""
    measured = StreamMeasured(id=call.new_id(), call_id=CALL, stream=stream, outbox_through=len(call.events))
    call.say(measured, source=stream)
    assert not call.state.facts


def stands(call: CallModel) -> list[str]:
    return [type_of(fact.event) for fact in missed(call.state)]


def test_of_a_confirmed_call_only_stands_who_answers() -> None:
    call = CallModel().greeted()
    confirm(call)
    assert stands(call) == ["call.started", "reply.started", "reply.finished"]


def test_of_an_open_reply_stand_its_turn_and_the_sentences_not_heard() -> None:
    call = CallModel().greeted()
    call.says("what can you do", complete=True)
    call.agent_says("First.", "Second.")
    call.starts_playing(0)
    call.marks(0, SENTENCE_MS, last=True)
    confirm(call)
    told = [fact.event for fact in missed(call.state)]
    assert stands(call) == ["call.started", "turn.taken", "reply.started", "reply.sentence", "reply.composed"]
    assert [event.text for event in told if isinstance(event, ReplySentence)] == ["Second."]


def test_after_a_hand_over_stands_the_agent_that_has_the_call() -> None:
    call = CallModel().greeted()
    call.says("an estimate please", complete=True)
    call.hand_over("hero/estimate")
    call.agent_says("I will connect you.")
    call.plays()
    confirm(call)
    call.decide()
    confirm(call)
    assert stands(call)[-1] == "reply.started"
    changed = next(fact.event for fact in missed(call.state) if isinstance(fact.event, AgentChanged))
    assert changed.agent == "hero/estimate"


def test_a_tool_stands_until_its_answer_begins() -> None:
    call = CallModel().greeted()
    call.says("make a note", complete=True)
    tool = call.call_tool()
    call.agent_says()
    call.decide()
    confirm(call)
    assert stands(call) == ["call.started", "turn.taken", "reply.started", "tool.called", "reply.finished"]
    call.return_tool(tool.id)
    confirm(call)
    assert stands(call)[-2:] == ["reply.finished", "tool.returned"]
    call.decide()
    confirm(call)
    assert stands(call) == ["call.started", "turn.taken", "reply.started"]


def test_nothing_of_a_call_that_has_ended_stands() -> None:
    call = CallModel().greeted()
    call.request("hang_up")
    call.decide()
    assert call.state.standing == ()


def test_what_was_not_confirmed_is_told_after_what_stands_and_once() -> None:
    call = CallModel().greeted()
    call.says("what can you do", complete=True)
    confirm(call)
    call.agent_says("First.")
    call.close("peer_lost")
    call.open("MZ2")
    positions = [fact.position for fact in missed(call.state)]
    assert positions == sorted(set(positions))
    assert stands(call) == [
        *["call.started", "turn.taken", "reply.started"],
        *["reply.sentence", "reply.composed", "stream.opened"],
    ]


def test_the_quality_of_a_stream_is_its_own() -> None:
    call = CallModel().greeted()
    degraded = StreamDegraded(id=call.new_id(), call_id=CALL, stream="MZ1", ping_ms=1_500, loss=0.0)
    call.say(degraded, source="MZ1")
    call.open("MZ2")
    fact = next(fact for fact in call.state.facts if isinstance(fact.event, StreamDegraded))
    assert told(call, fact) == ["MZ1"]
