"""Writes what is generated from code: the JSON Schemas of events and scripts, and the reference pages of `docs/`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from calltape.__main__ import verbs
from calltape.catalogue import commands_page, events_page, settings_page
from clients.script import script_schema
from schema.jsonschema import Schema, incompatibilities, schemas

ROOT = Path(__file__).parent.parent


def pages() -> dict[str, str]:
    """Path below the repository → text, of everything generated."""
    found = {f"schema/json/{name}.json": _text(schema) for name, schema in schemas().items()}
    found["docs/events.md"] = events_page()
    found["docs/operating/settings.md"] = settings_page()
    found["docs/operating/commands.md"] = commands_page(verbs())
    found["docs/guides/script.schema.json"] = _text(script_schema())
    return found


def broken_promises(root: Path = ROOT) -> Iterator[str]:
    """Incompatible changes to the schemas kept below `root`: events already on logs, readers already running."""
    now = schemas()
    for path in sorted((root / "schema" / "json").glob("*.json")):
        old = json.loads(path.read_text(encoding="utf-8"))
        if path.stem not in now:
            yield f"{path.stem}: the event was removed; logs still hold it"
            continue
        yield from (f"{path.stem}: {why}" for why in incompatibilities(old, now[path.stem]))


def main() -> int:
    broken = list(broken_promises())
    if broken:
        advice = "Give the field a new name with a default, or raise the version with an upcast step (CONTRIBUTING.md)."
        sys.stderr.write("\n".join([*broken, advice, ""]))
        return 1
    for name, text in pages().items():
        _write(ROOT / name, text)
    return 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _text(schema: Schema | Mapping[str, object]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
