"""Loads a media-stream door with many calls from one process and measures how late their audio comes back."""

import asyncio
import base64
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clients.rawsocket import HandshakeError, RawSocket, connect, frame
from clients.sound import SILENCE
from clients.ticker import FRAME_MS

FRAME_BYTES = FRAME_MS * 8
# The calls' frames are spread over the 20 ms as real ones are: a tenth of the calls every 2 ms.
_SLOTS = 10
# What marks a frame as ours when it comes back, wherever the server's chunks begin; then 8 digits count the stamps.
_STAMP = b"\x01\xfe\x02\xfdTAPE"
_STAMP_SIZE = len(_STAMP) + 8
# The last stamps may still be on their way when the last frame has gone out.
_LAST_ECHOES_S = 0.3
_SILENT_PAYLOAD = base64.b64encode(SILENCE * FRAME_BYTES)


@dataclass(frozen=True, slots=True)
class LoadCall:
    """One call to place: straight onto its websocket, without TwiML."""

    url: str
    call_sid: str
    stream_sid: str
    account_sid: str
    headers: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """lag: from writing a stamped frame to reading it back, in ms; late: how far the generator itself was behind."""

    calls: int
    refused: dict[int, int]
    closed_early: int
    seconds: float
    frames_sent: int
    frames_held_back: int
    messages_received: int
    bytes_received: int
    audio_bytes_received: int
    stamps_sent: int
    stamps_echoed: int
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    lag_max_ms: float | None
    late_p99_ms: float | None
    lag_p99_by_call_ms: tuple[float | None, ...]


