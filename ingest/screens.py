"""CallScreen's doors: a call watched live over a websocket or server-sent events, and its facts as a list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
from aiohttp import web

from eventlog.port import Log, LogError
from ingest.config import IngestConfig
from ingest.entrance import PROTOCOLS, Entrance
from ingest.screen_feed import (
    READERS_AT_ONCE,
    AllCallsFeed,
    CallFeed,
    Feed,
    FirstPosition,
    Newsroom,
    OldestLive,
    TooLongAway,
    Unseen,
)
from ingest.screen_listening import Listening
from ingest.screen_subscriber import SocketOutlet, StreamOutlet, Subscriber
from ingest.screen_tail import Tails
from ingest.screen_words import BadPosition, Cursor, Message, parse_cursor
from ingest.tally import Tally
from ingest.tokens import AGAIN_S, Bearer, Refusal, Term
from ingest.web.transcript import PATH as TRANSCRIPT
from ingest.web.transcript import Transcripts

_log = structlog.get_logger(__name__)
DOOR = "callscreen"
SCOPES = frozenset({"screen", "screen:all", "analyst"})
CALL_ID = re.compile(r"[A-Za-z0-9_.~-]{1,192}")
CLOSE_S = 3.0
NO_CALL = Refusal("no_call", 404, "there is no such call")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A feed that has read the past, and what it found there."""

    feed: Feed
    make_feed: Callable[[], Feed]
    told: list[Message]


