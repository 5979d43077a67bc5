"""A socket between a caller and a door: messages in order, each after the line's latency, none after its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from calltape.simulation.process import Process, world_context

WishKind = Literal["say", "hang_up", "pause", "resume", "transfer"]
NORMAL, ABNORMAL = 1000, 1006  # close codes of RFC 6455, 7.4.1


@dataclass(frozen=True, slots=True)
class Text:
    """Text frames that arrive together, as the carrier's dialect writes them."""

    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """Words instead of speech: the carrier has none for it."""

    text: str


@dataclass(frozen=True, slots=True)
class Released:
    """The client's turn is over."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The client wants the reply to stop: a wish on the stream's own socket."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A request by its id; it comes through a door as any other fact of a person."""

    id: str
    kind: WishKind
    text: str = ""
    to: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """A close frame, or (1006) the end of a connection without one."""

    code: int = NORMAL
    reason: str = ""


Message = Text | Typed | Released | Interrupted | Wish | Close


class Socket:
    """One connection. Each end sets what receives; what the door gets runs inside the door's process."""

    def __init__(
        self, name: str, call_id: str, begins: bool, door: Process, latency_s: float, user_id: str = ""
    ) -> None:
        self.name = name  # the caller's own name for the stream
        self.call_id = call_id
        self.begins = begins  # nobody else says that the call begins
        self.user_id = user_id  # whose token opened it
        self.at_door: Callable[[Message], None] = _deaf
        self.at_caller: Callable[[Message], None] = _deaf
        self.is_cut = False
        self.unsent_bytes = 0  # written by the door since the line was cut
        self.door_name = door.name
        self.ws: Any = None  # the door's end of it
        self._door = door
        self._latency_s = latency_s
        self._world = world_context()
        # A timer says when, these say what: timers of one moment may ring in any order, a socket's bytes may not.
        self._for_door: deque[Message] = deque()
        self._for_caller: deque[Message] = deque()

    def to_door(self, message: Message) -> None:
        self._for_door.append(message)
        loop = asyncio.get_running_loop()
        loop.call_later(self._latency_s, self._arrive_at_door, context=self._door.context)

    def to_caller(self, message: Message) -> None:
        if self.is_cut:
            self.unsent_bytes += sum(map(len, message.frames)) if isinstance(message, Text) else 4
            return
        self._for_caller.append(message)
        asyncio.get_running_loop().call_later(self._latency_s, self._arrive_at_caller, context=self._world)

    def cut(self) -> None:
        """The network is gone: nobody is told."""
        self.is_cut = True

    def _arrive_at_door(self) -> None:
        message = self._for_door.popleft()
        if not self.is_cut or isinstance(message, Close):
            self.at_door(message)

    def _arrive_at_caller(self) -> None:
        message = self._for_caller.popleft()
        if not self.is_cut:
            self.at_caller(message)


def _deaf(message: Message) -> None:
    return None
