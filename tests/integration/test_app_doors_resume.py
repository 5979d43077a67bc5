"""An app that comes back is told what it missed and who speaks; a turn with a tool shows one answer.

Doors, log and conversation are real; only the voice is silence of the right length.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import pytest

from clients.socketio import SocketioClient
from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.envelope import AnyEvent, type_of
from schema.private import plain
from schema.stream import PlaybackStarted, StreamClosed
from schema.turn import ReplySentence, ReplyStarted
from tests.support.doors import House, house
from tests.support.runtimes import World, now
from workers.profiles import load_family
from workers.rules import RuleAgent
from workers.tools.registry import tools_by_name

SECRETS = TokenSecrets(secret="s" * 32)
CALL = "acme~s1"
PATIENCE_S = 30.0
PROFILES = {**load_family("hero"), **load_family("notes")}


@dataclass
class Seen:
    """What an app was told, in the words of no door."""

    statuses: list[str] = field(default_factory=list)
    speaks: list[str] = field(default_factory=list)  # who was named when the agent's voice began
    sentences: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> text, agent
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not what():
                self.news.clear()
                await self.news.wait()


def _mobile(told: dict[str, Any], seen: Seen) -> None:
    if told["type"] == "session_status":
        seen.statuses.append(told["status"])
        seen.speaks += [told["agent_type"]] if told["status"] == "speaking" else []
    elif told["type"] == "transcript" and told["speaker"] == "agent":
        seen.sentences[told["id"]] = (told["text"], told["agent_name"])


def _call(told: dict[str, Any], seen: Seen) -> None:
    if told["type"] == "response" and told["text"]:
        seen.sentences[told["id"]] = (told["text"], told["agent_name"])
    elif told["type"] == "audio_response" and told["data"]:
        seen.speaks += [list(seen.sentences.values())[-1][1]] if seen.sentences else [""]


def _raw(told: dict[str, Any], seen: Seen) -> None:
    about = told["metadata"]
    if told["type"] == "audio_response" and not about["final"]:
        seen.sentences[about.get("id", "")] = (told["data"], about.get("agent", ""))
        seen.speaks += [about.get("agent", "")] if about["streaming"] else []


def _browser(told: dict[str, Any], seen: Seen) -> None:
    if told["type"] == "status":
        seen.statuses.append(told["status"])
        seen.speaks += [told.get("agent_name", "")] if told["status"] == "speaking" else []
    elif told["type"] == "transcript" and not told["is_user"]:
        seen.sentences[told["id"]] = (told["text"], told.get("agent_name", ""))


def _socketio(told: dict[str, Any], seen: Seen) -> None:
    if told["type"] == "voice:status":
        seen.statuses.append(told["status"])
        seen.speaks += [told.get("agent_name", "")] if told["status"] == "speaking" else []
    elif told["type"] == "voice:response" and told["text"]:
        seen.sentences[told["id"]] = (told["text"], told.get("agent_name", ""))


READERS: Mapping[str, Callable[[dict[str, Any], Seen], None]] = {
    "mobile": _mobile,
    "call": _call,
    "raw": _raw,
    "browser": _browser,
    "socketio": _socketio,
}


class WebApp:
    """An app on a websocket of ours."""

    PATHS: Mapping[str, str] = {
        "mobile": "/voice/stream/ws/acme",
        "call": "/ws/call",
        "raw": "/voice-ws?sessionId=s1",
        "browser": "/ws/voice?session=s1",
    }
    STARTS: Mapping[str, dict[str, Any]] = {
        "mobile": {"type": "start_session", "session_id": "s1", "audio_format": "pcm16"},
        "call": {"type": "start_call", "call_id": "s1"},
        "raw": {"type": "voice_start", "metadata": {"encoding": "pcm16"}},
    }

    def __init__(self, h: House, door: str, token: str, agent: str) -> None:
        self.seen = Seen()
        self._h, self._door, self._token, self._agent = h, door, token, agent

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"}
        path = self.PATHS[self._door] + (f"&agent={self._agent}" if self._door == "browser" else "")
        self._ws = await self._h.http.ws_connect(self._h.base + path, headers=headers)
        self._reading = asyncio.create_task(self._read())
        if start := self.STARTS.get(self._door):
            about = {"agentId": self._agent, **start.get("metadata", {})}
            await self._ws.send_json({**start, "agent_id": self._agent, "metadata": about})
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._ws.close()
        await self._reading

    async def text(self, text: str) -> None:
        await self._ws.send_json({"type": "text", "session_id": "s1", "text": text, "data": text})

    async def lose(self) -> None:
        self._ws._response.connection.transport.abort()  # type: ignore[union-attr]
        await self._reading

    async def _read(self) -> None:
        async for message in self._ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                READERS[self._door](json.loads(message.data), self.seen)
            self.seen.news.set()


class SocketioApp:
    """An app on Socket.IO."""

    def __init__(self, h: House, door: str, token: str, agent: str) -> None:
        self._client = SocketioClient(h.base, token)
        self._agent = agent
        self._read = 0
        self._seen = Seen()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.start(sessionId="s1", agentId=self._agent)
        self._reading = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._reading.cancel()
        await self._client.__aexit__(None, None, None)

    @property
    def seen(self) -> Seen:
        return self._seen

    async def text(self, text: str) -> None:
        await self._client.text(text)

    async def lose(self) -> None:
        await self._client.lose()

    async def _follow(self) -> None:
        while True:
            await self._client.until(lambda came: True, after=self._read, patience_s=PATIENCE_S)
            for came in self._client.came[self._read :]:
                self._read += 1
                value = came.value if isinstance(came.value, dict) else {}
                _socketio({"type": came.name, **value}, self._seen)
            self._seen.news.set()


App = WebApp | SocketioApp


@dataclass(frozen=True, slots=True)
class Office:
    """A server, who answers its calls, and an app's way in."""

    h: House
    world: World
    token: str

    def app(self, door: str, agent: str) -> App:
        kind = SocketioApp if door == "socketio" else WebApp
        return kind(self.h, door, self.token, agent)

    @property
    def is_confirmed(self) -> bool:
        """Whether the call's socket has said that it was told everything."""
        return self.world.runtimes["a"].calls.cases[CALL].state.facts == ()

    async def until(self, what: Callable[[list[AnyEvent]], bool]) -> list[AnyEvent]:
        async def is_so() -> bool:
            return what(await self.world.events(CALL))

        await self.world.until(is_so, PATIENCE_S)
        return await self.world.events(CALL)


