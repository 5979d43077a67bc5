"""One connection to /voice, from its first event to its end: nobody yet, then a call's companion, or a stream of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import structlog
from aiohttp import WSMessage, WSMsgType, web

from eventlog.port import LogError
from ingest.apps import SESSION_ID, AppStarts, call_id_of
from ingest.companion import Companion, Companionship
from ingest.companion_feed import CallFollower
from ingest.desk import Desk
from ingest.dialects import base
from ingest.dialects.socketio import DOOR, SocketioDialect
from ingest.ending import RESTART_MS
from ingest.screen_feed import Newsroom
from ingest.sending import Sender
from ingest.session import Session
from ingest.socketio_pipe import ABNORMAL, CLOSING, NORMAL, Carrier, Pipe, PipeTransport
from ingest.tokens import Bearer, Term
from schema.envelope import AnyEvent

_log = structlog.get_logger(__name__)
ANOTHERS = "the session is another user's"
RESTART = "the server restarts; connect again"


@dataclass(frozen=True, slots=True)
class Host:
    """What all visits share."""

    desk: Desk
    room: Newsroom
    past_ms: int  # for reading a call's past from the log


class Visit:
    """`run` once; `lose` when the connection is gone."""

    def __init__(self, host: Host, carrier: Carrier, bearer: Bearer, dialect: Callable[[], SocketioDialect]) -> None:
        self.pipe = Pipe(carrier)
        self.companion: Companion | None = None
        self._host = host
        self._carrier = carrier
        self._bearer = bearer
        self._new_dialect = dialect
        self._dialect = dialect()
        self._source = host.desk.new_id()  # the connection's name on the log
        self._is_leaving = False
        self._is_in_lobby = True

    async def run(self) -> None:
        try:
            opening = await self._lobby()
            self._is_in_lobby = False
            if opening is not None:
                self.pipe.unread(*opening)
                await self._session().run()
        except ConnectionError:
            pass  # gone while it was being told something
        except Exception:
            _log.exception("a connection failed")
        finally:
            await self._bye(1012 if self._is_leaving else NORMAL, RESTART if self._is_leaving else "")
            self.pipe.lose(ABNORMAL)

    def leave(self) -> None:
        """The server is going. A session is shut with all others."""
        self._is_leaving = True
        if self.companion is not None:
            self.companion.restart()
        elif self._is_in_lobby:
            self.pipe.unread(CLOSING)

    # ------------------------------------------------------------------ before there is a stream

    async def _lobby(self) -> tuple[WSMessage, ...] | None:
        """What a session begins with; None: the connection is over."""
        limits, desk = self._host.desk.config.limits, self._host.desk
        try:
            async with asyncio.timeout(limits.start_ms / 1000):
                start = await self._first_start(limits.bad_in_a_row)
        except TimeoutError:
            desk.tally.bad_input[DOOR, "no_start"] += 1
            await self._bye(1008, "no start came")
            return None
        if start is None:
            return None
        session = self._dialect.names_session(start.data) or ""
        session = session.removeprefix(f"{self._bearer.tenant}~")
        if not SESSION_ID.fullmatch(session):
            return (start,)
        return await self._beside(session, start)

    async def _first_start(self, patience: int) -> WSMessage | None:
        """Everything before it is answered, as often as patience lasts."""
        for _ in range(patience):
            message = await self.pipe.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                if self._is_leaving:
                    await self._say(*self._dialect.problem("SERVER_RESTARTING", RESTART, RESTART_MS))
                return None
            if self._dialect.names_session(message.data) is not None:
                return message
            for said in self._dialect.receive(message.data, self._host.desk.clock()):
                if not await self._answer(said):
                    return None
        await self._bye(1008, "no start came")
        return None

    async def _answer(self, said: base.Said) -> bool:
        """Whether the connection goes on."""
        counts = self._host.desk.tally.bad_input
        match said:
            case base.Problem(code, text, kind):
                counts[DOOR, kind] += 1
                await self._say(*self._dialect.problem(code, text))
            case base.Ignored(kind):
                counts[DOOR, kind] += 1
            case base.Violation(code, kind, reason):
                counts[DOOR, kind] += 1
                await self._bye(code, reason)
                return False
            case base.Ended():
                await self._bye(1000, "ended")
                return False
            case _:
                pass
        return True

    async def _beside(self, session: str, start: WSMessage) -> tuple[WSMessage, ...] | None:
        """A session that lives on another socket is accompanied, until something is said that takes a stream.

        What lives is what the log says: begun, not ended, with a stream that is open.
        """
        host, follower = self._host, CallFollower(self._host.room, call_id_of(self._bearer.tenant, session))
        try:
            async with asyncio.timeout(host.past_ms / 1000):
                told = await follower.open()
        except (LogError, TimeoutError):
            follower.close()
            await self._say(*self._dialect.problem("ENGINE_UNAVAILABLE", "the log cannot be read now", 1_000))
            await self._bye(1013, "the log cannot be read now")
            return None
        except BaseException:
            follower.close()
            raise
        standing = follower.standing
        if not standing.is_live or not standing.stream:
            follower.close()
            return (start,)
        if standing.user_id != self._bearer.subject:
            follower.close()
            host.desk.tally.bad_input[DOOR, "other_user"] += 1
            await self._say(*self._dialect.problem("FORBIDDEN", ANOTHERS))
            await self._bye(1008, ANOTHERS)
            return None
        return await self._accompany(session, start, follower, told)

    async def _accompany(
        self, session: str, start: WSMessage, follower: CallFollower, told: list[AnyEvent]
    ) -> tuple[WSMessage, ...] | None:
        desk, dialect = self._host.desk, self._new_dialect()
        dialect.receive(start.data, desk.clock())
        whose = Companionship(call_id_of(self._bearer.tenant, session), self._source, self._bearer, self._term())
        self.companion = Companion(desk, self.pipe, self._sender(), dialect, follower, whose)
        if self._is_leaving:
            self.companion.restart()
        try:
            taken = await self.companion.run(told)
        finally:
            self.companion = None
        return None if taken is None else (start, taken)

    async def _say(self, *frames: base.Wire) -> None:
        for frame in frames:
            await self.pipe.send_str(cast(str, frame))

    async def _bye(self, code: int, reason: str) -> None:
        await self.pipe.close(code=code, message=reason.encode())

    # ------------------------------------------------------------------ a stream

    def _session(self) -> Session:
        desk = self._host.desk
        return Session(
            desk,
            self._socket(),
            self._transport(),
            self._dialect,
            AppStarts(self._bearer, agent=desk.config.agent),
            heartbeat_ms=0,  # Engine.IO has its own
            term=self._term(),
        )

    def _sender(self) -> Sender:
        return Sender(self._socket(), self._transport())

    def _term(self) -> Term:
        return Term(self._bearer, self._host.desk.config.limits.token_grace_ms)

    def _socket(self) -> web.WebSocketResponse:
        return cast(web.WebSocketResponse, self.pipe)

    def _transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, PipeTransport(self.pipe, self._carrier))