class _LoadedCall:
    """One call on the wire: makes its frames, reads what comes back."""

    def __init__(self, call: LoadCall, stamp_every: int, payloads: Sequence[bytes], now: Callable[[], float]) -> None:
        self.call = call
        self.socket: RawSocket | None = None
        self.lags_ms: array[float] = array("d")
        self.stamps_sent = self.frames_sent = self.frames_held_back = 0
        self.messages = self.bytes = self.audio_bytes = 0
        self._payloads = payloads
        self._stamp_every = stamp_every
        self._now = now
        self._written: dict[int, float] = {}
        self._tail = b""
        self._head = (
            f'{{"event":"media","streamSid":"{call.stream_sid}","media":{{"track":"inbound","payload":"'
        ).encode()

    def begin(self) -> None:
        call = self.call
        start = {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": call.stream_sid,
            "start": {
                "accountSid": call.account_sid,
                "streamSid": call.stream_sid,
                "callSid": call.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": call.parameters,
            },
        }
        self._write(b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        self._write(json.dumps(start).encode())

    def send(self) -> None:
        """One frame; a socket that does not take it loses it, so that lag is the server's and not our queue's."""
        socket = self.socket
        if socket is None or socket.closed:
            return
        if socket.paused:
            self.frames_held_back += 1
            return
        number = self.frames_sent
        payload = self._payloads[number % len(self._payloads)]
        if number % self._stamp_every == 0:
            payload = self._stamped()
        self.frames_sent += 1
        self._write(
            b'%b%b","chunk":"%d","timestamp":"%d"},"sequenceNumber":"%d"}'
            % (self._head, payload, number + 1, 120 + number * FRAME_MS, number + 2)
        )

    def stop(self) -> None:
        if self.socket is None or self.socket.closed:
            return
        stop = {"accountSid": self.call.account_sid, "callSid": self.call.call_sid}
        message = {"event": "stop", "sequenceNumber": str(self.frames_sent + 2), "streamSid": self.call.stream_sid}
        self._write(json.dumps({**message, "stop": stop}).encode())
        self.socket.close()

    def receive(self, message: bytes) -> None:
        """Count what came; look for stamps in audio, also in one that straddles two messages."""
        self.messages += 1
        self.bytes += len(message)
        begin = message.find(b'"payload":')
        if begin < 0:
            return
        begin = message.index(b'"', begin + 10) + 1
        audio = base64.b64decode(message[begin : message.index(b'"', begin)])
        self.audio_bytes += len(audio)
        audio = self._tail + audio
        at = audio.find(_STAMP)
        seen = 0
        while at >= 0 and at + _STAMP_SIZE <= len(audio):
            self._echoed(audio[at + len(_STAMP) : at + _STAMP_SIZE])
            seen = at + _STAMP_SIZE
            at = audio.find(_STAMP, seen)
        self._tail = audio[max(seen, len(audio) - _STAMP_SIZE + 1) :]

    def _echoed(self, digits: bytes) -> None:
        if digits.isdigit() and (written := self._written.pop(int(digits), None)) is not None:
            self.lags_ms.append((self._now() - written) * 1000)

    def _stamped(self) -> bytes:
        number = self.stamps_sent
        self.stamps_sent += 1
        self._written[number] = self._now()
        self._written.pop(number - 3_000, None)  # never echoed: a server that answers something else
        return base64.b64encode((_STAMP + b"%08d" % number).ljust(FRAME_BYTES, SILENCE))

    def _write(self, message: bytes) -> None:
        assert self.socket is not None
        self.socket.write(frame(message))


async def place_load(
    calls: Sequence[LoadCall],
    *,
    seconds: float,
    new_key: Callable[[], bytes],
    clock: Callable[[], float],
    stamp_every: int = 10,
    audio: bytes = b"",
    connecting_at_once: int = 50,
) -> LoadReport:
    """Carry all calls for so long at real pace, then stop them.

    new_key: 16 bytes for each handshake; clock: monotonic seconds, finer than a loop's (uvloop's counts whole ms);
    audio: mu-law that every caller says over and over (default silence);
    stamp_every: every so many frames one carries a stamp whose echo is timed.
    """
    payloads = _payloads(audio)
    loaded = [_LoadedCall(call, stamp_every, payloads, clock) for call in calls]
    refused = await _connect_all(loaded, new_key, connecting_at_once)
    late_ms: array[float] = array("d")
    try:
        began = clock()
        await _beat(loaded, seconds, clock, late_ms)
        elapsed = clock() - began
        await asyncio.sleep(_LAST_ECHOES_S)
        closed_early = sum(one.socket is not None and one.socket.closed for one in loaded)
    finally:
        for one in loaded:
            one.stop()
    return _report(loaded, refused, closed_early, elapsed, late_ms)


async def _connect_all(
    loaded: Sequence[_LoadedCall], new_key: Callable[[], bytes], connecting_at_once: int
) -> dict[int, int]:
    """Those that were refused: HTTP status (0: none came) -> how many calls."""
    refused: Counter[int] = Counter()
    gate = asyncio.Semaphore(connecting_at_once)

    async def connect_one(one: _LoadedCall) -> None:
        async with gate:
            try:
                one.socket = await connect(one.call.url, one.call.headers, new_key(), one.receive)
            except (HandshakeError, OSError) as error:
                refused[getattr(error, "status", 0)] += 1
                return
            one.begin()

    async with asyncio.TaskGroup() as tasks:
        for one in loaded:
            tasks.create_task(connect_one(one))
    return dict(refused)


async def _beat(
    loaded: Sequence[_LoadedCall], seconds: float, now: Callable[[], float], late_ms: "array[float]"
) -> None:
    """Send every call's frames on an absolute schedule, one slot of calls at a time."""
    slots = [loaded[slot::_SLOTS] for slot in range(_SLOTS)]
    slot_s = FRAME_MS / 1000 / _SLOTS
    began = now()
    for beat in range(round(seconds / slot_s)):
        due = began + beat * slot_s
        await asyncio.sleep(max(0.0, due - now()))
        late_ms.append(max(0.0, now() - due) * 1000)
        for one in slots[beat % _SLOTS]:
            one.send()


def _payloads(audio: bytes) -> list[bytes]:
    frames = [audio[at : at + FRAME_BYTES].ljust(FRAME_BYTES, SILENCE) for at in range(0, len(audio), FRAME_BYTES)]
    return [base64.b64encode(one) for one in frames] or [_SILENT_PAYLOAD]


def _report(
    loaded: Sequence[_LoadedCall], refused: dict[int, int], closed_early: int, elapsed: float, late_ms: "array[float]"
) -> LoadReport:
    lags = sorted(lag for one in loaded for lag in one.lags_ms)
    totals: dict[str, Any] = {
        "frames_sent": sum(one.frames_sent for one in loaded),
        "frames_held_back": sum(one.frames_held_back for one in loaded),
        "messages_received": sum(one.messages for one in loaded),
        "bytes_received": sum(one.bytes for one in loaded),
        "audio_bytes_received": sum(one.audio_bytes for one in loaded),
        "stamps_sent": sum(one.stamps_sent for one in loaded),
        "stamps_echoed": len(lags),
    }
    return LoadReport(
        calls=sum(one.socket is not None for one in loaded),
        refused=refused,
        closed_early=closed_early,
        seconds=elapsed,
        lag_p50_ms=_percentile(lags, 0.50),
        lag_p99_ms=_percentile(lags, 0.99),
        lag_max_ms=lags[-1] if lags else None,
        late_p99_ms=_percentile(sorted(late_ms), 0.99),
        lag_p99_by_call_ms=tuple(_percentile(sorted(one.lags_ms), 0.99) for one in loaded),
        **totals,
    )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
