"""What a playlist asks of its socket and tells the log; values, made by it and done by others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """Audio to be written now, some samples or one packet, and the mark behind it."""

    payload: bytes
    mark: str
    reply: str
    sentence: int
    offset_ms: int
    follows: bool  # plays right behind the audio written before


@dataclass(frozen=True, slots=True)
class Clear:
    """The peer shall throw away what it has not played."""


@dataclass(frozen=True, slots=True)
class Started:
    reply: str
    sentence: int
    waited_ms: int
    offset_ms: int


@dataclass(frozen=True, slots=True)
class Marked:
    reply: str
    sentence: int
    heard_ms: int
    last: bool
    estimated: bool = False
    ago_ms: int = 0  # so long ago the caller had heard that much


@dataclass(frozen=True, slots=True)
class Cleared:
    reply: str
    sentence: int
    heard_ms: int
    estimated: bool
    ago_ms: int = 0


Act = Write | Clear | Started | Marked | Cleared
