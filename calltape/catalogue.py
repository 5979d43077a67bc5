"""Renders the reference pages that are generated from code: events, settings and commands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from calltape.settings import Settings, environment_name
from schema import media
from schema.envelope import Event
from schema.jsonschema import Schema, schema_of
from schema.registry import MODULES
from schema.topics import TOPICS

GENERATED = "<!-- Written by `make generate`; change the code, not this page. -->"
_COMMENTED = re.compile(r"^    (\w+):.*?  # (.+)$")


@dataclass(frozen=True, slots=True)
class Option:
    """One argument or option of a command."""

    name: str
    help: str


@dataclass(frozen=True, slots=True)
class Verb:
    """One command as a reader of the reference sees it."""

    name: str
    help: str
    options: tuple[Option, ...]


def events_page() -> str:
    """Every event with its fields, types, defaults and units."""
    parts = [GENERATED, "# Events", _EVENTS_OPENING, _topics(), "## The envelope", _envelope()]
    for module in MODULES:
        parts += [f"## {module.__name__.rsplit('.', 1)[1]}", (module.__doc__ or "").strip()]
        parts += [_event(event) for event in _declared_in(module)]
    parts += ["## media", (media.__doc__ or "").strip(), "Travels as msgpack; `payload` is raw bytes.", _media()]
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """Every setting with its default."""
    rows = [
        f"| `{environment_name(name)}` | {_setting_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    table = ["| setting | default | what it is |", "|---|---|---|", *rows]
    return "\n\n".join([GENERATED, "# Settings", _SETTINGS_OPENING, "\n".join(table)]) + "\n"


def commands_page(verbs: Iterable[Verb]) -> str:
    """Every command with its options."""
    parts = [GENERATED, "# Commands", _COMMANDS_OPENING]
    for verb in verbs:
        parts += [f"## calltape {verb.name}", verb.help]
        if verb.options:
            rows = [f"| `{option.name}` | {_cell(option.help)} |" for option in verb.options]
            parts.append("\n".join(["| option | what it does |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


_EVENTS_OPENING = """\
One event is one past-tense fact on `calls.events`: flat JSON, fields at their default left out. Fields marked *private*
hold a person's words, numbers or names; on the wire they are the plain value, or `{"key", "sealed"}` where keys are
configured. Readers ignore fields they do not know and keep events of types they do not know. The JSON Schema of each
event is in `schema/json/`. Who is believed, and why `prior` and `sequence` exist: [architecture](architecture.md)."""

_SETTINGS_OPENING = """\
Environment variables, or lines of a `.env` file in the folder calltape is started in; the environment wins. Durations
are seconds, or a number with `ms`, `s`, `m`, `h` or `d`. Lists are comma separated. Twilio's own names
(`TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`, `TWILIO_PHONE_NUMBER`) are read too; in the same place ours win.
`calltape check --json` says what a process makes of them."""

_COMMANDS_OPENING = """\
Every command that prints data prints it as JSON with `--json`. Data goes to stdout, everything else to stderr. The exit
code is 0 only when what the command promises happened."""


def _topics() -> str:
    rows = [
        f"| `{topic.name}` | {topic.key} | {topic.codec} | {_kept(topic.retention_ms)} | {topic.partitions} |"
        for topic in TOPICS.values()
    ]
    return "\n".join(["| topic | key | codec | kept | partitions |", "|---|---|---|---|---|", *rows])


def _kept(retention_ms: int | None) -> str:
    if retention_ms is None:
        return "for ever"
    hours = retention_ms // 3_600_000
    return f"{hours} h" if hours < 24 else f"{hours // 24} days"


def _declared_in(module: ModuleType) -> list[type[Event]]:
    values = vars(module).values()
    return [
        value
        for value in values
        if isinstance(value, type) and issubclass(value, Event) and value.__module__ == module.__name__
    ]


def _envelope() -> str:
    table = _table(Event, schema_of(Event)["properties"], frozenset({"type"}))
    return f"{inspect.getdoc(Event)} `type` is the event's name.\n\n{table}"


def _event(event: type[Event]) -> str:
    schema = schema_of(event)
    skip = frozenset(field.encode_name for field in msgspec.structs.fields(Event)) | {"type"}
    title = f"### `{schema['title']}`"
    version = schema["x-version"]
    heading = title if version == 1 else f"{title} (version {version})"
    parts = [heading, inspect.getdoc(event) or "", _table(event, schema["properties"], skip, schema["$defs"])]
    return "\n\n".join(part for part in parts if part)


def _media() -> str:
    parts = []
    for kind in (media.MediaReceived, media.MediaSpoken):
        (body,), components = msgspec.json.schema_components([kind])
        own = components[str(body["$ref"]).rsplit("/", 1)[1]]
        table = _table(kind, own["properties"], frozenset({"type"}))
        parts += [f"### `{kind.__struct_config__.tag}`", inspect.getdoc(kind) or "", table]
    return "\n\n".join(parts)


def _table(kind: type[Any], properties: Schema, skip: frozenset[str], definitions: Schema | None = None) -> str:
    notes = _notes(kind)
    rows = []
    for name, field in properties.items():
        if name in skip:
            continue
        default = f"`{_json(field['default'])}`" if "default" in field else "required"
        rows.append(f"| `{name}` | {_type(field, definitions or {})} | {default} | {_cell(notes.get(name, ''))} |")
    return "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows]) if rows else ""


def _notes(kind: type[Any]) -> dict[str, str]:
    """The comments beside a struct's fields, its parents' included: that is where units are written."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("schema."):
            matches = (_COMMENTED.match(line) for line in inspect.getsource(owner).splitlines())
            found |= {match[1].rstrip("_"): match[2] for match in matches if match}
    return found


def _type(field: Schema, definitions: Schema) -> str:
    private = " *private*" if field.get("x-private") else ""
    if "anyOf" in field:
        choices = [_type(choice, definitions) for choice in field["anyOf"] if "Sealed" not in choice.get("$ref", "")]
        return " or ".join(choices) + private
    if "$ref" in field:
        return _reference(field["$ref"].rsplit("/", 1)[1], definitions)
    if "enum" in field:
        return " \\| ".join(f"`{_json(value)}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'], definitions) if isinstance(field.get('items'), dict) else 'anything'}"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"map of {_type(inner, definitions)}" if isinstance(inner, dict) and inner else "object"
    kind = "bytes" if "contentEncoding" in field else field.get("type", "anything")
    return str(kind) + private


def _reference(name: str, definitions: Schema) -> str:
    own = definitions.get(name, {})
    inner = [f"{key}: {_type(value, definitions)}" for key, value in own.get("properties", {}).items()]
    return f"{name} ({', '.join(inner)})" if inner else name


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _setting_default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "shown_default" in extra:
        return str(extra["shown_default"])
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "" or value == ():
        return "none"
    if isinstance(value, float):
        return f"`{_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"
