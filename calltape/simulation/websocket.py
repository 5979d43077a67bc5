"""The door's end of a socket, with as much of aiohttp's `WebSocketResponse` as a session uses."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import WSMessage, WSMsgType

from calltape.simulation.socket import ABNORMAL, Close, Socket, Text

CLOSE_S = 3.0  # for the peer's half of the closing handshake
CLOSED = WSMessage(WSMsgType.CLOSED, None, None)
CLOSING = WSMessage(WSMsgType.CLOSING, None, None)


class WebSocket:
    """One session's. What was received before a close is received before it here, too."""

    def __init__(self, wire: Socket) -> None:
        self.close_code: int | None = None
        self._wire = wire
        self._incoming: deque[WSMessage] = deque()
        self._news = asyncio.Event()
        self._is_closed = False
        self._is_gone = asyncio.Event()  # nothing more can come

    def arrive(self, message: Text | Close) -> None:
        """From the wire."""
        if self._is_gone.is_set():
            return
        if isinstance(message, Text):
            if not self._is_closed:
                self._incoming.extend(WSMessage(WSMsgType.TEXT, frame, None) for frame in message.frames)
        else:
            self._end(message.code)
        self._news.set()

    def lose(self) -> None:
        """The connection is gone from our side."""
        if not self._is_gone.is_set():
            self._end(ABNORMAL)
            self._news.set()

    async def receive(self) -> WSMessage:
        while not self._incoming:
            if self._is_closed or self._is_gone.is_set():
                return CLOSED
            self._news.clear()
            await self._news.wait()
        return self._incoming.popleft()

    async def send_str(self, frame: str) -> None:
        if self._is_closed or self._is_gone.is_set():
            raise ConnectionResetError("Cannot write to closing transport")
        self._wire.to_caller(Text((frame,)))

    async def send_bytes(self, frame: bytes) -> None:
        raise ConnectionError("the carrier understands no binary frame")

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        """Say so, and wait for the peer's half; without it the close is an abnormal one."""
        if self._is_closed or self._is_gone.is_set():
            return False
        self._is_closed = True
        self._wire.to_caller(Close(code, message.decode()))
        self._incoming.append(CLOSING)
        self._news.set()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._is_gone.wait()
        except TimeoutError:
            self._end(ABNORMAL)
        return True

    def _end(self, code: int) -> None:
        self.close_code = code
        self._is_gone.set()
        if not self._is_closed:
            kind = WSMsgType.CLOSED if code == ABNORMAL else WSMsgType.CLOSE
            self._incoming.append(WSMessage(kind, None if code == ABNORMAL else code, None))


class Transport:
    """What a session asks of the connection under its socket: how much of what it wrote nobody took."""

    def __init__(self, wire: Socket, ws: WebSocket) -> None:
        self._wire = wire
        self._ws = ws
        self._is_closing = False

    def get_write_buffer_size(self) -> int:
        return self._wire.unsent_bytes

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes) -> None:
        self._wire.unsent_bytes += len(data)

    def close(self) -> None:
        """What is buffered is sent first: never, on a line that is cut."""
        self._is_closing = True
        if not self._wire.unsent_bytes:
            self._ws.lose()

    def abort(self) -> None:
        self._is_closing = True
        self._ws.lose()
