"""The tools calltape has, by the name a profile calls them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workers.tools.items import ListItems, SaveItem
from workers.tools.port import Tool, ToolError

SHIPPED: tuple[Tool, ...] = (SaveItem(), ListItems())


def tools_by_name(further: Iterable[Tool] = ()) -> Mapping[str, Tool]:
    """Every tool there is."""
    return {tool.name: tool for tool in (*SHIPPED, *further)}


def tools_named(names: Iterable[str], further: Iterable[Tool] = ()) -> Mapping[str, Tool]:
    """The tools of a profile. Raises ToolError when one does not exist."""
    known = tools_by_name(further)
    wanted = tuple(names)
    if unknown := sorted(set(wanted) - set(known)):
        raise ToolError(f"no tool is called {', '.join(unknown)}: there are {', '.join(sorted(known))}")
    return {name: known[name] for name in wanted}
