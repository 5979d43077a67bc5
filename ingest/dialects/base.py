"""What a wire protocol is to us: frames in, meanings out; meanings in, frames out; no I/O, no clock of its own.

A dialect never raises for what a peer sends, and everything it says is exactly what its protocol allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schema.envelope import AnyEvent

Wire = str | bytes


@dataclass(frozen=True, slots=True)
class Began:
    """The peer said who it is. `call_id` may be empty where nobody insists on one."""

    call_id: str
    account: str
    peer_stream: str  # the peer's own name for the stream
    token: str
    parameters: Mapping[str, str] = field(repr=False)
    encoding: str = "mulaw"
    sample_rate: int = 8000  # Hz
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """Audio. `ms` is the stream's own clock at the first sample; `lost` frames are missing before it."""

    payload: bytes
    ms: int
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Repeated:
    """A frame that came before: dropped."""


@dataclass(frozen=True, slots=True)
class Digit:
    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MarkEchoed:
    name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer said that the stream is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Skipped and counted under `kind`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The session cannot go on: close with `close_code`. `kind` is what it is counted under."""

    close_code: int
    kind: str
    reason: str


Said = Began | Frame | Repeated | Digit | MarkEchoed | Ended | Ignored | Violation


class Dialect(Protocol):
    """One socket's protocol. `bytes_per_ms` and the peer's format are known once it has Begun."""

    door: str

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        """What a frame means. Never raises. A binary frame is `bytes`, a text frame `str`."""

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        """What the protocol says of a fact; nothing if it has no words for it."""

    def audio(self, payload: bytes) -> Wire: ...

    def mark(self, name: str) -> Wire | None:
        """A request to be told when everything before it was played; None where the protocol has none."""

    def clear(self) -> Wire | None:
        """An order to throw away what was sent and not yet played; None where the protocol has none."""

    def close_code(self, reason: str) -> int:
        """The code to close with for one of `schema.stream.StreamClosed`'s reasons."""
