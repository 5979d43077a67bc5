"""What may change about an event, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from schema.jsonschema import Schema, incompatibilities, schemas

SETTLED = schemas()["transcript.settled"]
Change = Callable[[Schema], object]


def changed(change: Change) -> list[str]:
    after = deepcopy(SETTLED)
    change(after)
    return incompatibilities(SETTLED, after)


def add_optional(schema: Schema) -> None:
    schema["properties"]["mood"] = {"type": "string", "default": ""}


def add_required(schema: Schema) -> None:
    add_optional(schema)
    schema["required"].append("mood")


@pytest.mark.parametrize(
    "change",
    [
        add_optional,
        lambda schema: schema.update(description="Other words."),
        lambda schema: schema["properties"]["start_ms"].update(description="where it starts"),
        lambda schema: schema["$defs"].update(Mood={"type": "string"}),
    ],
)
def test_adding_a_field_with_a_default_and_better_words_are_fine(change: Change) -> None:
    assert changed(change) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda schema: schema["properties"].pop("confidence"), "confidence was removed"),
        (lambda schema: schema["properties"]["start_ms"].update(type="number"), "start_ms changed"),
        (lambda schema: schema["properties"]["language"].update(default="en"), "language changed"),
        (lambda schema: schema["properties"]["text"].pop("x-private"), "text changed"),
        (add_required, "mood is required now"),
        (lambda schema: schema["required"].remove("end_ms"), "end_ms may be absent now"),
        (lambda schema: schema["$defs"]["SpokenWord"]["properties"].pop("end_ms"), "SpokenWord.end_ms was removed"),
    ],
)
def test_anything_else_breaks_a_reader_or_an_old_log(change: Change, complaint: str) -> None:
    assert complaint in " ".join(changed(change))


def test_a_new_version_may_change_everything() -> None:
    assert changed(lambda schema: schema.update({"x-version": 2, "properties": {}, "required": []})) == []
