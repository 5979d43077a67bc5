"""python-socketio, made to fit: one namespace, bounded packets, and what of its connections it does not tell itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import socketio
from aiohttp import web
from engineio import payload
from engineio.exceptions import EngineIOError
from socketio import packet

from ingest.dialects.base import Wire
from ingest.dialects.socketio import event_of
from ingest.socketio_polls import SocketioServer

NAMESPACE = "/voice"
PATH = "/socket.io/"
PING_S, PATIENCE_S = 25, 60
# Packets of one POST of long-polling: 16 by default, and what is beyond is lost without a word.
MOST_PACKETS = 500
MOST_ATTACHMENTS = 8
# Packets on their way out of one connection before its writer waits for the peer: more than half a second of audio.
WINDOW = 64

_quiet = logging.getLogger("calltape.socketio")  # the library logs tracebacks for what strangers send
_quiet.setLevel(logging.CRITICAL + 1)


class BoundedPacket(packet.Packet):  # type: ignore[misc]  # the library has no types
    """A packet whose peer cannot make us wait for any number of attachments."""

    def decode(self, encoded_packet: Any) -> int:
        count = int(super().decode(encoded_packet) or 0)
        if count > MOST_ATTACHMENTS:
            raise ValueError(f"{count} attachments are too many")
        return count


def new_server(most_bytes: int) -> socketio.AsyncServer:
    """Events are handled one after the other, in the order they came; a handler that waits holds its peer back."""
    payload.Payload.max_decode_packets = MOST_PACKETS
    return SocketioServer(
        async_mode="aiohttp",
        async_handlers=False,
        namespaces=[NAMESPACE],
        serializer=BoundedPacket,
        # Every request has been asked for its origin before it comes here; this only writes the headers.
        cors_allowed_origins="*",
        cors_credentials=False,
        ping_interval=PING_S,
        ping_timeout=PATIENCE_S,
        max_http_buffer_size=most_bytes,
        logger=_quiet,
        engineio_logger=_quiet,
    )


class Engines:
    """The connections below the namespace, whether or not somebody talks over them."""

    def __init__(self, server: socketio.AsyncServer) -> None:
        self._server = server
        self._transports: dict[str, asyncio.Transport] = {}  # of websockets

    def __iter__(self) -> Iterator[tuple[str, web.Request]]:
        """Each with the request that opened it."""
        for engine, opened in tuple(self._server.environ.items()):
            yield engine, opened["aiohttp.request"]

    def __len__(self) -> int:
        return len(self._server.environ)

    def of_request(self, request: web.Request) -> str:
        """The one it belongs to; empty: none."""
        return request.query.get("sid", "") or next((name for name, opened in self if opened is request), "")

    def of(self, sid: str) -> str:
        """Of a connection to the namespace."""
        return str(self._server.manager.eio_sid_from_sid(sid, NAMESPACE) or "")

    def carries(self, engine: str, transport: asyncio.Transport | None) -> None:
        """It is a websocket from here on."""
        if transport is not None:
            self._transports[engine] = transport

    def unsent_bytes(self, engine: str) -> int:
        transport = self._transports.get(engine)
        return 0 if transport is None or transport.is_closing() else transport.get_write_buffer_size()

    async def send(self, engine: str, frame: Wire) -> None:
        """One event. Raises ConnectionError."""
        socket = self._server.eio.sockets.get(engine)
        if socket is None or socket.closed:
            raise ConnectionResetError("the connection is gone")
        name, value = event_of(frame)
        encoded = self._server.packet_class(packet.EVENT, data=[name, value], namespace=NAMESPACE).encode()
        try:
            for part in encoded if isinstance(encoded, list) else (encoded,):
                await self._server.eio.send(engine, part)
        except EngineIOError as error:
            raise ConnectionResetError("the connection is gone") from error
        if socket.queue.qsize() >= WINDOW:
            await socket.queue.join()

    def abort(self, engine: str) -> None:
        """At once. What it carried learns of it."""
        transport = self._transports.pop(engine, None)
        if transport is not None:
            transport.abort()

    async def end(self, engine: str) -> None:
        """Say so; the peer is not waited for."""
        socket = self._server.eio.sockets.get(engine)
        if socket is not None:
            with suppress(EngineIOError):
                await socket.close(wait=False, reason=self._server.reason.SERVER_DISCONNECT)
            await socket.queue.put(None)  # its writer ends

    def sweep(self) -> None:
        """Requests that wait for something to send to a connection that is closed wait no longer."""
        sockets = self._server.eio.sockets
        for engine, socket in tuple(sockets.items()):
            if socket.closed:
                del sockets[engine]
                self._transports.pop(engine, None)
                socket.queue.put_nowait(None)

    async def left(self, engine: str) -> None:
        """A websocket's request is over: so is the connection, unless it was only a probe of one that polls."""
        socket = self._server.eio.sockets.get(engine)
        if socket is None or socket.upgraded:
            self._transports.pop(engine, None)
            await self.end(engine)


__all__ = ["NAMESPACE", "PATH", "Engines", "new_server"]
