"""A websocket client protocol stripped to what a load generator needs: complete text frames at least cost."""

import asyncio
import base64
import struct
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_HANDSHAKE_LIMIT = 16 * 1024
_HANDSHAKE_S = 10.0
# A mask of zeros is a legal mask under which the payload stays as it is: frames can be made without a pass over them.
_NO_MASK = b"\0\0\0\0"


class HandshakeError(ConnectionError):
    """The server did not upgrade; `status` is its HTTP status, 0 if it closed or spoke something else."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """One final client frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, 0x80 | size) + _NO_MASK + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 0xFE, size) + _NO_MASK + payload
    return struct.pack("!BBQ", 0x80 | opcode, 0xFF, size) + _NO_MASK + payload


def take_frames(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take every complete server frame out of a buffer, as (opcode, payload)."""
    frames: list[tuple[int, bytes]] = []
    at, available = 0, len(buffer)
    while available - at >= 2:
        size, head = buffer[at + 1] & 0x7F, 2
        if size == 126:
            if available - at < 4:
                break
            size, head = struct.unpack_from("!H", buffer, at + 2)[0], 4
        elif size == 127:
            if available - at < 10:
                break
            size, head = struct.unpack_from("!Q", buffer, at + 2)[0], 10
        if available - at < head + size:
            break
        frames.append((buffer[at] & 0x0F, bytes(buffer[at + head : at + head + size])))
        at += head + size
    del buffer[:at]
    return frames


class RawSocket(asyncio.Protocol):
    """One websocket; `receive` gets every text message, on the loop, as it arrives."""

    def __init__(self, request: bytes, receive: Callable[[bytes], None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.paused = False
        self._request = request
        self._receive = receive
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done() and not self._upgraded():
            return
        for opcode, payload in take_frames(self._buffer):
            if opcode == _TEXT:
                self._receive(payload)
            elif opcode == _PING:
                self.write(frame(payload, _PONG))
            elif opcode == _CLOSE:
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(HandshakeError(f"closed during the handshake ({exc!r})", 0))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def close(self) -> None:
        """Say goodbye and close; what is buffered is still sent."""
        if self._transport is not None and not self.closed:
            self._transport.write(frame(struct.pack("!H", 1000), _CLOSE))
            self._transport.close()
        self.closed = True

    def _upgraded(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 and len(self._buffer) < _HANDSHAKE_LIMIT:
            return False
        status = bytes(self._buffer[:12]).split(b" ")[-1]
        if end < 0 or status != b"101":
            code = int(status) if status.isdigit() else 0
            self.opened.set_exception(HandshakeError(f"HTTP {code} instead of an upgrade", code))
            self.closed = True
            assert self._transport is not None
            self._transport.close()
            return False
        del self._buffer[: end + 4]
        self.opened.set_result(None)
        return True


async def connect(url: str, headers: dict[str, str], key: bytes, receive: Callable[[bytes], None]) -> RawSocket:
    """Open a websocket. key: 16 bytes for the handshake. Raises HandshakeError or OSError."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    lines = [
        f"GET {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: RawSocket(request, receive),
        parts.hostname or "",
        parts.port or (443 if secure else 80),
        ssl=secure or None,
    )
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            await socket.opened
    except TimeoutError as error:
        socket.close()
        raise HandshakeError(f"no upgrade within {_HANDSHAKE_S:.0f} s", 0) from error
    return socket
