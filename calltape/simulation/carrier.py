"""The carrier between a caller and our doors: its Media Streams dialect, its player, and what it is asked to do."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import msgspec

from calltape.simulation.process import PROCESS, Process, world_context
from workers.carrierwork import CALL_OVER, CarrierError

ACCOUNT = "AC1"
ASK_S = 0.15  # from a request to the carrier's API until it is done
LEAVES_S = 0.1  # until the carrier has read the request
ANSWERS_S = 0.1  # from then until who asked has its answer


class Phone(Protocol):
    """A caller as the carrier sees one."""

    over: asyncio.Event

    def released(self) -> None:
        """The carrier ends the call, or connects the caller to somebody else."""


class Carrier:
    """Obeys requests about calls. Each is harmless when it comes again. A request takes its time inside the process
    that asks; once it has left, it is obeyed whatever becomes of who asked."""

    def __init__(self, refusals: int = 0) -> None:
        """The first `refusals` requests are answered with an error, and nothing is done."""
        self.phones: dict[str, Phone] = {}  # by call
        self.hung_up: dict[str, int] = {}  # call -> how often we were asked to
        self.transferred: dict[str, list[str]] = {}  # call -> numbers
        self.refused = 0
        self._refusals = refusals
        self._traps: dict[Process, Callable[[], None]] = {}

    async def hang_up(self, call_id: str) -> None:
        await self._asked(lambda: self._hung_up(call_id))

    async def transfer(self, call_id: str, number: str) -> None:
        await self._asked(lambda: self._transferred(call_id, number))

    def set_trap(self, process: Process, then: Callable[[], None]) -> None:
        """When this process asks next, this befalls it, and its request never leaves."""
        self._traps[process] = then

    async def _asked(self, obey: Callable[[], CarrierError | None]) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[CarrierError | None] = loop.create_future()
        process = PROCESS.get()
        if process is not None and (trap := self._traps.pop(process, None)) is not None:
            trap()
        else:
            loop.call_later(LEAVES_S, self._arrived, obey, answer, context=world_context())
        error = await answer
        if error is not None:
            raise error

    def _arrived(self, obey: Callable[[], CarrierError | None], answer: asyncio.Future[CarrierError | None]) -> None:
        error: CarrierError | None
        if self.refused < self._refusals:
            self.refused += 1
            error = CarrierError("carrier_refused", "the carrier answered 503", retryable=True)
        else:
            error = obey()
        asyncio.get_running_loop().call_later(ANSWERS_S, _answer, answer, error)

    def _hung_up(self, call_id: str) -> CarrierError | None:
        self.hung_up[call_id] = self.hung_up.get(call_id, 0) + 1
        self._release(call_id)
        return None

    def _transferred(self, call_id: str, number: str) -> CarrierError | None:
        if call_id in self.phones and self.phones[call_id].over.is_set() and call_id not in self.transferred:
            return CarrierError(CALL_OVER, "the call is not in progress")
        self.transferred.setdefault(call_id, []).append(number)
        self._release(call_id)
        return None

    def _release(self, call_id: str) -> None:
        asyncio.get_running_loop().call_later(ASK_S - LEAVES_S, self._let_go, call_id)

    def _let_go(self, call_id: str) -> None:
        if call_id in self.phones:
            self.phones[call_id].released()


def _answer(answer: asyncio.Future[CarrierError | None], error: CarrierError | None) -> None:
    if not answer.done():
        answer.set_result(error)


class _MediaBody(msgspec.Struct, forbid_unknown_fields=True):
    payload: str


class _MarkBody(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Said(msgspec.Struct, tag_field="event", rename="camel", forbid_unknown_fields=True):
    stream_sid: str


class Media(_Said, tag="media"):
    media: _MediaBody


class Mark(_Said, tag="mark"):
    mark: _MarkBody


class Clear(_Said, tag="clear"):
    pass


# The carrier answers an unknown key with a warning that nobody sees: here it is an error.
understand = msgspec.json.Decoder(Media | Mark | Clear)


class Writer:
    """One stream's messages to a door, numbered as the carrier numbers them."""

    def __init__(self, stream_sid: str, call_id: str) -> None:
        self._sid = stream_sid
        self._call_id = call_id
        self._sequence = 0
        self._chunk = 0

    def begin(self) -> tuple[str, ...]:
        start = {
            "event": "start",
            "sequenceNumber": self._next(),
            "streamSid": self._sid,
            "start": {
                "accountSid": ACCOUNT,
                "streamSid": self._sid,
                "callSid": self._call_id,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {},
            },
        }
        return '{"event":"connected","protocol":"Call","version":"1.0.0"}', msgspec.json.encode(start).decode()

    def media(self, ms: int, payload: bytes) -> str:
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":"{self._next()}","streamSid":"{self._sid}","media":{{'
            f'"track":"inbound","chunk":"{self._chunk}","timestamp":"{ms}","payload":"{_text(payload)}"}}}}'
        )

    def key(self, digit: str) -> str:
        return (
            f'{{"event":"dtmf","sequenceNumber":"{self._next()}","streamSid":"{self._sid}",'
            f'"dtmf":{{"track":"inbound_track","digit":"{digit}"}}}}'
        )

    def mark(self, name: str) -> str:
        message = {"event": "mark", "sequenceNumber": self._next(), "streamSid": self._sid, "mark": {"name": name}}
        return msgspec.json.encode(message).decode()

    def stop(self) -> str:
        return (
            f'{{"event":"stop","sequenceNumber":"{self._next()}","streamSid":"{self._sid}",'
            f'"stop":{{"accountSid":"{ACCOUNT}","callSid":"{self._call_id}"}}}}'
        )

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)


@lru_cache(4096)
def _text(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


class Ear:
    """Plays what comes at real pace, echoes marks when they were played, and all of them at once when cleared."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo_to = echo
        self._pending: deque[tuple[str, asyncio.TimerHandle]] = deque()
        self.plays_until = 0.0
        self.heard_once = False
        self.received: dict[str, bytearray] = {}  # the caller's name of a stream -> all audio that came on it
        self.unheard: dict[str, list[tuple[int, int]]] = {}  # stream -> bytes from, to: never played
        self._stream = ""

    def receive(self, stream_sid: str, frame: str) -> None:
        loop = asyncio.get_running_loop()
        self._stream = stream_sid
        said = understand.decode(frame)
        if said.stream_sid != stream_sid:
            raise ValueError(f"a message for {said.stream_sid} on {stream_sid}")
        match said:
            case Media():
                audio = base64.b64decode(said.media.payload)
                self.received.setdefault(stream_sid, bytearray()).extend(audio)
                self.plays_until = max(loop.time(), self.plays_until) + len(audio) / 8 / 1000
                self.heard_once = True
            case Mark():
                played = loop.call_at(max(loop.time(), self.plays_until), self._echo)
                self._pending.append((said.mark.name, played))
            case Clear():
                self._throw_away()
                while self._pending:
                    self._pending[0][1].cancel()
                    self._echo()

    def stop(self) -> None:
        while self._pending:
            self._pending.popleft()[1].cancel()
        self._throw_away()

    def _throw_away(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.plays_until > now:
            end = len(self.received[self._stream])
            self.unheard.setdefault(self._stream, []).append((end - int((self.plays_until - now) * 8000), end))
        self.plays_until = now

    def _echo(self) -> None:
        name, _ = self._pending.popleft()
        self._echo_to(name)
