"""Characters that steer a terminal or turn a line's direction instead of being read."""

from __future__ import annotations

_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"  # they part words
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # Unicode's Bidi_Control
_C0_AND_C1 = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_LAID_OUT = "\n\t"  # of our own text

_REMOVED: dict[int, str | None] = {ord(char): None for char in _C0_AND_C1 + _BIDI} | {
    ord(char): " " for char in _SPACES
}
# As JSON writes them, so that a JSON document stays one.
_SHOWN = {ord(char): f"\\u{ord(char):04x}" for char in _C0_AND_C1 + _BIDI if char not in _LAID_OUT}


def without_controls(text: str) -> str:
    """The same words: ends of lines and tabs are spaces, other control characters are gone."""
    return text.translate(_REMOVED)


def visible(text: str) -> str:
    """Control characters but line feeds and tabs as `\\uXXXX`: they are seen, and do nothing."""
    return text.translate(_SHOWN)
