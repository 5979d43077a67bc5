"""Whether a call lives: its streams, its silences, its end and its seal."""

from __future__ import annotations

import pytest

from schema.call import CallEnded, CallReported, CallStarted, CallTransferred, RequestMade
from schema.failure import WorkFailed
from schema.stream import StreamDegraded, StreamOpened
from tests.support.workers import CALL, CallModel, types_of
from workers import lifecycle
from workers.lifecycle import TERMINAL, LifeRules
from workers.talk import Seal

MINUTE_MS = 60_000


def test_a_call_nobody_opens_a_stream_for_ends_after_its_grace() -> None:
    call = CallModel()
    call.say(CallStarted(id=call.new_id(), call_id=CALL, channel="twilio"), source="webhook")
    call.decide()
    began = call.now
    call.pass_time(44_000)
    assert call.count("call.ended") == 0
    call.pass_time(1_100)
    assert call.last("call.ended").reason == "grace_over"
    assert call.last("timer.rang").due - began <= 45_000
    assert call.names()[-1] == "call.sealed"
    assert call.last("call.sealed").complete


def test_a_stop_is_a_hang_up() -> None:
    call = CallModel().greeted()
    call.close("stop")
    assert types_of(call.decide()) == ["call.ended"]
    assert call.last("call.ended").reason == "caller_hung_up"
    assert call.last("call.ended").duration_ms > 0


def test_a_bare_socket_close_only_starts_the_grace() -> None:
    call = CallModel().greeted()
    call.close("peer_lost")
    assert call.decide() == []
    call.pass_time(30_000)
    call.open("MZ2")
    call.decide()
    for frames in range(12):
        call.measure(frames, "MZ2")
        call.pass_time(5_000)
    assert call.count("call.ended") == 0


def test_grace_is_counted_from_the_last_stream_that_closed() -> None:
    call = CallModel().greeted()
    call.close("peer_lost")
    call.pass_time(40_000)
    call.open("MZ2")
    call.decide()
    call.close("peer_lost", "MZ2")
    call.pass_time(44_000)
    assert call.count("call.ended") == 0
    call.pass_time(2_000)
    assert call.last("call.ended").reason == "grace_over"


def _wish_to_transfer(call: CallModel) -> None:
    call.say(RequestMade(id=call.new_id(), call_id=CALL, kind="transfer", to="+15550100003"), source="wish")


def test_a_stop_while_a_transfer_is_owed_is_no_hang_up() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    call.close("stop")
    assert call.decide() == []
    call.say(CallTransferred(id=call.new_id(), call_id=CALL, to="+15550100003"), role="conversation")
    call.decide()
    assert call.last("call.ended").reason == "transferred"


def test_a_stop_after_a_transfer_that_nobody_can_do_is_a_hang_up() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    failed = WorkFailed(id=call.new_id(), call_id=CALL, stage="transfer", code="no_carrier", message="none")
    call.say(failed, role="conversation")
    call.close("stop")
    call.decide()
    assert call.last("call.ended").reason == "caller_hung_up"


def _transfer_fails(call: CallModel, code: str = "carrier_refused", cause: str = "") -> None:
    failed = WorkFailed(id=call.new_id(), call_id=CALL, stage="transfer", code=code, message="no", cause=cause)
    call.say(failed, role="conversation")


def test_a_stop_before_a_transfer_that_failed_was_a_hang_up() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    call.close("stop")
    assert call.decide() == []
    _transfer_fails(call, cause=call.last("request.made").id)
    call.decide()
    assert call.last("call.ended").reason == "caller_hung_up"


def test_a_call_the_carrier_does_not_know_any_more_was_hung_up() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    _transfer_fails(call, "call_over")
    call.decide()
    assert call.last("call.ended").reason == "caller_hung_up"


def test_an_earlier_wish_that_failed_leaves_the_later_one_owed() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    first = call.last("request.made").id
    _wish_to_transfer(call)
    _transfer_fails(call, cause=first)
    assert call.state.life.transfer_owed is not None
    _transfer_fails(call, cause=call.last("request.made").id)
    assert call.state.life.transfer_owed is None


def test_who_may_be_connected_elsewhere_is_not_hung_up_on_before_the_carrier_was_asked() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    call.close("stop")
    call.pass_time(50_000)
    assert call.count("call.ended") == 0
    call.adopt()  # its owner died, and the next one asks again
    call.pass_time(59_000)
    assert call.count("call.ended") == 0
    call.pass_time(2_000)
    assert call.last("call.ended").reason == "grace_over"


