"""The JSON Schema of every event, generated from its struct, with what may never change about one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from schema.envelope import Event
from schema.registry import EVENTS, UPCASTS, Upcast

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Words for people: changing them changes no event.
PROSE = frozenset({"description", "title"})


def version_of(name: str, upcasts: Mapping[tuple[str, int], Upcast] = UPCASTS) -> int:
    """The version this code writes: one more than the steps that lead to it."""
    return 1 + sum(1 for of, _ in upcasts if of == name)


def schema_of(event: type[Event]) -> Schema:
    """One event's schema. `x-private` marks what belongs to a person, `x-version` the version that is written."""
    name = str(event.__struct_config__.tag)
    (body,), components = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    definitions = dict(components)
    own = definitions.pop(str(body["$ref"]).rsplit("/", 1)[1])
    schema = {
        "$schema": DIALECT,
        "title": name,
        "description": " ".join((event.__doc__ or "").split()),
        "x-version": version_of(name),
        **{key: value for key, value in own.items() if key not in PROSE},
        "$defs": definitions,
    }
    # As it reads from its file: tuples are lists there.
    written: Schema = msgspec.json.decode(msgspec.json.encode(schema))
    return written


def schemas() -> dict[str, Schema]:
    """Every event's schema by its wire name."""
    return {name: schema_of(event) for name, event in EVENTS.items()}


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """Why events written under `old` or read by its readers would break under `new`; empty when they would not.

    A new version with its upcast step may change anything. Otherwise a field may only be added, with a default.
    """
    if new["x-version"] > old["x-version"]:
        return []
    found = _compare_fields("", old, new)
    for name, definition in old.get("$defs", {}).items():
        if name in new.get("$defs", {}):
            found += _compare_fields(f"{name}.", definition, new["$defs"][name])
    return found


def _compare_fields(prefix: str, old: Schema, new: Schema) -> list[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    found = [f"{prefix}{name} was removed" for name in before if name not in after]
    found += [
        f"{prefix}{name} changed from {_plain(before[name])} to {_plain(after[name])}"
        for name in before
        if name in after and _plain(before[name]) != _plain(after[name])
    ]
    was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
    found += [f"{prefix}{name} is required now" for name in sorted(is_required - was_required)]
    found += [f"{prefix}{name} may be absent now" for name in sorted(was_required - is_required) if name in after]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if key not in PROSE}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
