"""Tools check what they are given and are found by name."""

from __future__ import annotations

import pytest

from workers.profiles import load_profile
from workers.tools.items import KINDS, ListItems, SaveItem
from workers.tools.port import ToolError
from workers.tools.registry import tools_named


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
