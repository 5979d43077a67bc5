"""The offline summary holds nothing that was not said or done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.engines.extractive import MAX_CITES, Extractive, sentiment
from workers.engines.port import ActionFound, SpokenLine, ToolOutcome
from workers.profiles import load_profile

SUMMARISER = Extractive(load_profile("notes"))


def _line(number: int, text: str, speaker: str = "caller") -> SpokenLine:
    return SpokenLine(f"t{number}", speaker, text)


async def test_what_was_saved_is_an_action_that_cites_its_lines() -> None:
    lines = [_line(1, "remind me to call the dentist tomorrow at nine"), _line(2, "yes"), _line(3, "thank you")]
    tool = ToolOutcome(
        "save_item", {"kind": "reminder", "title": "call the dentist", "due": "2026-11-22T09:00"}, True, ("t1", "t2")
    )
    summary = await SUMMARISER.summarise(lines, [tool])
    assert summary.actions == (ActionFound("call the dentist", "reminder", ("t1", "t2"), "2026-11-22T09:00"),)
    assert summary.text == "One thing was saved. Reminder: call the dentist, 2026-11-22 09:00."
    assert summary.cites == ("t1", "t2")
    assert summary.sentiment == "positive"


async def test_a_wish_that_was_never_confirmed_is_an_action_as_said() -> None:
    summary = await SUMMARISER.summarise([_line(1, "remind me to walk the dog tonight")], [])
    assert summary.actions == (ActionFound("walk the dog", "reminder", ("t1",), "tonight"),)
    assert summary.text.startswith("Nothing was saved, one thing was mentioned but not saved.")


async def test_a_wish_that_was_taken_back_is_none() -> None:
    summary = await SUMMARISER.summarise([_line(1, "send an email to anna"), _line(2, "no")], [])
    assert summary.actions == ()


async def test_a_wish_of_no_turn_is_quoted_and_no_action() -> None:
    line = SpokenLine("t1", "caller", "remind me to walk the dog tonight", taken=False)
    summary = await SUMMARISER.summarise([line], [])
    assert summary.actions == ()
    assert summary.text == "The caller said: remind me to walk the dog tonight."
    assert summary.cites == ("t1",)


async def test_a_tool_that_failed_leaves_the_wish_open() -> None:
    line = _line(1, "make a note to buy milk")
    failed = ToolOutcome("save_item", {"kind": "note", "title": "buy milk"}, False, ("t1",))
    summary = await SUMMARISER.summarise([line], [failed])
    assert [action.title for action in summary.actions] == ["buy milk"]
    assert "not saved" in summary.text


async def test_without_actions_the_callers_own_words_are_quoted() -> None:
    lines = [_line(1, "hello"), _line(2, "my parcel has been broken twice"), _line(3, "Sorry.", "agent")]
    summary = await SUMMARISER.summarise(lines, [])
    assert summary.text == "The caller said: my parcel has been broken twice."
    assert summary.cites == ("t2",)
    assert summary.sentiment == "negative"


async def test_a_silent_call_has_a_summary_too() -> None:
    summary = await SUMMARISER.summarise([_line(1, "Hello?", "agent")], [])
    assert (summary.text, summary.key_points, summary.cites) == ("The caller said nothing that was understood.", (), ())


@pytest.mark.parametrize(
    ("text", "feeling"),
    [
        ("this is great", "positive"),
        ("this is not good", "negative"),
        ("no thank you", "positive"),
        ("tuesday", "neutral"),
    ],
)
def test_feelings_are_counted(text: str, feeling: str) -> None:
    assert sentiment([text]) == feeling


TEXTS = (
    st.sampled_from(["make a note to buy milk", "remind me to walk the dog", "no", "yes", "hello", "help"]) | st.text()
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["caller", "agent"]), TEXTS), max_size=10))
async def test_everything_cites_lines_of_the_caller(said: list[tuple[str, str]]) -> None:
    lines = [_line(number, text, speaker) for number, (speaker, text) in enumerate(said)]
    summary = await SUMMARISER.summarise(lines, [])
    ids = {line.id for line in lines if line.speaker == "caller"}
    assert set(summary.cites) <= ids
    for cites in [point.cites for point in summary.key_points] + [action.cites for action in summary.actions]:
        assert cites
        assert set(cites) <= ids


async def test_a_summary_of_a_call_of_any_length_rests_on_a_few_hundred_lines() -> None:
    lines = [_line(number, "hello") for number in range(MAX_CITES + 5)]
    assert (await SUMMARISER.summarise(lines, [])).cites == tuple(line.id for line in lines[:MAX_CITES])
