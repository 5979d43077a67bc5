"""The transcript as it was really heard."""

from __future__ import annotations

from functools import reduce

from schema.envelope import AnyEvent
from schema.speech import TranscriptSettled
from schema.stream import PlaybackCleared, PlaybackMarked, TextTyped
from schema.turn import ReplySentence, ReplyVoiced, ToolCalled, ToolReturned, TurnTaken
from workers.engines.port import SpokenLine, ToolOutcome
from workers.heardlines import HeardLines, fold

CALL = "CA1"
TEXT = "one two three four five"


def told(*events: AnyEvent) -> HeardLines:
    return reduce(fold, events, HeardLines())


def settled(id_: str, text: str) -> AnyEvent:
    return TranscriptSettled(id=id_, call_id=CALL, stream="MZ1", text=text, start_ms=0, end_ms=0, through_ms=0)


def sentence(index: int, text: str = TEXT) -> AnyEvent:
    return ReplySentence(id=f"s{index}", call_id=CALL, reply="r", index=index, text=text)


def voiced(index: int, duration_ms: int = 2300) -> AnyEvent:
    return ReplyVoiced(id="v", call_id=CALL, reply="r", index=index, duration_ms=duration_ms)


def marked(index: int, heard_ms: int, *, last: bool = False) -> AnyEvent:
    return PlaybackMarked(id="m", call_id=CALL, stream="MZ1", reply="r", sentence=index, heard_ms=heard_ms, last=last)


def cleared(index: int, heard_ms: int) -> AnyEvent:
    return PlaybackCleared(id="c", call_id=CALL, stream="MZ1", reply="r", sentence=index, heard_ms=heard_ms)


def test_both_sides_are_in_the_order_of_the_log() -> None:
    lines = told(sentence(0), voiced(0), marked(0, 2300, last=True), settled("u", "hello"))
    assert lines.lines() == (SpokenLine("s0", "agent", TEXT), SpokenLine("u", "caller", "hello", taken=False))


def test_a_cut_sentence_is_cut_to_its_last_heard_word() -> None:
    assert told(sentence(0), voiced(0), cleared(0, 1350)).lines() == (SpokenLine("s0", "agent", "one two three"),)


def test_a_sentence_nobody_heard_is_no_line() -> None:
    assert told(sentence(0), voiced(0), sentence(1), voiced(1), marked(0, 2300, last=True)).lines() == (
        SpokenLine("s0", "agent", TEXT),
    )


def test_a_sentence_that_went_on_after_a_cut_is_whole() -> None:
    lines = told(sentence(0), voiced(0), cleared(0, 900), marked(0, 2300, last=True))
    assert lines.lines() == (SpokenLine("s0", "agent", TEXT),)


def test_a_later_mark_takes_nothing_back() -> None:
    assert told(sentence(0), voiced(0), marked(0, 1350), cleared(0, 200)).lines()[0].text == "one two three"


def test_a_sentence_of_unknown_length_is_cut_by_its_letters() -> None:
    text = told(sentence(0), cleared(0, 600)).lines()[0].text
    assert text and TEXT.startswith(text) and text != TEXT


def test_silence_and_noise_are_no_lines_and_typed_text_is() -> None:
    typed = TextTyped(id="t", call_id=CALL, stream="MZ1", text="buy milk")
    assert told(settled("u", "  "), typed).lines() == (SpokenLine("t", "caller", "buy milk", taken=False),)


def test_only_the_lines_of_a_turn_are_taken() -> None:
    said = told(settled("u1", "make a note"), settled("u2", "to buy milk"), settled("u3", "remind me"))
    taken = fold(said, TurnTaken(id="t", call_id=CALL, utterances=("u1", "u2"), text="make a note to buy milk"))
    assert [(line.id, line.taken) for line in taken.lines()] == [("u1", True), ("u2", True), ("u3", False)]


def test_a_sentence_said_twice_by_two_owners_is_one_line() -> None:
    again = ReplySentence(id="other", call_id=CALL, reply="r", index=0, text="something else")
    assert len(told(sentence(0), again, voiced(0), marked(0, 2300, last=True)).lines()) == 1


def test_a_tool_cites_the_words_it_was_called_for() -> None:
    lines = told(
        settled("u", "note milk"),
        TurnTaken(id="t", call_id=CALL, utterances=("u",), text="note milk"),
        ToolCalled(id="c", call_id=CALL, reply="r", name="save", arguments={"what": "milk"}),
        TurnTaken(id="t2", call_id=CALL, utterances=("u2",), text="and bread"),
        ToolReturned(id="r", call_id=CALL, call="c", status="ok"),
    )
    assert lines.tools == (ToolOutcome("save", {"what": "milk"}, True, ("u",)),)


def test_a_tool_that_failed_is_remembered_as_failed_and_an_open_one_not_at_all() -> None:
    called = ToolCalled(id="c", call_id=CALL, reply="r", name="save")
    failed = ToolReturned(id="r", call_id=CALL, call="c", status="failed")
    assert told(called).tools == ()
    assert [tool.ok for tool in told(called, failed).tools] == [False]
