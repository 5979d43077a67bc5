"""A socket between a caller and a door: messages in order, each after the line's latency, none after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from calltape.simulation.process import Process, world_context

WishKind = Literal["say", "hang_up", "pause", "resume"]


@dataclass(frozen=True, slots=True)
class Frames:
    """20 ms of audio each; `ms` is the stream's clock at the first."""

    ms: int
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Audio:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """To the caller: say so when you have played up to here. Back: I have."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


@dataclass(frozen=True, slots=True)
class Key:
    digit: str


@dataclass(frozen=True, slots=True)
class Typed:
    text: str


@dataclass(frozen=True, slots=True)
class Released:
    """The client's turn is over."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A request by its id; it comes through a door as any other fact of a person."""

    id: str
    kind: WishKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """The end of the socket, with its reason."""

    reason: str


Message = Frames | Audio | Mark | Clear | Key | Typed | Released | Wish | Close


class Socket:
    """One connection. Each end sets what receives; what the door gets runs inside the door's process."""

    def __init__(self, stream: str, call_id: str, begins: bool, door: Process, latency_s: float) -> None:
        self.stream = stream
        self.call_id = call_id
        self.begins = begins  # an app's or a webhook's start says that the call begins
        self.at_door: Callable[[Message], None] = _deaf
        self.at_caller: Callable[[Message], None] = _deaf
        self.is_cut = False
        self.door_name = door.name
        self._door = door
        self._latency_s = latency_s
        self._world = world_context()

    def to_door(self, message: Message) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._latency_s, self._arrive_at_door, message, context=self._door.context)

    def to_caller(self, message: Message) -> None:
        if not self.is_cut:
            loop = asyncio.get_running_loop()
            loop.call_later(self._latency_s, self._arrive_at_caller, message, context=self._world)

    def cut(self) -> None:
        """The network is gone: nobody is told."""
        self.is_cut = True

    def _arrive_at_door(self, message: Message) -> None:
        if not self.is_cut or isinstance(message, Close):
            self.at_door(message)

    def _arrive_at_caller(self, message: Message) -> None:
        if not self.is_cut:
            self.at_caller(message)


def _deaf(message: Message) -> None:
    return None