class Screens:
    """`async with`: inside it the log is followed while somebody watches."""

    def __init__(
        self,
        config: IngestConfig,
        log: Log,
        entrance: Entrance,
        tally: Tally,
        *,
        partitions: int,
        now: Callable[[], int],
        clock: Callable[[], int],
        first_position: FirstPosition | None = None,
        oldest_live: OldestLive | None = None,
    ) -> None:
        self.tails = Tails(log)
        self._config = config
        self._entrance = entrance
        self._tally = tally
        self._door = tally.door(DOOR)
        self._now = now
        self._clock = clock
        readers = asyncio.Semaphore(READERS_AT_ONCE)
        self.room = Newsroom(log, self.tails, partitions, config.screens, readers, first_position, oldest_live)
        self._subscribers: set[Subscriber] = set()
        self._housekeeping: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        past_ms = self._config.screens.past_ms
        transcripts = Transcripts(self.room, self._entrance, past_ms, DOOR, SCOPES, CALL_ID, NO_CALL)
        return [
            web.get("/ws/callscreen", self.socket, allow_head=False),
            web.get("/ws/callscreen/{call_id}", self.socket, allow_head=False),
            web.get("/api/calls/{call_id}/events", self.events, allow_head=False),
            web.get(TRANSCRIPT, transcripts.get, allow_head=False),
        ]

    @property
    def open(self) -> int:
        """Subscribers there are."""
        return len(self._subscribers)

    def shut(self) -> None:
        """Tell every subscriber to come back, and close it. To be called before the server's own cleanup."""
        for subscriber in tuple(self._subscribers):
            subscriber.restart()

    async def __aenter__(self) -> Self:
        self._housekeeping = asyncio.create_task(self._look_after(), name="screens")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)
        await self.tails.close()

    # ------------------------------------------------------------------ the doors

    async def socket(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            protocols=PROTOCOLS,
            heartbeat=self._config.heartbeat_ms / 1000,
            max_msg_size=self._config.limits.frame_bytes,
            timeout=CLOSE_S,
        )
        async with self._entrance.guest(request, DOOR, any_of=SCOPES) as bearer:
            if not ws.can_prepare(request):
                raise self._entrance.refuse(request, DOOR, Refusal("no_upgrade", 426, "a websocket is expected here"))
            position = self._position(request, request.query.get("position"))
            async with self._opened(request, bearer, position) as opened:
                await ws.prepare(request)
                subscriber = self._subscriber(SocketOutlet(ws, request.transport), opened, bearer)
                listening = Listening(ws, subscriber, self._config, self._tally, now=self._now, clock=self._clock)
                await self._serve(subscriber, opened.told, listening.run())
        return ws

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events; the list of facts up to now for who accepts JSON alone."""
        accepted = request.headers.get("Accept", "")
        as_list = "application/json" in accepted and "text/event-stream" not in accepted
        async with self._entrance.guest(request, DOOR, any_of=SCOPES) as bearer:
            given = request.headers.get("Last-Event-ID") or request.query.get("position")
            position = self._position(request, given)
            if as_list and position is None:
                position = dict.fromkeys(range(self.room.partitions), 0)  # the call's own is among them
            async with self._opened(request, bearer, position) as opened:
                if as_list:
                    return _list_of(opened.told)
                return await self._stream(request, bearer, opened)

    async def _stream(self, request: web.Request, bearer: Bearer, opened: _Opened) -> web.StreamResponse:
        # The last header keeps proxies from holding events back (nginx).
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        subscriber = self._subscriber(StreamOutlet(answer, request), opened, bearer)
        await self._serve(subscriber, opened.told)
        return answer

    # ------------------------------------------------------------------ the common part

    def _position(self, request: web.Request, text: str | None) -> Cursor | None:
        if text is None:
            return None
        try:
            return parse_cursor(text)
        except BadPosition as error:
            raise self._entrance.refuse(request, DOOR, Refusal("bad_position", 400, str(error))) from None

    @asynccontextmanager
    async def _opened(self, request: web.Request, bearer: Bearer, position: Cursor | None) -> AsyncIterator[_Opened]:
        """The past, read before anything is answered: a call one may not see is a call that does not exist."""
        make_feed = self._feed_of(request, bearer)
        feed = make_feed()
        try:
            told = await self._told(feed, position)
            if isinstance(told, Refusal):
                raise self._entrance.refuse(request, DOOR, told)
            yield _Opened(feed, make_feed, told)
        finally:
            feed.close()

    def _feed_of(self, request: web.Request, bearer: Bearer) -> Callable[[], Feed]:
        call_id = request.match_info.get("call_id")
        if call_id is None:
            return lambda: AllCallsFeed(self.room, bearer.sees)
        if not CALL_ID.fullmatch(call_id):
            raise self._entrance.refuse(request, DOOR, NO_CALL)
        return lambda: CallFeed(self.room, call_id, bearer.sees)

    async def _told(self, feed: Feed, position: Cursor | None) -> list[Message] | Refusal:
        try:
            async with asyncio.timeout(self._config.screens.past_ms / 1000):
                return await feed.open(position)
        except Unseen:
            return NO_CALL
        except BadPosition as error:
            return Refusal("bad_position", 400, str(error))
        except TooLongAway:
            return Refusal("too_long_away", 410, "more was missed than can be told again: connect without a position")
        except (LogError, TimeoutError):
            return Refusal("log_away", 503, "the log cannot be read now", AGAIN_S)

    def _subscriber(self, outlet: SocketOutlet | StreamOutlet, opened: _Opened, bearer: Bearer) -> Subscriber:
        limits = self._config.limits
        return Subscriber(
            outlet,
            opened.feed,
            opened.make_feed,
            term=Term(bearer, limits.token_grace_ms),
            now=self._now,
            clock=self._clock,
            stalled_ms=limits.stalled_ms,
            heartbeat_ms=self._config.heartbeat_ms,
            past_ms=self._config.screens.past_ms,
            tally=self._door,
        )

    async def _serve(
        self, subscriber: Subscriber, told: list[Message], listening: Coroutine[Any, Any, None] | None = None
    ) -> None:
        """Until the writer ends, or what listens to the peer."""
        self._subscribers.add(subscriber)
        self._door.connections += 1
        self._door.active += 1
        running = [asyncio.create_task(each) for each in (subscriber.write(told), listening) if each is not None]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if subscriber.ended_by:
                await asyncio.wait(running, timeout=CLOSE_S)
        finally:
            self._subscribers.discard(subscriber)
            self._door.active -= 1
            self._tally.closed[DOOR, subscriber.ended_by or "peer_closed", str(subscriber.code)] += 1
            for task in running:
                task.cancel()
            for broken in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(broken, Exception):
                    _log.error("a screen broke", exc_info=broken)
            subscriber.close()

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._config.housekeeping_ms / 1000)
            for subscriber in tuple(self._subscribers):
                subscriber.look_after()


def _list_of(facts: list[Message]) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=msgspec.json.encode(facts), headers=headers, content_type="application/json")