def test_a_line_lost_while_a_transfer_failed_has_its_grace_from_then_on() -> None:
    call = CallModel().greeted()
    _wish_to_transfer(call)
    call.close("peer_lost")
    call.pass_time(30_000)
    _transfer_fails(call)
    call.pass_time(44_000)
    assert call.count("call.ended") == 0
    call.pass_time(2_000)
    assert call.last("call.ended").reason == "grace_over"


def test_a_stop_after_a_transfer_is_no_hang_up() -> None:
    call = CallModel().greeted()
    call.say(CallTransferred(id=call.new_id(), call_id=CALL, to="+15550100003"), role="conversation")
    assert types_of(call.decide()) == ["call.ended"]
    call.close("stop")
    call.decide()
    assert call.last("call.ended").reason == "transferred"
    assert call.count("call.ended") == 1


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_terminal_status_of_the_carrier_ends_the_call(status: str) -> None:
    call = CallModel().greeted()
    call.say(CallReported(id=call.new_id(), call_id=CALL, status=status), source=CALL)
    call.decide()
    assert call.last("call.ended").reason == ("caller_hung_up" if status == "completed" else f"carrier_{status}")


@pytest.mark.parametrize("status", ["queued", "ringing", "in-progress"])
def test_other_statuses_end_nothing(status: str) -> None:
    call = CallModel().greeted()
    call.say(CallReported(id=call.new_id(), call_id=CALL, status=status), source=CALL)
    assert call.decide() == []


def test_a_person_can_hang_up_a_call() -> None:
    call = CallModel().greeted()
    call.request("hang_up")
    assert types_of(call.decide()) == ["call.ended"]
    assert call.last("call.ended").reason == "request"


def test_a_line_that_sends_nothing_for_five_minutes_is_idle() -> None:
    call = CallModel({"silence": {"after_ms": 10 * MINUTE_MS}}).greeted()
    for _ in range(70):
        call.measure(0)
        call.pass_time(5_000)
    assert call.last("call.ended").reason == "idle"


def test_silence_with_frames_is_not_idle() -> None:
    call = CallModel({"silence": {"after_ms": 60 * MINUTE_MS}}).greeted()
    for number in range(1, 80):
        call.measure(number * 250)
        call.pass_time(5_000)
    assert call.count("call.ended") == 0


def test_a_key_keeps_a_line_from_being_idle() -> None:
    call = CallModel({"silence": {"after_ms": 60 * MINUTE_MS}}).greeted()
    for _ in range(48):
        call.measure(0)
        call.pass_time(5_000)
    call.presses("1")
    call.ring()
    call.agent_says("One.")
    call.plays()
    call.decide()
    for _ in range(48):
        call.measure(0)
        call.pass_time(5_000)
    assert call.count("call.ended") == 0


def test_no_call_is_longer_than_the_longest() -> None:
    call = CallModel({"silence": {"after_ms": 99 * MINUTE_MS}}, LifeRules(longest_ms=2 * MINUTE_MS)).greeted()
    for number in range(1, 30):
        call.measure(number * 250)
        call.pass_time(5_000)
    assert call.last("call.ended").reason == "too_long"


def test_a_stream_closed_for_its_length_ends_the_call() -> None:
    call = CallModel().greeted()
    call.close("too_long")
    call.decide()
    assert call.last("call.ended").reason == "too_long"


def test_the_later_stream_wins() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    assert "stream.superseded" in types_of(call.decide())
    superseded = call.last("stream.superseded")
    assert (superseded.stream, superseded.by) == ("MZ1", "MZ2")
    assert call.state.life.line is not None and call.state.life.line.id == "MZ2"


def test_a_superseded_stream_that_stops_ends_nothing() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    call.decide()
    call.close("stop", "MZ1")
    assert call.decide() == []


def test_an_older_stream_never_speaks_again_even_if_the_later_one_was_gone_at_once() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    call.close("peer_lost", "MZ2")
    call.decide()
    assert call.last("stream.superseded").stream == "MZ1"
    assert call.state.life.line is None
    call.close("superseded", "MZ1")
    for number in range(1, 12):
        call.measure(number * 250)
        call.pass_time(5_000)
    assert call.last("call.ended").reason == "grace_over"


