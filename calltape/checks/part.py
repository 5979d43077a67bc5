"""One answer of `calltape check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """`name` is stable: `docs/guides/troubleshooting.md` has a section of that name. `fix` is empty when ok."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def good(name: str, detail: str) -> Part:
    return Part(name, True, detail)


def bad(name: str, detail: str, fix: str) -> Part:
    return Part(name, False, detail, fix)
