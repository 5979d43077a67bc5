"""The words of the house: each event's schema, its page, and a mark on whatever is a person's."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest

from calltape.catalogue import events_page
from calltape.generate import broken_promises, pages
from schema.envelope import Event
from schema.jsonschema import Schema, schemas, version_of
from schema.registry import EVENTS
from tests.house.tree import ROOT
from tests.support.events import an_event

SCHEMAS = schemas()
# Fields of these names hold a person's words, numbers or names wherever they stand.
PERSONAL = frozenset(
    {
        "text", "from", "to", "digit", "title", "summary", "assignee", "by", "alternatives", "arguments", "result",
        "parameters", "words", "name_of_caller", "history", "notes", "caller", "number", "email", "phone", "transcript",
    }
)  # fmt: skip
# (event, field): the same name with another meaning.
NOT_PERSONAL = {
    ("stream.superseded", "by"): "the id of a stream",
    ("action.found", "number"): "counts the actions of a revision",
}


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_says_what_it_means(name: str) -> None:
    assert EVENTS[name].__doc__ and EVENTS[name].__doc__ != Event.__doc__


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_event_is_written_in_the_version_its_upcasts_lead_to(name: str) -> None:
    assert an_event(name).version == version_of(name), "give the struct `version: int = N`"


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_what_is_a_persons_is_marked(name: str) -> None:
    unmarked = [
        field
        for field, schema in _text_fields(SCHEMAS[name])
        if field in PERSONAL and (name, field) not in NOT_PERSONAL and not _is_marked(schema)
    ]
    assert unmarked == [], "type it Private[...]"


def _text_fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    for owner in (schema, *(each for key, each in schema["$defs"].items() if key != "Sealed")):
        yield from ((field, _resolved(body, schema)) for field, body in owner.get("properties", {}).items())


def _resolved(body: Schema, schema: Schema) -> Schema:
    """A list of structs stands for the fields of the struct, which are judged by themselves."""
    if "$ref" in body.get("items", {}):
        return {"x-private": True}
    return body


def _is_marked(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    return bool(body.get("x-private")) or any(_is_marked(body.get(key)) for key in ("items", "additionalProperties"))


def test_ids_and_positions_are_never_private() -> None:
    for name, schema in SCHEMAS.items():
        marked = {field for field, body in schema["properties"].items() if _is_marked(body)}
        assert not marked & {"id", "call_id", "tenant_id", "stream", "reply", "source", "cause"}, name


def test_what_is_generated_is_up_to_date() -> None:
    stale = [name for name, text in pages().items() if not _same(name, text)]
    assert stale == [], "run `make generate`"


def _same(name: str, text: str) -> bool:
    path = ROOT / name
    return path.exists() and path.read_text(encoding="utf-8") == text


def test_no_kept_schema_is_broken() -> None:
    assert list(broken_promises()) == []


def test_a_removed_event_would_be_noticed(tmp_path: Any) -> None:
    kept = tmp_path / "schema" / "json"
    kept.mkdir(parents=True)
    (kept / "moon.risen.json").write_text(json.dumps(SCHEMAS["call.sealed"]), encoding="utf-8")
    assert list(broken_promises(tmp_path)) == ["moon.risen: the event was removed; logs still hold it"]


def test_every_event_has_its_place_in_the_reference() -> None:
    page = events_page()
    assert [name for name in EVENTS if f"### `{name}`" not in page] == []


def test_events_are_declared_in_their_nouns_modules_only() -> None:
    declared = {
        str(keyword.value.value)
        for path in sorted((ROOT / "schema").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Event" for base in node.bases)
        for keyword in node.keywords
        if keyword.arg == "tag" and isinstance(keyword.value, ast.Constant)
    }
    assert declared == set(EVENTS), "add the new module to MODULES in schema/registry.py"
