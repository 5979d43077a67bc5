"""What the streams of a call are told, and for how long it is kept."""

from __future__ import annotations

from eventlog.memory import MemoryLog
from eventlog.port import Entry
from schema.envelope import type_of
from schema.outbox import OutboxFact
from schema.registry import decode, unpack_outbox
from schema.stream import StreamMeasured
from tests.support.workers import CALL, CallModel
from workers.appender import Appender
from workers.callstate import MOST_FACTS, Fact
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
    assert kept[:3] == ["call.started", "call.adopted", "reply.started"]
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
