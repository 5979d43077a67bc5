"""Somebody who shows up at a door with the name of another's live call, and tries all that the door has words for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from clients.socketio import Refused, SocketioClient
from clients.turns import Problem, TurnsClient

PATIENCE_S = 30
WORDS = "make a note to sell everything"  # what the stranger would have the owner's agent do


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who tries: `tenant` is the token's. `session` names the call that is another's."""

    address: str
    token: str
    tenant: str
    session: str


@dataclass(slots=True)
class Attempt:
    """What came of it."""

    heard: list[str] = field(default_factory=list)
    refused: str = ""  # the HTTP status or the error's code
    closed: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_over(self) -> None:
        """The door has sent the stranger away."""
        async with asyncio.timeout(PATIENCE_S):
            await self.over.wait()

    async def until_heard(self, word: str, count: int) -> None:
        """So many messages have the word."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(word in heard for heard in self.heard) < count:
                self.news.clear()
                await self.news.wait()


Door = Callable[[Stranger], AbstractAsyncContextManager[Attempt]]
Path = Callable[[Stranger], str]
Said = Callable[[str, str], list[dict[str, Any]]]  # of (session, words)


def _websocket(path: Path, said: Said, goodbye: Said) -> Door:
    @asynccontextmanager
    async def attempted(who: Stranger) -> AsyncIterator[Attempt]:
        attempt = Attempt()
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            try:
                ws = await http.ws_connect(who.address + path(who), headers={"Authorization": f"Bearer {who.token}"})
            except aiohttp.WSServerHandshakeError as error:
                attempt.refused = str(error.status)
                attempt.over.set()
                yield attempt
                return
            reading = asyncio.create_task(_listen(ws, attempt))
            await _tell(ws, said(who.session, WORDS))
            yield attempt
            await _tell(ws, goodbye(who.session, WORDS))
            await ws.close()
            await reading

    return attempted


async def _tell(ws: aiohttp.ClientWebSocketResponse, messages: list[dict[str, Any]]) -> None:
    with suppress(ConnectionError):  # sent away in the middle of it
        for message in messages:
            await ws.send_json(message)


async def _listen(ws: aiohttp.ClientWebSocketResponse, attempt: Attempt) -> None:
    async for message in ws:
        if message.type is aiohttp.WSMsgType.TEXT:
            attempt.heard.append(message.data)
            told = json.loads(message.data)
            if told["type"] == "error":
                attempt.refused = told.get("error_code") or told["metadata"]["error"]
        else:
            attempt.heard.append(f"{len(message.data)} bytes")
        attempt.news.set()
    attempt.closed = ws.close_code or 0
    attempt.over.set()


@asynccontextmanager
async def _socketio(who: Stranger) -> AsyncIterator[Attempt]:
    attempt = Attempt()
    async with SocketioClient(who.address, who.token) as client:
        try:
            await client.start(sessionId=who.session)
            await client.text(WORDS)
            await client.interrupt()
        except Refused as error:
            attempt.refused = error.code
            async with asyncio.timeout(PATIENCE_S):
                await client.gone.wait()
            attempt.over.set()
        yield attempt
        if not attempt.over.is_set():
            await client.end()
        attempt.heard = [json.dumps([came.name, came.value], default=repr) for came in client.came]
        closed = [told["code"] for told in client.of("voice:status") if told["status"] == "closed"]
        attempt.closed = closed[-1] if closed else 0


@asynccontextmanager
async def _turns(who: Stranger) -> AsyncIterator[Attempt]:
    attempt = Attempt()
    async with TurnsClient(who.address, who.token, call_id=who.session) as client:
        try:
            answered = await client.write(WORDS)
            attempt.heard += [answered.call_id, answered.transcript, answered.response]
        except Problem as error:
            attempt.refused = error.code
            attempt.heard.append(json.dumps(error.body))
        attempt.over.set()
        yield attempt


def _request(path: str, accept: str) -> Door:
    @asynccontextmanager
    async def attempted(who: Stranger) -> AsyncIterator[Attempt]:
        attempt = Attempt()
        headers = {"Authorization": f"Bearer {who.token}", "Accept": accept}
        url = who.address + path.format(call=f"acme~{who.session}")
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
            attempt.refused = str(answer.status)
            attempt.heard.append(await answer.text())
        attempt.over.set()
        yield attempt

    return attempted


def _nothing(session: str, words: str) -> list[dict[str, Any]]:
    return []


def _mobile(session: str, words: str) -> list[dict[str, Any]]:
    return [
        {"type": "start_session", "session_id": session, "audio_format": "opus"},
        {"type": "text", "session_id": session, "text": words},
        {"type": "interrupt", "session_id": session},
    ]


def _call(session: str, words: str) -> list[dict[str, Any]]:
    return [{"type": "start_call", "call_id": session}, {"type": "text", "text": words}, {"type": "interrupt"}]


def _raw(session: str, words: str) -> list[dict[str, Any]]:
    return [
        {"type": "voice_start", "metadata": {"sessionId": session}},
        {"type": "text", "data": words},
        {"type": "barge_in"},
    ]


def _browser(session: str, words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words}, {"type": "interrupt"}]


CALL_DOORS: Mapping[str, Door] = {
    "mobile": _websocket(
        lambda who: f"/voice/stream/ws/{who.tenant}",
        _mobile,
        lambda session, _: [{"type": "end_session", "session_id": session}],
    ),
    "call": _websocket(lambda _: "/ws/call", _call, lambda *_: [{"type": "end_call"}]),
    "raw": _websocket(
        lambda who: f"/voice-ws?sessionId={who.session}",
        _raw,
        lambda *_: [{"type": "voice_end", "metadata": {"final": True}}],
    ),
    "browser": _websocket(lambda who: f"/ws/voice?session={who.session}", _browser, lambda *_: [{"type": "stop"}]),
    "socketio": _socketio,
    "turns": _turns,
}
VIEWS: Mapping[str, Door] = {
    "callscreen": _websocket(lambda who: f"/ws/callscreen/acme~{who.session}", _nothing, _nothing),
    "events": _request("/api/calls/{call}/events", "text/event-stream"),
    "facts": _request("/api/calls/{call}/events", "application/json"),
    "transcript": _request("/api/calls/{call}/transcript", "application/json"),
}
ALL_CALLS = _websocket(lambda _: "/ws/callscreen", _nothing, _nothing)
# The doors of another tenant by their own names for it.
AT_ANOTHERS: Mapping[str, Door] = {
    "mobile": _websocket(lambda _: "/voice/stream/ws/acme", _mobile, _nothing),
    "call": _websocket(
        lambda _: "/ws/call",
        lambda session, _: [{"type": "start_call", "tenant_id": "acme", "call_id": session}],
        _nothing,
    ),
}
