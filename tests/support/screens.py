"""CallScreen on a log of the test's own: a server with its doors, and what writes the call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from eventlog.port import Entry, Log
from ingest.config import IngestConfig
from ingest.entrance import Entrance
from ingest.screen_words import SHOWN
from ingest.screens import Screens
from ingest.tally import Tally
from ingest.token_keys import Keys
from ingest.tokens import Tokens
from schema.admit import Admission, admit
from schema.envelope import AnyEvent, type_of
from schema.registry import encode
from schema.topics import EVENTS
from tests.support.doors import monotonic_ms
from tests.support.events import CALL, Tape
from tests.support.tokens import NOW_MS, SECRETS, hs256

OWN = {"scope": "screen", "sub": "user-1", "tenant": "default"}
WHOLE = {"scope": "screen:all", "sub": None, "tenant": "default"}
FIRST = 5  # seconds for anything that must come


@dataclass(slots=True)
class Clock:
    """Milliseconds since 1970, as the tokens of the tests mean it."""

    at: int = NOW_MS

    def __call__(self) -> int:
        return self.at


@dataclass(slots=True)
class Cinema:
    """A server that shows calls."""

    log: Log
    screens: Screens
    tally: Tally
    http: aiohttp.ClientSession
    base: str
    now: Clock

    async def watch(
        self, call_id: str = CALL, *, token: dict[str, Any] | None = None, position: str = "", **given: Any
    ) -> aiohttp.ClientWebSocketResponse:
        """`call_id` empty: every call."""
        query = {"token": hs256(**(token or WHOLE))} | ({"position": position} if position else {})
        path = f"/ws/callscreen/{call_id}" if call_id else "/ws/callscreen"
        return await self.http.ws_connect(self.base + path, params=query, **given)

    async def events(
        self, call_id: str = CALL, *, token: dict[str, Any] | None = None, path: str = "/events", **headers: str
    ) -> aiohttp.ClientResponse:
        allowed = {"Authorization": f"Bearer {hs256(**(token or WHOLE))}"}
        return await self.http.get(f"{self.base}/api/calls/{call_id}{path}", headers={**allowed, **headers})


@asynccontextmanager
async def cinema(log: Log, *, now: Clock | None = None, **changes: Any) -> AsyncIterator[Cinema]:
    """`changes`: fields of the configuration, and the two questions to the read models."""
    questions = {name: changes.pop(name, None) for name in ("first_position", "oldest_live")}
    config, tally, now = IngestConfig(**{"housekeeping_ms": 10, **changes}), Tally(), now or Clock()
    async with Keys(SECRETS, clock=monotonic_ms) as keys, aiohttp.ClientSession() as http:
        entrance = Entrance(config, Tokens(SECRETS, keys, now=now), tally)
        partitions = await log.partitions(EVENTS.name)
        shown = Screens(config, log, entrance, tally, partitions=partitions, now=now, clock=monotonic_ms, **questions)
        async with shown as screens:
            app = web.Application()
            app.add_routes(screens.routes())
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=3.0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            try:
                yield Cinema(log, screens, tally, http, f"http://127.0.0.1:{runner.addresses[0][1]}", now)
            finally:
                screens.shut()
                await runner.cleanup()


@dataclass(slots=True)
class Writer:
    """Says the events of calls, in their order, on a log."""

    log: Log
    tape: Tape = field(default_factory=Tape)
    written: int = 0

    async def say(self, name: str, **overrides: Any) -> AnyEvent:
        event = self.tape.say(name, **overrides)
        await self.write()
        return event

    async def write(self, limit: int | None = None) -> bool:
        """Appends what the tape has beyond the last time; False when there was nothing."""
        new = self.tape.records[self.written :][:limit]
        if new:
            await self.log.append(EVENTS.name, [Entry(record.key, record.value) for record in new])
        self.written += len(new)
        return bool(new)


async def put(log: Log, *events: AnyEvent) -> None:
    await log.append(EVENTS.name, [Entry(event.call_id, encode(event)) for event in events])


def shown_ids(events: Iterable[AnyEvent]) -> list[str]:
    """Of the admitted events of the kinds shown, in order."""
    states: dict[str, Admission] = {}
    found = []
    for event in events:
        after = admit(states.get(event.call_id, Admission()), event)
        if after is not None:
            states[event.call_id] = after
            if type_of(event) in SHOWN:
                found.append(event.id)
    return found


async def messages(
    ws: aiohttp.ClientWebSocketResponse, until: Callable[[dict[str, Any]], bool] | str = "snapshot"
) -> list[dict[str, Any]]:
    """Up to the first of that type, or that the function likes."""
    is_last = until if callable(until) else lambda message: message["type"] == until
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(FIRST):
        while not found or not is_last(found[-1]):
            found.append(await ws.receive_json())
            assert isinstance(found[-1]["timestamp"], int)
            assert found[-1]["type"] != "error" or callable(until) or until == "error", found[-1]
    return found


async def server_sent(
    answer: aiohttp.ClientResponse, until: Callable[[dict[str, Any]], bool]
) -> list[tuple[str, dict[str, Any]]]:
    """(id, message) of each event up to the first that the function likes."""
    found: list[tuple[str, dict[str, Any]]] = []
    place = ""
    async with asyncio.timeout(FIRST):
        while not found or not until(found[-1][1]):
            line = (await answer.content.readline()).decode().rstrip("\n")
            if line.startswith("id: "):
                place = line.removeprefix("id: ")
            elif line.startswith("data: "):
                found.append((place, json.loads(line.removeprefix("data: "))))
            else:
                assert line in ("", ":")
    return found


async def until_true(question: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Returns once the answer is yes."""
    async with asyncio.timeout(FIRST):
        while True:
            answer = question()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)
