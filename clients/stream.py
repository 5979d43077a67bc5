"""Holds one media stream's websocket the way the carrier holds it."""

import asyncio
import base64
import json
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from clients.sound import SILENCE

# Ten seconds of frames; a server that does not read for longer loses the oldest, as a line loses sound.
_OUTGOING_LIMIT = 500
# Recorded streams begin at 100 to 170 ms, never at 0.
_FIRST_TIMESTAMP_MS = 120
_DRAIN_S = 2.0
_SILENT_PAYLOADS: dict[int, str] = {}


@dataclass(frozen=True, slots=True)
class StreamIds:
    stream_sid: str
    call_sid: str
    account_sid: str


class MediaStream:
    """Numbers and writes what the carrier says; hands every frame of the server to `receive`.

    Sending never waits: messages are collected and one task writes them in batches.
    """

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, ids: StreamIds) -> None:
        self.ids = ids
        self._socket = websocket
        self._outgoing: deque[tuple[str | bytes, ...]] = deque(maxlen=_OUTGOING_LIMIT)
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._sequence = 0
        self._chunk = 0
        self._timestamp_ms = _FIRST_TIMESTAMP_MS
        self._stopped = False
        self.dropped = False

    def begin(self, parameters: dict[str, str]) -> None:
        """Say `connected` and `start`."""
        self._write('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        start = {
            "accountSid": self.ids.account_sid,
            "streamSid": self.ids.stream_sid,
            "callSid": self.ids.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        }
        self._say("start", json.dumps(start))

    def send_audio(self, frame: bytes) -> None:
        """One frame of the caller's mu-law."""
        self._chunk += 1
        self._say(
            "media",
            f'{{"track":"inbound","chunk":"{self._chunk}","timestamp":"{self._timestamp_ms}",'
            f'"payload":"{_payload(frame)}"}}',
        )
        self._timestamp_ms += len(frame) // 8

    def send_mark(self, name: str) -> None:
        self._say("mark", json.dumps({"name": name}))

    def send_digit(self, digit: str) -> None:
        self._say("dtmf", json.dumps({"track": "inbound_track", "digit": digit}))

    async def run(self, receive: Callable[[str | bytes], None]) -> str:
        """Read until the socket is closed by either end; returns how it ended, for the record."""
        writer = asyncio.create_task(self._write_batches(), name=f"stream {self.ids.stream_sid} writer")
        try:
            return await self._read(receive)
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            await self._socket.close()

    async def _read(self, receive: Callable[[str | bytes], None]) -> str:
        async for message in self._socket:
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                receive(message.data)
        if self.dropped:
            return "network dropped"
        if self._stopped:
            return "closed by the carrier"
        if self._socket.close_code is None or self._socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
            return "connection lost"
        return f"closed {self._socket.close_code}"

    async def finish(self) -> None:
        """The call is over or goes elsewhere: say `stop`, then close."""
        if self._socket.closed:
            return
        self._drained.clear()
        self._say("stop", json.dumps({"accountSid": self.ids.account_sid, "callSid": self.ids.call_sid}))
        self._stopped = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await self._drained.wait()
        await self._socket.close()

    def drop(self) -> None:
        """Break the connection as a cut cable does: no close frame, no `stop`, a reset at the other end."""
        self.dropped = self._stopped = True
        self._outgoing.clear()
        held = self._socket.get_extra_info("socket")
        if held is None:
            return
        # A duplicate, because the loop's own object does not let itself be shut down under uvloop.
        with suppress(OSError), socket.fromfd(held.fileno(), held.family, held.type) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            duplicate.shutdown(socket.SHUT_RDWR)

    def _say(self, event: str, part: str) -> None:
        if self._stopped:
            return
        self._sequence += 1
        self._write(
            f'{{"event":"{event}","sequenceNumber":"{self._sequence}","streamSid":"{self.ids.stream_sid}",'
            f'"{event}":{part}}}'
        )

    def _write(self, *frames: str | bytes) -> None:
        """Frames that go out together, or are dropped together."""
        self._outgoing.append(frames)
        self._drained.clear()
        self._wake.set()

    async def _write_batches(self) -> None:
        with suppress(ConnectionError, aiohttp.ClientError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._outgoing:
                    for frame in self._outgoing.popleft():
                        send = self._socket.send_str if isinstance(frame, str) else self._socket.send_bytes
                        await send(frame)  # type: ignore[arg-type]
                self._drained.set()


def _payload(frame: bytes) -> str:
    """Base64 of a frame; most frames of a call are silence, encoded once."""
    size = len(frame)
    if frame != SILENCE * size:
        return base64.b64encode(frame).decode()
    if size not in _SILENT_PAYLOADS:
        _SILENT_PAYLOADS[size] = base64.b64encode(frame).decode()
    return _SILENT_PAYLOADS[size]
