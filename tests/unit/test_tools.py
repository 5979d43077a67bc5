"""Tools check what they are given and are found by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.envelope import Event
from schema.private import plain
from schema.turn import ToolReturned
from workers import talk
from workers.profiles import load_profile
from workers.tools.items import KINDS, ListItems, SaveItem
from workers.tools.port import Tool, ToolCall, ToolError
from workers.tools.registry import tools_named
from workers.toolwork import CUT, LONGEST_MESSAGE, MOST_RESULT_BYTES, run_tool


async def test_an_item_is_saved_with_its_moment() -> None:
    arguments = {"kind": "reminder", "title": "call the dentist", "due": "2026-11-22T09:00", "due_said": "tomorrow"}
    result = await SaveItem().run(arguments, "key")
    assert result == {"saved": "call the dentist", "kind": "reminder", "due": "2026-11-22T09:00"}
    assert await SaveItem().run(arguments, "key") == result


async def test_a_moment_that_is_none_is_left_open() -> None:
    result = await SaveItem().run({"kind": "note", "title": "x", "due": "some day"}, "key")
    assert result["due"] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "poem", "title": "x"}, "kind is one of"),
        ({"kind": "note", "title": "  "}, "no title"),
        ({"kind": "note", "title": "x", "colour": "red"}, "takes no colour"),
        ({"kind": "note", "title": "x" * 501}, "longer than 500"),
    ],
)
async def test_what_cannot_be_kept_is_refused_for_good(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ToolError, match=message) as refused:
        await SaveItem().run(arguments, "key")
    assert not refused.value.retryable


async def test_listing_takes_nothing() -> None:
    assert await ListItems().run({}, "key")
    with pytest.raises(ToolError):
        await ListItems().run({"kind": "note"}, "key")


def test_the_shipped_profiles_tools_exist_and_its_kinds_are_known() -> None:
    profile = load_profile("notes")
    assert set(tools_named(profile.tools)) == set(profile.tools)
    kinds = {intent.tool.arguments["kind"] for intent in profile.intents if intent.tool}
    assert kinds <= set(KINDS)


def test_an_unknown_tool_is_named() -> None:
    with pytest.raises(ToolError, match="no tool is called fly"):
        tools_named(["fly"])


class Told:
    """A tool that gives back, or fails with, what it was told."""

    name = "told"
    description = ""
    parameters: Mapping[str, Any] = {}

    def __init__(self, result: Any) -> None:
        self.result = result

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        if isinstance(self.result, Exception):
            raise self.result
        return dict(self.result)


async def returned(result: Any) -> tuple[str, dict[str, str], str]:
    """Status, result and message of the fact that says what came of it."""
    said: list[Event] = []
    tool: Tool = Told(result)
    called = talk.Tool("key", "reply", "told", {}, False, 1)
    await run_tool(tool, called, call=ToolCall("call"), new_id=lambda: "id", emit=said.append)
    (event,) = said
    assert isinstance(event, ToolReturned)
    return event.status, {name: plain(text) for name, text in event.result.items()}, event.message


async def test_a_result_of_any_usual_size_is_told_as_it_is() -> None:
    result = {"text": "x" * 60_000, "title": "a page"}
    assert await returned(result) == ("ok", result, "")


async def test_a_result_too_large_to_be_a_fact_is_cut_and_says_so() -> None:
    status, result, message = await returned({"title": "a page", "text": "\U0001f600" * 500_000, "more": "y"})
    assert status == "ok", "what the tool did is done"
    assert list(result) == ["title", "text"]
    assert result["title"] == "a page"
    assert result["text"].endswith("\U0001f600" + CUT)
    assert message == "its result of 2,000,020 bytes was cut to 65,536"


async def test_what_is_no_text_is_no_result() -> None:
    assert await returned({"count": 3}) == ("failed", {}, "told broke: AttributeError")


async def test_a_tool_that_fails_at_length_is_told_of_in_short() -> None:
    status, _, message = await returned(ToolError("x" * 2_000_000))
    assert (status, len(message)) == ("failed", LONGEST_MESSAGE)


LENGTHS = st.integers(0, 40_000)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.tuples(st.sampled_from("aé\U0001f600"), LENGTHS), max_size=6))
async def test_no_result_is_larger_than_is_said(shape: dict[str, tuple[str, int]]) -> None:
    given_back = {name: letter * length for name, (letter, length) in shape.items()}
    status, result, message = await returned(given_back)
    assert status == "ok"
    assert sum(len(text.encode()) for field in result.items() for text in field) <= MOST_RESULT_BYTES
    assert all(given_back[name].startswith(text.removesuffix(CUT)) for name, text in result.items())
    assert (result == given_back) is (message == "")