def test_a_process_that_reports_nothing_has_lost_its_stream() -> None:
    call = CallModel().greeted()
    call.pass_time(14_900)
    assert call.count("stream.lost") == 0
    call.pass_time(200)
    assert call.last("stream.lost").stream == "MZ1"
    assert call.state.life.line is None and call.talk.stream == ""
    call.pass_time(45_000)
    assert call.last("call.ended").reason == "grace_over"


def test_a_process_that_measures_keeps_its_stream() -> None:
    call = CallModel().greeted()
    for _ in range(20):
        call.pass_time(5_000)
        call.measure(0)
    assert call.count("stream.lost") == 0


def test_a_call_is_sealed_complete_when_every_stream_was_heard() -> None:
    call = CallModel().greeted()
    call.close("stop")
    call.decide()
    assert call.count("call.sealed") == 0
    call.heard()
    call.decide()
    assert (call.last("call.sealed").complete, call.last("call.sealed").unheard) == (True, ())


def test_a_stream_heard_only_in_part_is_named_in_the_seal() -> None:
    call = CallModel().greeted()
    call.close("stop")
    call.heard(complete=False)
    call.decide()
    assert (call.last("call.sealed").complete, call.last("call.sealed").unheard) == (False, ("MZ1",))


def test_a_call_is_sealed_ten_minutes_after_its_end_whoever_was_not_heard() -> None:
    call = CallModel().greeted()
    call.close("stop")
    call.decide()
    call.pass_time(10 * MINUTE_MS - 10)
    assert call.count("call.sealed") == 0
    call.pass_time(20)
    assert (call.last("call.sealed").complete, call.last("call.sealed").unheard) == (False, ("MZ1",))


def test_a_seal_waits_for_every_stream() -> None:
    call = CallModel().greeted()
    call.open("MZ2")
    call.decide()
    call.close("stop", "MZ2")
    call.heard("MZ2")
    call.decide()
    assert call.count("call.sealed") == 0
    call.close("superseded", "MZ1")
    call.heard("MZ1")
    call.decide()
    assert call.last("call.sealed").complete


def test_a_call_is_not_sealed_before_its_end_was_read_back() -> None:
    call = CallModel().greeted()
    call.close("stop")
    call.heard()
    ended = CallEnded(id="end", call_id=CALL, reason="caller_hung_up")
    ahead = lifecycle.fold(call.state.life, ended, 0, call.now)
    assert not any(isinstance(decision, Seal) for decision in lifecycle.owed(ahead))
    read = lifecycle.fold(call.state.life, ended, 99, call.now)
    assert lifecycle.owed(read) == (Seal(True, ()),)


def test_after_the_seal_nothing_is_owed() -> None:
    call = CallModel().greeted()
    call.close("stop")
    call.heard()
    call.decide()
    assert call.decide() == []
    assert call.waits() == ()


def test_a_call_ends_for_one_reason_only() -> None:
    call = CallModel().greeted()
    call.request("hang_up")
    call.close("stop")
    call.decide()
    assert call.count("call.ended") == 1
    assert call.last("call.ended").reason == "request"


def test_a_timer_that_rang_for_a_reason_that_is_gone_ends_nothing() -> None:
    call = CallModel().greeted()
    call.close("peer_lost")
    call.decide()
    grace = next(wait for wait in call.waits() if wait.name == "grace")
    call.open("MZ2")
    call.now = grace.until
    call.ring_late("grace", grace.until)
    assert "call.ended" not in types_of(call.decide())


def test_a_stream_is_spoken_to_in_the_format_it_declares_for_that() -> None:
    told = {"id": "o", "call_id": CALL, "stream": "s", "door": "browser", "mailbox": 1}
    same = StreamOpened(encoding="opus", sample_rate=16_000, **told)
    other = StreamOpened(encoding="opus", sample_rate=48_000, out_encoding="pcm16", out_sample_rate=24_000, **told)
    for opened, expected in ((same, ("opus", 16_000, 1, 0)), (other, ("pcm16", 24_000, 1, 0))):
        line = lifecycle.fold(lifecycle.Life(), opened, 1, 1).lines["s"]
        assert (line.encoding, line.sample_rate, line.channels, line.packet_ms) == expected


def test_a_degraded_line_is_known_as_one() -> None:
    call = CallModel().greeted()
    stream_id = next(iter(call.state.life.lines))
    degraded = StreamDegraded(id=call.new_id(), call_id=CALL, stream=stream_id, loss=0.2)
    assert lifecycle.fold(call.state.life, degraded, 1, 1).lines[stream_id].degraded
