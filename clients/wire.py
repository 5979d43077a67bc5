"""An app door's protocol, seen from the app: values in, values out, no sockets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

APP_RATE = 16_000  # Hz, what apps record


@dataclass(frozen=True, slots=True)
class Speech:
    """Audio of the agent: mono s16le at `sample_rate`; empty where only something ends."""

    sequence: int
    pcm: bytes
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The reply was interrupted: what is queued is not to be played."""


@dataclass(frozen=True, slots=True)
class Named:
    """The server told the name the call has on its log."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Words:
    speaker: str
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of the server's."""

    code: str
    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """The call has ended."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The server broke its protocol."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The protocol wants these frames back at once."""

    frames: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """The server has left without closing the socket, which is no use any more; `code`: as of RFC 6455, 7.4.1."""

    code: int


Meant = Speech | Cut | Named | Words | Trouble | Over | Broken | Answer | Left


class Transcript(list[Words]):
    """A call's lines, each once: who comes back is told again what it may have missed, under the `id` it had."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: set[str] = set()

    def take(self, id_: str, words: Words) -> list[Meant]:
        """What of it is new."""
        if id_ in self._ids:
            return []
        self._ids.add(id_)
        self.append(words)
        return [words]


class Wire(Protocol):
    """One call's protocol, whatever sockets carry it."""

    path: str
    call_id: str  # as the log names it, as far as it is known

    def hello(self) -> Sequence[str | bytes]:
        """What is said on each new socket."""

    def speech(self, pcm: bytes) -> Sequence[str | bytes]:
        """Some milliseconds of mono s16le at APP_RATE."""

    def played(self, sequence: int) -> Sequence[str | bytes]:
        """Everything up to this number was played."""

    def goodbye(self) -> Sequence[str | bytes]:
        """The caller hangs up."""

    def read(self, frame: str | bytes) -> list[Meant]:
        """What a frame of the server means. Never raises."""
