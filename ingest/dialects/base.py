"""What a wire protocol is to us: frames in, meanings out; meanings in, frames out; no I/O, no clock of its own.

A dialect never raises for what a peer sends, and everything it says is exactly what its protocol allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from schema.envelope import AnyEvent

Wire = str | bytes


@dataclass(frozen=True, slots=True)
class Began:
    """The peer said who it is. A carrier names its call, an app its session; either may be empty where nobody
    insists on one."""

    call_id: str = ""
    account: str = ""
    peer_stream: str = ""  # the peer's own name for the stream
    token: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    session: str = ""
    agent: str = ""  # wished for; empty: the door's
    language: str = ""
    history: tuple[tuple[Literal["caller", "agent"], str], ...] = field(default=(), repr=False)  # (speaker, text)
    encoding: str = "mulaw"
    sample_rate: int = 8000  # Hz
    channels: int = 1
    out_encoding: str = ""  # what goes out, where it differs; empty and 0: as `schema.stream.StreamOpened` has it
    out_sample_rate: int = 0
    out_channels: int = 0
    out_packet_ms: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """The peer has started; the format of its audio has still to show."""


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
class Typed:
    """Words instead of speech."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Released:
    """The peer's turn is over, whatever the line sounds like."""


@dataclass(frozen=True, slots=True)
class Wished:
    """The peer wants something done with the call."""

    kind: Literal["interrupt", "pause", "resume", "hang_up"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the peer measured of the wire."""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the protocol answers by itself."""

    frames: tuple[Wire, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Bad input that the peer is told of; the session goes on. Counted under `kind`."""

    code: str
    message: str
    kind: str


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


Said = (
    Began
    | Named
    | Frame
    | Repeated
    | Digit
    | MarkEchoed
    | Typed
    | Released
    | Wished
    | Figures
    | Answer
    | Problem
    | Ended
    | Ignored
    | Violation
)


HANG_UP = Wished("hang_up")
_CHEAP = frozenset({Repeated, MarkEchoed, Figures, Ended, Ignored, Violation})


def is_cheap(said: Said) -> bool:
    """Heeded at any rate: what comes in excess pushes out no end, no hang-up and no echo. However often these come,
    they leave no more on the record than one hang-up, one end and the marks we sent."""
    return type(said) in _CHEAP or said == HANG_UP


class Dialect(Protocol):
    """One socket's protocol. The peer's formats are known once it has Begun."""

    door: str

    def greet(self) -> tuple[Said, ...]:
        """What is said, or begun, as soon as the socket is open."""

    def opened(self) -> tuple[Wire, ...]:
        """What is said once the stream it Began is on the log."""

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        """What a frame means. Never raises. A binary frame is `bytes`, a text frame `str`."""

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        """What the protocol says of a fact; nothing if it has no words for it. Besides what the outbox carries, the
        stream's own `playback.*` come here: `playback.started` right before the first audio of its sentence."""

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        """An error in the protocol's words; nothing if it has none."""

    def audio(self, payload: bytes) -> Wire:
        """One message of audio in the format that goes out: some samples, or exactly one Opus packet; never empty."""

    def mark(self, name: str) -> Wire | None:
        """A request to be told when everything before it was played; None where the protocol has none."""

    def clear(self) -> Wire | None:
        """An order to throw away what was sent and not yet played; None where the protocol has none."""

    def close_code(self, reason: str) -> int:
        """The code to close with for one of `schema.stream.StreamClosed`'s reasons."""
