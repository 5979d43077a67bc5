"""How far each stream of a call was heard, as its events say."""

from __future__ import annotations

from schema.call import CallSealed, CallStarted, ProfileUsed
from schema.envelope import AnyEvent
from schema.speech import StreamHeard, TranscriptSettled
from schema.stream import StreamClosed, StreamLost, StreamOpened
from tests.support.hearing import LoudDetector, ToldEngine
from workers.hearing import HearingDesk, HearingRole, HearingState, fold

CALL = "CA1"
DESK = HearingDesk(stt=ToldEngine(), detector=lambda rate: LoudDetector(), new_id=lambda: "id")


def told(*events: AnyEvent) -> HearingState:
    state = HearingState()
    for event in events:
        state = fold(state, event)
    return state


def opened(stream: str = "MZ1", media_end: int = 50) -> StreamOpened:
    return StreamOpened(id="o", call_id=CALL, stream=stream, door="twilio", mailbox=1, media_end=media_end)


def settled(through_ms: int, position: int) -> TranscriptSettled:
    return TranscriptSettled(
        id="t",
        call_id=CALL,
        stream="MZ1",
        text="yes",
        start_ms=0,
        end_ms=0,
        through_ms=through_ms,
        through_position=position,
    )


def test_a_stream_is_heard_from_the_end_media_had_when_it_opened() -> None:
    assert told(opened()).streams["MZ1"].media_from == 50


def test_settled_words_move_the_place_to_hear_on_from() -> None:
    heard = told(opened(), settled(700, 85)).streams["MZ1"]
    assert (heard.through_ms, heard.media_from) == (700, 85)


def test_a_stream_opened_twice_keeps_its_place() -> None:
    heard = told(opened(), settled(700, 85), opened(media_end=99)).streams["MZ1"]
    assert (heard.through_ms, heard.media_from) == (700, 85)


def test_words_on_a_stream_nobody_opened_are_nothing() -> None:
    assert told(settled(700, 85)).streams == {}


def test_closed_and_lost_streams_are_gone() -> None:
    closed = StreamClosed(id="c", call_id=CALL, stream="MZ1", reason="stop", last_sequence=40)
    assert told(opened(), closed).streams["MZ1"].last_sequence == 40
    assert told(opened(), closed).streams["MZ1"].gone
    assert told(opened(), StreamLost(id="l", call_id=CALL, stream="MZ1")).streams["MZ1"].gone


def test_hearing_is_over_when_the_call_is_sealed_and_every_gone_stream_was_heard() -> None:
    role = HearingRole(DESK)
    closed = StreamClosed(id="c", call_id=CALL, stream="MZ1", reason="stop")
    seal = CallSealed(id="s", call_id=CALL, complete=True)
    heard = StreamHeard(id="h", call_id=CALL, stream="MZ1")
    assert not role.is_over(told(opened(), closed, heard))
    assert not role.is_over(told(opened(), closed, seal))
    assert role.is_over(told(opened(), closed, heard, seal))


def test_a_new_life_of_a_call_begins_without_streams() -> None:
    used = ProfileUsed(id="p", call_id=CALL, hash="h", body={})
    assert told(used, opened(), CallStarted(id="n", call_id=CALL, channel="twilio")) == HearingState()
