"""However much a caller says, a turn takes no more than a fact may hold; the rest is the next turn's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.port import MAX_VALUE_BYTES
from schema.private import plain
from schema.registry import encode
from schema.turn import ReplyStarted, TurnTaken
from tests.support.workers import CALL, CallModel
from workers import callstate
from workers.drafting import draft
from workers.talk import Talk, Utterance
from workers.turns import MOST_TURN_BYTES, MOST_UTTERANCES, fold

EMOJI = "\U0001f600"


def typed_in_a_pause(*texts: str, body: dict[str, object] | None = None) -> CallModel:
    """A greeted caller who said nothing but this, and goes on now."""
    call = CallModel(body).greeted()
    call.request("pause")
    for text in texts:
        assert call.types(text) == []
    call.request("resume")
    return call


def hears_all_out(call: CallModel) -> CallModel:
    """Decides until nothing is owed; each reply that is not talked over is spoken and heard."""
    for _ in range(400):
        if decisions := callstate.owed(call.state)[0]:
            said = draft(decisions[0], call.state, new_id=call.new_id, now=call.now, made_by=None)
            call.say(said, role="conversation")
        elif call.talk.reply is not None:
            call.agent_says("Yes.")
            call.plays()
        else:
            return call
    raise AssertionError(f"decides for ever: {call.names()[-8:]}")


def turns(call: CallModel) -> list[TurnTaken]:
    return [event for event in call.events if isinstance(event, TurnTaken)]


def taken(call: CallModel) -> list[str]:
    return [name for turn in turns(call) for name in turn.utterances]


def typed(call: CallModel) -> list[str]:
    return [event.id for event, name in zip(call.events, call.names(), strict=True) if name == "text.typed"]


def test_what_was_typed_in_a_pause_is_taken_in_turns_that_fit_on_the_log() -> None:
    texts = [f"{number} {EMOJI * 3990}" for number in range(75)]
    call = hears_all_out(typed_in_a_pause(*texts))
    assert max(len(encode(turn)) for turn in turns(call)) < MAX_VALUE_BYTES / 2
    assert taken(call) == typed(call), "nothing is lost, and nothing is said twice"
    assert " ".join(plain(turn.text) for turn in turns(call)) == " ".join(texts)
    assert (call.talk.said, call.talk.turn) == ((), None)


def test_the_last_of_them_is_answered_to_its_end() -> None:
    call = hears_all_out(typed_in_a_pause(*["x" * 4_000] * 40))
    assert len(turns(call)) > 2
    assert call.last("reply.started").in_answer_to == turns(call)[-1].id
    assert not call.last("reply.finished").interrupted


def test_a_turn_of_many_short_words_is_bounded_too() -> None:
    call = hears_all_out(typed_in_a_pause(*["a"] * (MOST_UTTERANCES + 20)))
    assert [len(turn.utterances) for turn in turns(call)] == [MOST_UTTERANCES, 20]
    assert taken(call) == typed(call)


def test_a_few_words_are_one_turn_as_ever() -> None:
    call = hears_all_out(typed_in_a_pause("make", "a note"))
    assert [plain(turn.text) for turn in turns(call)] == ["make a note"]
    assert taken(call) == typed(call)


def test_a_text_larger_than_a_turn_is_one_by_itself() -> None:
    call = hears_all_out(typed_in_a_pause("before", "x" * (MOST_TURN_BYTES + 1), "after"))
    assert [turn.utterances for turn in turns(call)] == [(name,) for name in typed(call)]


def test_a_turn_is_of_the_kind_of_what_it_took() -> None:
    call = CallModel().greeted()
    call.request("pause")
    call.types("x" * MOST_TURN_BYTES)
    for digit in "12#":
        call.presses(digit)
    call.request("resume")
    hears_all_out(call)
    assert [turn.kind for turn in turns(call)] == ["text", "dtmf"]
    assert plain(turns(call)[1].text) == "12#"


def test_spoken_words_behind_a_full_turn_are_not_left_over() -> None:
    call = CallModel().greeted()
    call.request("pause")
    for _ in range(3):
        call.says("x" * 40_000)
    call.request("resume")
    hears_all_out(call)
    assert [len(turn.utterances) for turn in turns(call)] == [1, 1, 1]
    assert call.talk.said == ()


def test_who_may_not_be_interrupted_answers_each_part() -> None:
    call = hears_all_out(typed_in_a_pause(*["x" * 4_000] * 40, body={"interruption": {"allowed": False}}))
    answered = [event.in_answer_to for event in call.events if isinstance(event, ReplyStarted) and event.why == "turn"]
    assert answered == [turn.id for turn in turns(call)]
    assert call.count("reply.interrupted") == 0


def test_a_turn_that_took_everything_leaves_nothing_however_much_it_was() -> None:
    """As versions wrote it that knew no bound."""
    said = tuple(Utterance(f"u{number}", "x" * 4_000, "text", number) for number in range(600))
    whole = TurnTaken(id="t", call_id=CALL, utterances=tuple(each.id for each in said), text="all", kind="text")
    assert fold(Talk(said=said), whole, 1, 1).said == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, MOST_TURN_BYTES + 10), max_size=30))
def test_whatever_is_typed_is_taken_once_and_in_order(sizes: list[int]) -> None:
    call = hears_all_out(typed_in_a_pause(*("x" * size for size in sizes)))
    assert taken(call) == typed(call)
    for turn in turns(call):
        assert len(plain(turn.text).encode()) <= MOST_TURN_BYTES or len(turn.utterances) == 1
