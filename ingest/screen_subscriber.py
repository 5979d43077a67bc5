"""One subscriber of CallScreen: a single writer sends what its feed brings; whoever does not keep up is let go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from eventlog.port import LogError
from ingest.screen_feed import Ended, Feed, Overflowed, TooLongAway, Unseen
from ingest.screen_words import BadPosition, Cursor, Message, as_json, cursor_text, error
from ingest.tally import DoorTally
from ingest.tokens import EXPIRED, Due, Term

RESTART, SLOW = 1012, 1013
AGAIN_MS = 1_000


class Outlet(Protocol):
    """How messages reach the peer. `send` waits while the peer does not read; all raise ConnectionError."""

    @property
    def is_gone(self) -> bool: ...

    async def send(self, message: Message) -> None: ...

    async def beat(self) -> None:
        """Something without meaning, so that nobody on the way takes the line for dead."""

    async def close(self, code: int, reason: str) -> None: ...

    def cut_off(self, code: int) -> None:
        """End it behind what is stuck, and wait for nothing."""

    def abort(self) -> None: ...


class Subscriber:
    """`write` runs until the end; everything else only leaves word for it."""

    def __init__(
        self,
        outlet: Outlet,
        feed: Feed,
        make_feed: Callable[[], Feed],
        *,
        term: Term,
        now: Callable[[], int],
        clock: Callable[[], int],
        stalled_ms: int,
        heartbeat_ms: int,
        past_ms: int,
        tally: DoorTally,
    ) -> None:
        self.ended_by = ""  # why we ended it; empty: the peer did
        self.code = 0
        self._outlet = outlet
        self._feed = feed
        self._make_feed = make_feed
        self._term = term
        self._now = now
        self._clock = clock
        self._stalled_ms = stalled_ms
        self._heartbeat_ms = heartbeat_ms
        self._past_s = past_ms / 1000
        self._tally = tally
        self._replies: deque[Message] = deque()
        self._resume: Cursor | None = None
        self._sending_since: int | None = None
        self._sent_at = clock()
        self._beats = False
        self._cut_at: int | None = None

    # ------------------------------------------------------------------ word for the writer

    def say(self, message: Message) -> None:
        self._replies.append(message)
        self._feed.news.set()

    def fail(self, code: str, text: str, *, retry_after_ms: int = 0) -> None:
        self.say(error(code, text, self._now(), retry_after_ms=retry_after_ms))

    def resume(self, cursor: Cursor) -> None:
        self._resume = cursor
        self._feed.news.set()

    def shut(self, code: int, reason: str) -> None:
        """Close once what was said is sent. Only the first call counts."""
        if not self.ended_by:
            self.ended_by, self.code = reason, code
            self._feed.news.set()

    def restart(self) -> None:
        if not self.ended_by:
            self.fail("SERVER_RESTARTING", "the server restarts: connect again", retry_after_ms=AGAIN_MS)
            self.shut(RESTART, "restart")

    def look_after(self) -> None:
        """Visited a few times a second."""
        now = self._clock()
        if self._cut_at is not None:
            if now - self._cut_at >= self._stalled_ms:
                self._outlet.abort()
        elif self._outlet.is_gone:
            self.shut(0, "gone")
        elif self._is_stuck(now):
            self._cut_off(now)
        else:
            self._heed_term()
            self._heed_heartbeat(now)

    def _is_stuck(self, now: int) -> bool:
        since = self._sending_since
        return since is not None and (self._feed.has_overflowed or now - since >= self._stalled_ms)

    def _cut_off(self, now: int) -> None:
        self._cut_at = now
        self.shut(SLOW, "slow")
        self._feed.close()  # nothing more is kept for it while what is stuck goes out
        self._outlet.cut_off(SLOW)

    def _heed_term(self) -> None:
        match self._term.due(self._now()):
            case Due.TELL:
                self.fail("AUTH_EXPIRED", "the token has expired: connect again with a new one")
            case Due.CLOSE:
                self.shut(EXPIRED, "expired")
            case Due.NOTHING:
                pass

    def _heed_heartbeat(self, now: int) -> None:
        if now - self._sent_at >= self._heartbeat_ms:
            self._sent_at, self._beats = now, True
            self._feed.news.set()

    # ------------------------------------------------------------------ the writer

    async def write(self, first: list[Message]) -> None:
        """Until closed, or the peer is gone."""
        try:
            await self._send(first)
            while not await self._turn():
                await self._feed.news.wait()
        except Overflowed:
            await self._give_up("SLOW_CONSUMER", "facts come faster than they are read: resume by position", "slow")
        except (Ended, LogError, TimeoutError):
            await self._give_up("LOG_UNAVAILABLE", "the log cannot be read now: resume by position", "log_away")
        except (ConnectionError, RuntimeError):
            return  # the peer is gone, or was cut off

    def close(self) -> None:
        self._feed.close()

    async def _turn(self) -> bool:
        """Everything there is word of. True: it was the last."""
        if self._beats:
            self._beats = False
            await self._outlet.beat()
        while self._replies:
            await self._send([self._replies.popleft()])
        if self._resume is not None:
            cursor, self._resume = self._resume, None
            await self._rewind(cursor)
            return False
        if self.ended_by:
            await self._outlet.close(self.code, self.ended_by)
            return True
        # Nothing was awaited since the last look at the replies; what is said from here on sets `news` again.
        await self._send(await self._feed.take())
        return False

    async def _rewind(self, cursor: Cursor) -> None:
        """The facts after the position, from a feed of their own; the old one goes on if that fails."""
        fresh = self._make_feed()
        try:
            async with asyncio.timeout(self._past_s):
                facts = await fresh.open(cursor)
        except (BadPosition, TooLongAway, Unseen) as refused:
            fresh.close()
            self.fail("INVALID_POSITION", str(refused) or "this position cannot be resumed: begin anew")
            return
        except BaseException:
            fresh.close()
            raise
        self._feed.close()
        self._feed = fresh
        fresh.news.set()
        await self._send([{"type": "resumed", "position": cursor_text(cursor)}, *facts])

    async def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self._sending_since = self._clock()
            await self._outlet.send(message if "timestamp" in message else {**message, "timestamp": self._now()})
            self._tally.sent += 1
            self._sent_at = self._clock()
        self._sending_since = None

    async def _give_up(self, code: str, text: str, reason: str) -> None:
        self.ended_by, self.code = self.ended_by or reason, self.code or SLOW
        try:
            await self._send([error(code, text, self._now(), retry_after_ms=AGAIN_MS)])
            await self._outlet.close(self.code, self.ended_by)
        except (ConnectionError, RuntimeError):
            return


class SocketOutlet:
    """A websocket."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._ws = ws
        self._transport = transport

    @property
    def is_gone(self) -> bool:
        return False  # its reader sees the end

    async def send(self, message: Message) -> None:
        await self._ws.send_str(as_json(message))

    async def beat(self) -> None:
        """The websocket pings by itself."""

    async def close(self, code: int, reason: str) -> None:
        await self._ws.close(code=code or 1000, message=reason.encode()[:120])

    def cut_off(self, code: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            # A whole close frame (RFC 6455, 5.5.1): FIN and opcode 8, two bytes of payload.
            self._transport.write(b"\x88\x02" + code.to_bytes(2, "big"))
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class StreamOutlet:
    """Server-sent events. A message with a position has it as its `id:`; others leave the last one standing."""

    def __init__(self, answer: web.StreamResponse, request: web.Request) -> None:
        self._answer = answer
        self._request = request

    @property
    def is_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def send(self, message: Message) -> None:
        place = f"id: {message['position']}\n" if "position" in message else ""
        await self._answer.write(f"{place}data: {as_json(message)}\n\n".encode())

    async def beat(self) -> None:
        await self._answer.write(b":\n\n")

    async def close(self, code: int, reason: str) -> None:
        if not self.is_gone:
            await self._answer.write_eof()

    def cut_off(self, code: int) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    def abort(self) -> None:
        self.cut_off(0)
