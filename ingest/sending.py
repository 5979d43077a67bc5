"""What one socket still has to send: a bounded queue and the one task that writes it; a slow peer waits alone."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

from ingest.dialects.base import Wire


class Sender:
    """`put` and `close` never wait. After `close` nothing more is put."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._ws = ws
        self._transport = transport
        self._queue: deque[Wire] = deque()
        self._ping: bytes | None = None
        self._queued_bytes = 0
        self._news = asyncio.Event()
        self._close: tuple[int, str] | None = None
        self._stuck_since: int | None = None
        self._stuck_bytes = 0

    def put(self, frame: Wire) -> None:
        if self._close is not None:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        self._news.set()

    def ping(self, payload: bytes) -> None:
        """A websocket ping, behind what waits."""
        self._ping = payload
        self._news.set()

    def close(self, code: int, reason: str) -> None:
        """Send what waits, then close. Only the first call counts."""
        if self._close is None:
            self._close = (code, reason)
            self._news.set()

    @property
    def closing(self) -> bool:
        return self._close is not None

    @property
    def close_code(self) -> int:
        """The code we close with; 0 while we do not."""
        return self._close[0] if self._close is not None else 0

    @property
    def unsent_bytes(self) -> int:
        transport = self._transport
        in_transport = transport.get_write_buffer_size() if transport and not transport.is_closing() else 0
        return self._queued_bytes + in_transport

    def stalled_ms(self, now: int) -> int:
        """How long nothing of what waits was read by the peer. Asked a few times a second."""
        unsent = self.unsent_bytes
        if unsent == 0 or self._stuck_since is None or unsent < self._stuck_bytes:
            self._stuck_since = now if unsent else None
        self._stuck_bytes = unsent
        return now - self._stuck_since if self._stuck_since is not None else 0

    def cut_off(self, code: int) -> None:
        """Close a peer that does not read: the code goes behind what is stuck, nothing is waited for."""
        self._close = (code, "")
        self._queue.clear()
        self._queued_bytes = 0
        if self._transport is not None and not self._transport.is_closing():
            # A whole close frame (RFC 6455, 5.5.1): FIN and opcode 8, two bytes of payload.
            self._transport.write(b"\x88\x02" + code.to_bytes(2, "big"))
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Until closed or the socket is gone."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._write_queue()
                await self._write_ping()
                if self._close is not None:
                    code, reason = self._close
                    await self._ws.close(code=code, message=reason.encode()[:120])
                    return
            except (ConnectionError, RuntimeError):
                return  # the reader sees the same end and says so

    async def _write_ping(self) -> None:
        if self._ping is not None:
            payload, self._ping = self._ping, None
            await self._ws.ping(payload)

    async def _write_queue(self) -> None:
        while self._queue:
            frame = self._queue.popleft()
            self._queued_bytes -= len(frame)
            if isinstance(frame, str):
                await self._ws.send_str(frame)
            else:
                await self._ws.send_bytes(frame)
