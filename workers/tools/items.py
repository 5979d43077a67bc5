"""Tools that keep what callers want kept: they check it; the log of the call is where it is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from workers.tools.port import ToolError

NOTES = ("reminder", "note", "todo", "meeting", "call", "email", "project", "follow_up", "action_item")
KINDS = (*NOTES, "contact", "estimate", "job", "appointment")
LONGEST = 500  # characters of a title or a name: more is no item but a transcript
ISO = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2})?")
TEXTS = {
    "title": "What it is about, in the caller's words",
    "due": "When, as ISO 8601 local date or time if it is known, else in the caller's words",
    "due_said": "When, in the caller's words",
    "with": "The person it concerns",
    "project": "The project it belongs to",
    "address": "Where it is, as a postal address",
    "phone": "A telephone number",
}


class SaveItem:
    """Keeps one item. Its record is `tool.called` and `tool.returned` on the log, so nothing else is written here."""

    name = "save_item"
    description = "Save one thing the caller wants kept, such as a reminder, an estimate, a job or an appointment."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": list(KINDS)},
            **{name: {"type": "string", "description": text} for name, text in TEXTS.items()},
        },
        "required": ["kind", "title"],
        "additionalProperties": False,
    }

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        if unknown := sorted(set(arguments) - {"kind", *TEXTS}):
            raise ToolError(f"save_item takes no {', '.join(unknown)}: it takes kind, {', '.join(TEXTS)}")
        kind, title = arguments.get("kind", ""), arguments.get("title", "").strip()
        if kind not in KINDS:
            raise ToolError(f"save_item cannot keep a {kind!r}: kind is one of {', '.join(KINDS)}")
        if not title:
            raise ToolError("save_item was given no title: ask the caller what it is about")
        if long := sorted(name for name, text in arguments.items() if len(text) > LONGEST):
            raise ToolError(f"{', '.join(long)} of save_item are longer than {LONGEST} characters: shorten them")
        due = arguments.get("due", "")
        return {"saved": title, "kind": kind, "due": due if ISO.fullmatch(due) else ""}


class ListItems:
    """Tells a language model to read its own history: what a call saved is in the call."""

    name = "list_items"
    description = "Find out what was saved in this call. The answer is the successful save_item calls so far."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        if arguments:
            raise ToolError(f"list_items takes no arguments, not {', '.join(sorted(arguments))}")
        return {"items": "the save_item calls of this conversation that returned ok"}
