"""A Socket.IO connection as a session wants its websocket: events go through as frames."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from aiohttp import WSMessage, WSMsgType

from ingest.dialects.base import Wire

NORMAL, ABNORMAL = 1000, 1006  # close codes of RFC 6455, 7.4.1
CLOSED = WSMessage(WSMsgType.CLOSED, None, None)
CLOSING = WSMessage(WSMsgType.CLOSING, None, None)
# Events that wait to be read; whoever brings one more waits, and with it the connection.
MOST_WAITING = 500


class Carrier(Protocol):
    """One connection, as Socket.IO has it."""

    async def emit(self, frame: Wire) -> None:
        """Returns once the connection has room for more. Raises ConnectionError."""

    async def leave(self, code: int, reason: str) -> None:
        """Say so, and disconnect."""

    def unsent_bytes(self) -> int:
        """What was written and not yet taken."""

    def abort(self) -> None:
        """End it at once; nothing is waited for."""


class Pipe:
    """One connection's."""

    def __init__(self, carrier: Carrier) -> None:
        self.close_code: int | None = None
        self._carrier = carrier
        self._waiting: deque[WSMessage] = deque()
        self._news = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_gone = False
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Nothing more is taken or sent."""
        return self._is_gone or self._is_closed

    async def give(self, frame: Wire) -> bool:
        """An event of the peer's. Waits while too many are unread; False: nobody reads any more."""
        await self._has_room.wait()
        if self.is_over:
            return False
        kind = WSMsgType.TEXT if isinstance(frame, str) else WSMsgType.BINARY
        self._waiting.append(WSMessage(kind, frame, None))
        if len(self._waiting) >= MOST_WAITING:
            self._has_room.clear()
        self._news.set()
        return True

    def unread(self, *messages: WSMessage) -> None:
        """They are read again, before all others."""
        self._waiting.extendleft(reversed(messages))
        self._news.set()

    def lose(self, code: int) -> None:
        """The connection is gone. What came before is read before that."""
        if self._is_gone:
            return
        self._is_gone = True
        if not self._is_closed:
            self.close_code = code
            self._waiting.append(CLOSED if code == ABNORMAL else WSMessage(WSMsgType.CLOSE, code, None))
        self._has_room.set()
        self._news.set()

    async def receive(self) -> WSMessage:
        while not self._waiting:
            if self.is_over:
                return CLOSED
            self._news.clear()
            await self._news.wait()
        message = self._waiting.popleft()
        if len(self._waiting) < MOST_WAITING // 2:
            self._has_room.set()
        return message

    async def send_str(self, frame: str) -> None:
        await self._send(frame)

    async def send_bytes(self, frame: bytes) -> None:
        await self._send(frame)

    async def _send(self, frame: Wire) -> None:
        if self.is_over:
            raise ConnectionResetError("the connection is gone")
        await self._carrier.emit(frame)

    async def ping(self, payload: bytes) -> None:
        """Engine.IO has a heartbeat of its own."""

    async def pong(self, payload: bytes) -> None:
        """As `ping`."""

    async def close(self, *, code: int = NORMAL, message: bytes = b"") -> bool:
        if self.is_over:
            return False
        self._is_closed = True
        self.close_code = code
        self._waiting.append(CLOSING)
        self._has_room.set()
        self._news.set()
        await self._carrier.leave(code, message.decode(errors="replace"))
        return True


class PipeTransport:
    """What a session asks of the connection under its socket."""

    def __init__(self, pipe: Pipe, carrier: Carrier) -> None:
        self._pipe = pipe
        self._carrier = carrier
        self._is_closing = False

    def get_write_buffer_size(self) -> int:
        return self._carrier.unsent_bytes()

    def is_closing(self) -> bool:
        return self._is_closing or self._pipe.is_over

    def write(self, data: bytes) -> None:
        """A raw close frame for a peer that does not read: it would not read it."""

    def close(self) -> None:
        self._is_closing = True
        self.abort()

    def abort(self) -> None:
        self._carrier.abort()
        self._pipe.lose(ABNORMAL)
