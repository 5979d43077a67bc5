"""What a subscriber says on its websocket: `resume` and `ping`; anything else is answered with an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from ingest.config import IngestConfig
from ingest.gauge import Bucket
from ingest.screen_subscriber import Subscriber
from ingest.screen_words import BadPosition, Message, parse_cursor
from ingest.tally import Tally

DOOR = "callscreen"
MINUTE_MS = 60_000
LIMIT = 1008
MOST_PAYLOAD = 1_024  # bytes of JSON, echoed


class Listening:
    """One socket's."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        subscriber: Subscriber,
        config: IngestConfig,
        tally: Tally,
        *,
        now: Callable[[], int],
        clock: Callable[[], int],
    ) -> None:
        self._ws = ws
        self._subscriber = subscriber
        self._limits = config.limits
        self._resumes_a_minute = config.screens.resumes_a_minute
        self._tally = tally
        self._door = tally.door(DOOR)
        self._now = now
        self._clock = clock
        limits = config.limits
        self._bucket = Bucket(limits, clock())
        self._resumes: deque[int] = deque()
        self._bad_in_a_row = 0

    async def run(self) -> None:
        """Until the socket is gone."""
        while True:
            message = await self._ws.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            self._door.received += 1
            now = self._clock()
            if self._subscriber.ended_by:
                continue
            if self._bucket.take(now):
                self._heed(message.data if message.type is WSMsgType.TEXT else None, now)
            else:
                self._too_fast(now)

    def _heed(self, text: str | None, now: int) -> None:
        said = _parsed(text)
        match said:
            case {"type": "ping"}:
                self._ping(said)
            case {"type": "resume"}:
                self._resume(said, now)
            case {"type": str()}:
                self._object("unknown_type", "UNKNOWN_TYPE", "a screen may say resume and ping")
            case _:
                self._object("malformed", "INVALID_MESSAGE", "a message is a JSON object with a type, as text")

    def _ping(self, said: Message) -> None:
        payload = said.get("payload")
        if len(msgspec.json.encode(payload)) > MOST_PAYLOAD:
            self._object("malformed", "INVALID_MESSAGE", f"a ping's payload has at most {MOST_PAYLOAD} bytes")
            return
        self._bad_in_a_row = 0
        echo = {"payload": payload} if "payload" in said else {}
        self._subscriber.say({"type": "pong", "timestamp": self._now(), **echo})

    def _resume(self, said: Message, now: int) -> None:
        while self._resumes and self._resumes[0] <= now - MINUTE_MS:
            self._resumes.popleft()
        if len(self._resumes) >= self._resumes_a_minute:
            wait_ms = self._resumes[0] + MINUTE_MS - now
            self._tally.bad_input[DOOR, "resumes"] += 1
            self._subscriber.fail("RATE_LIMITED", "too many resumes", retry_after_ms=wait_ms)
            return
        try:
            cursor = parse_cursor(said.get("position"))
        except BadPosition as wrong:
            self._object("bad_position", "INVALID_POSITION", str(wrong))
            return
        self._bad_in_a_row = 0
        self._resumes.append(now)
        self._subscriber.resume(cursor)

    def _object(self, kind: str, code: str, text: str) -> None:
        self._tally.bad_input[DOOR, kind] += 1
        self._bad_in_a_row += 1
        self._subscriber.fail(code, text)
        if self._bad_in_a_row >= self._limits.bad_in_a_row:
            self._subscriber.shut(LIMIT, "limit")

    def _too_fast(self, now: int) -> None:
        self._tally.bad_input[DOOR, "over_rate"] += 1
        if self._bucket.over_ms(now) >= self._limits.over_rate_ms:
            self._subscriber.shut(LIMIT, "limit")


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
