"""A real server of ours on a memory log, and the carrier's side of its wire."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from twilio.request_validator import RequestValidator

from eventlog.memory import MemoryLog
from eventlog.port import Entry
from ingest.app import Ingest
from ingest.config import IngestConfig, TwilioSecrets
from ingest.numbers import Numbers
from ingest.web.webhooks import ReadModel
from schema.envelope import AnyEvent, Event, type_of
from schema.outbox import OutboxAudio, OutboxFact, OutboxMessage
from schema.registry import decode, encode, pack, unpack_media
from schema.stream import StreamOpened
from schema.topics import EVENTS, MEDIA, OUTBOX, mailbox_of, partition_of

PUBLIC = "https://calls.example"
CALL, ACCOUNT, STREAM = "CA0001", "AC0001", "MZ0001"
SECRETS = TwilioSecrets(account_sid=ACCOUNT, auth_token="secret")


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass
class Hands:
    """A clock that stands still until it is moved."""

    at: int = 1_000_000

    def __call__(self) -> int:
        return self.at


@dataclass
class House:
    ingest: Ingest
    log: MemoryLog
    http: aiohttp.ClientSession
    base: str

    async def events(self, until: str = "", call_id: str = CALL) -> list[AnyEvent]:
        """The call's facts, read until one of type `until` is there."""
        partition = partition_of(call_id, EVENTS.partitions)
        reader = self.log.reader(EVENTS.name, {partition: 0})
        found: list[AnyEvent] = []
        async with asyncio.timeout(5):
            while True:
                found += [decode(record.value) for record in await reader.read(wait_ms=20)]
                if not until or any(type_of(event) == until for event in found):
                    return found

    async def media(self) -> list[Any]:
        partition = partition_of(CALL, MEDIA.partitions)
        records = await self.log.reader(MEDIA.name, {partition: 0}).read(wait_ms=500)
        return [unpack_media(record.value) for record in records]

    async def mail(self, *messages: OutboxMessage) -> None:
        mailbox = mailbox_of("test")
        await self.log.append(OUTBOX.name, [Entry(m.call_id, pack(m), mailbox) for m in messages])

    async def voice(self, path: str = "/twilio/voice", **changes: str) -> aiohttp.ClientResponse:
        form = {"CallSid": CALL, "AccountSid": ACCOUNT, "From": "+15550001", "To": "+15550002", "Direction": "inbound"}
        form.update(changes)
        signature = RequestValidator("secret").compute_signature(PUBLIC + path, form)
        return await self.http.post(self.base + path, data=form, headers={"X-Twilio-Signature": signature})

    async def token(self) -> str:
        answer = await self.voice()
        text = await answer.text()
        return text.split("/ws/media-stream/")[1].split('"')[0]

    async def opened(self) -> str:
        """The call's newest stream."""
        event = (await self.events("stream.opened"))[-1]
        assert isinstance(event, StreamOpened)
        return event.stream

    async def housekept(self) -> None:
        """Returns once the server has looked after its sockets again."""
        window = self.ingest.tally._window
        window.clear()
        async with asyncio.timeout(5):
            while len(window) < 2:
                await self.http.get(self.base + "/healthz")

    def received(self) -> int:
        return self.ingest.tally.door("twilio").received

    def counts(self, kind: str) -> int:
        return self.ingest.tally.bad_input["twilio", kind]

    async def socket(self, token: str, **headers: str) -> aiohttp.ClientWebSocketResponse:
        path = f"/ws/media-stream/{token}"
        return await self.http.ws_connect(self.base + path, headers={**signed(path), **headers})

    async def counted(self, kind: str, value: float | None = None) -> None:
        """Returns once /metrics shows it: the peer may see its close before the server has looked back."""
        async with asyncio.timeout(5):
            while True:
                lines = (await (await self.http.get(self.base + "/metrics")).text()).splitlines()
                found = [float(line.split()[-1]) for line in lines if kind in line and line[0] != "#"]
                if found and (found[0] > 0 if value is None else found[0] == value):
                    return


@asynccontextmanager
async def house(
    *,
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    clock: Callable[[], int] = monotonic_ms,
    numbers: Numbers | None = None,
    read_model: ReadModel | None = None,
    **changes: Any,
) -> AsyncIterator[House]:
    ids = itertools.count(1)
    fields: dict[str, Any] = {"instance": "test", "public_url": PUBLIC, "twilio": SECRETS, "housekeeping_ms": 20}
    config = IngestConfig(**{**fields, **changes})
    served = Ingest(
        config,
        log := MemoryLog(now=now),
        now=now,
        clock=clock,
        new_id=lambda: f"id-{next(ids):012d}",
        numbers=numbers,
        read_model=read_model,
    )
    async with log, served as ingest, aiohttp.ClientSession() as http:
        port = await ingest.start("127.0.0.1", 0)
        yield House(ingest, log, http, f"http://127.0.0.1:{port}")


def start(call: str = CALL) -> dict[str, Any]:
    body = {
        "accountSid": ACCOUNT,
        "streamSid": STREAM,
        "callSid": call,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": body}


def media(number: int, payload: bytes = b"\xff" * 160) -> dict[str, Any]:
    body = {
        "track": "inbound",
        "chunk": str(number),
        "timestamp": str(number * 20),
        "payload": base64.b64encode(payload).decode(),
    }
    return {"event": "media", "sequenceNumber": str(number + 1), "streamSid": STREAM, "media": body}


STOP = {"event": "stop", "streamSid": STREAM, "stop": {"accountSid": ACCOUNT, "callSid": CALL}}


async def close_of(ws: aiohttp.ClientWebSocketResponse) -> int:
    async with asyncio.timeout(5):
        while not ws.closed:
            await ws.receive()
    return ws.close_code or 0


async def begun(house: House) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """A signed call with its stream open, and that stream's name."""
    ws = await house.socket(await house.token())
    return ws, await open_stream(house, ws)


async def open_stream(house: House, ws: aiohttp.ClientWebSocketResponse, streams: int = 1) -> str:
    """Begins on a socket; the name of the call's stream number so and so."""
    await ws.send_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    await ws.send_json(start())
    async with asyncio.timeout(5):
        while True:
            opened = [event for event in await house.events("stream.opened") if isinstance(event, StreamOpened)]
            if len(opened) == streams:
                return opened[-1].stream


def signed(path: str, secret: str = "secret") -> dict[str, str]:
    """The carrier's header on a handshake."""
    return {"X-Twilio-Signature": RequestValidator(secret).compute_signature("wss://calls.example" + path, {})}


def fact(stream: str, position: int, event: Event) -> OutboxFact:
    return OutboxFact(call_id=CALL, stream=stream, position=position, body=encode(event))


def speech(stream: str, length_ms: int, *, offset_ms: int = 0, last: bool = True, take: int = 7) -> OutboxAudio:
    """Audio of the first sentence of reply `r1`."""
    return OutboxAudio(
        call_id=CALL,
        stream=stream,
        reply="r1",
        sentence=0,
        sentence_id="s1",
        offset_ms=offset_ms,
        take=take,
        payload=b"\x55" * (length_ms * 8),
        last=last,
    )