@asynccontextmanager
async def office(*, measure_ms: int = 5_000) -> AsyncIterator[Office]:
    """`measure_ms`: how often a socket says what it was told."""
    token = issue(SECRETS, tenant="acme", subject="u1", scopes=("call",), issued_at=now() // 1000, valid_s=3_600)[0]
    async with house(now=now, clock=now, tokens=SECRETS, measure_ms=measure_ms, pacing_ms=10) as h:
        world = World()
        world.log = h.log
        world.profile_of = lambda name: PROFILES[name]
        world.agent_of = RuleAgent
        world.tools = dict(tools_by_name())
        world.hire("a")
        try:
            yield Office(h, world, token)
        finally:
            await world.close()


def is_closed(events: list[AnyEvent]) -> bool:
    """The server has noticed; before, who comes on Socket.IO is the companion of a socket that seems to live."""
    return any(isinstance(event, StreamClosed) for event in events)


def replies_of(events: list[AnyEvent], agent: str) -> set[str]:
    return {event.id for event in events if isinstance(event, ReplyStarted) and event.agent == agent}


def sentences(events: list[AnyEvent], replies: set[str]) -> dict[str, str]:
    """Id -> text."""
    found = [event for event in events if isinstance(event, ReplySentence) and event.reply in replies]
    return {event.id: plain(event.text) for event in found}


@pytest.mark.parametrize("door", READERS)
async def test_who_comes_back_after_a_hand_over_is_told_who_speaks(door: str) -> None:
    """Also what the lost socket had long confirmed."""

    def sounds(events: list[AnyEvent]) -> bool:
        ours = replies_of(events, "hero/estimate")
        return any(isinstance(event, PlaybackStarted) and event.reply in ours for event in events)

    async with office(measure_ms=50) as o:
        async with o.app(door, "hero/triage") as lost:
            await lost.text("I need an estimate for a new roof")
            await o.until(sounds)
            await o.until(lambda events: o.is_confirmed)
            await lost.lose()
            await o.until(is_closed)
        async with o.app(door, "hero/triage") as again:
            await again.seen.until(lambda: bool(again.seen.speaks))
            events = await o.world.events(CALL)
        assert set(again.seen.speaks) == {"estimate"}
        told = again.seen.sentences
        known = sentences(events, replies_of(events, "hero/estimate"))
        assert told and told == {id_: (known[id_], "estimate") for id_ in told}


@pytest.mark.parametrize("door", READERS)
async def test_who_comes_back_is_told_the_sentences_they_missed(door: str) -> None:
    async with office() as o:
        async with o.app(door, "notes") as lost:
            await lost.text("make a note to buy milk")

            def answer(events: list[AnyEvent]) -> set[str]:
                return {event.id for event in events if isinstance(event, ReplyStarted) and event.why == "tool"}

            events = await o.until(lambda events: bool(sentences(events, answer(events))))
            await lost.lose()
            await o.until(is_closed)
        known = sentences(events, answer(events))
        async with o.app(door, "notes") as again:
            await again.seen.until(lambda: known.keys() <= again.seen.sentences.keys())
        assert {id_: again.seen.sentences[id_][0] for id_ in known} == known


@pytest.mark.parametrize("door", ["mobile", "browser", "socketio"])
async def test_a_turn_with_a_tool_shows_one_answer(door: str) -> None:
    async with office() as o, o.app(door, "notes") as app:
        await app.text("make a note to buy milk")
        statuses = app.seen.statuses
        await app.seen.until(lambda: "processing" in statuses)
        begin = statuses.index("processing")
        await app.seen.until(lambda: "speaking" in statuses[begin:] and statuses[-1] == "listening")
        events = await o.world.events(CALL)
        names = [type_of(event) for event in events]
        assert names.count("tool.called") == names.count("tool.returned") == 1
        assert statuses[begin:] == ["processing", "speaking", "listening"]
