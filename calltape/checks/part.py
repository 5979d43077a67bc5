"""One answer of `calltape check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """`name` is stable: `docs/guides/troubleshooting.md` has a section of that name.

    `fix` says what to do; it is empty when there is nothing: a part that is ok may still deserve a warning.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def good(name: str, detail: str) -> Part:
    return Part(name, True, detail)


def warned(name: str, detail: str, fix: str) -> Part:
    """It works, and something about it is hardly meant."""
    return Part(name, True, detail, fix)


def bad(name: str, detail: str, fix: str) -> Part:
    return Part(name, False, detail, fix)
