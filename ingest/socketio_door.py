"""The Socket.IO door: /socket.io with the namespace /voice, over websockets and long-polling.

A connection has two floors. Below, Engine.IO: requests, asked for origin and room before they become a connection.
Above, the namespace: a token, and a visit. A connection on which nobody talks to the namespace is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import socketio
import structlog
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

from ingest.desk import Desk
from ingest.dialects.base import Wire
from ingest.dialects.socketio import DOOR, SocketioDialect
from ingest.dialects.socketio_messages import write_event
from ingest.dialects.socketio_mouth import Mouth
from ingest.entrance import Entrance, token_of
from ingest.screen_feed import Newsroom
from ingest.socketio_pipe import ABNORMAL, NORMAL
from ingest.socketio_server import NAMESPACE, PATH, Engines, new_server
from ingest.socketio_visit import Host, Visit
from ingest.tokens import Refusal

_log = structlog.get_logger(__name__)
GONE_S = 1.0  # for connections to go by themselves, when the server does
GONE_LOOKS = 50


class _Line:
    """A visit's connection, seen from it."""

    def __init__(self, door: SocketioDoor, sid: str, engine: str) -> None:
        self._door = door
        self._sid = sid
        self._engine = engine

    async def emit(self, frame: Wire) -> None:
        await self._door.engines.send(self._engine, frame)

    async def leave(self, code: int, reason: str) -> None:
        with suppress(ConnectionError):
            await self.emit(Mouth(self._door.now, tenant="").closed(code, reason))
        await self._door.server.disconnect(self._sid, namespace=NAMESPACE)

    def unsent_bytes(self) -> int:
        return self._door.engines.unsent_bytes(self._engine)

    def abort(self) -> None:
        self._door.engines.abort(self._engine)


class _Voice(socketio.AsyncNamespace):  # type: ignore[misc]  # the library has no types
    """Every event of the namespace, whatever its name."""

    def __init__(self, door: SocketioDoor) -> None:
        super().__init__(NAMESPACE)
        self._door = door

    async def trigger_event(self, event: Any, *args: Any) -> Any:
        door, sid = self._door, args[0]
        if event == "connect" and not door.knows(sid):
            return await door.connect(*args)
        if event == "disconnect" and not door.server.manager.is_connected(sid, NAMESPACE):
            return door.disconnected(sid, str(args[1]) if len(args) > 1 else "")
        return await door.heard(sid, event, args[1:])


class SocketioDoor:
    """`async with`; `close` before the HTTP server's own cleanup, for its requests last as long as connections do."""

    def __init__(self, desk: Desk, entrance: Entrance, room: Newsroom) -> None:
        self.now = desk.now
        self.server = new_server(desk.config.limits.app_message_bytes)
        self.engines = Engines(self.server)
        self._desk = desk
        self._entrance = entrance
        self._host = Host(desk, room, desk.config.screens.past_ms)
        self._visits: dict[str, Visit] = {}
        self._engine_of: dict[str, str] = {}  # visit's connection -> the one below
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_since: dict[str, int] = {}
        self._housekeeping: asyncio.Task[None] | None = None
        self.server.register_namespace(_Voice(self))
        entrance.also.append(self._guests)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self.handle, allow_head=False),
            web.post(PATH, self.handle),
            web.options(PATH, self.handle),
        ]

    @property
    def beside(self) -> int:
        """Connections that no session is counted for."""
        return max(0, len(self.engines) - sum(1 for each in self._desk.sockets if each.dialect.door == DOOR))

    async def __aenter__(self) -> Self:
        self._housekeeping = asyncio.create_task(self._look_after(), name="socketio")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.gather(self._housekeeping, return_exceptions=True)

    def shut(self) -> None:
        """Companions and visitors are told to come back; sessions are shut with all others."""
        for visit in tuple(self._visits.values()):
            visit.leave()

    async def close(self) -> None:
        """Every connection is gone when it returns; peers that do not go are cut off."""
        self.shut()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=GONE_S)
        for engine, _ in self.engines:
            await self.engines.end(engine)
        for _ in range(GONE_LOOKS):
            if len(self.engines):
                await asyncio.sleep(GONE_S / GONE_LOOKS)
        for engine, _ in self.engines:
            self.engines.abort(engine)
        self.engines.sweep()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.server.eio.service_task_handle is not None:
            await self.server.shutdown()

    # ------------------------------------------------------------------ below: Engine.IO

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A handshake, a poll, a post, or an upgrade, which lasts as long as its websocket."""
        if "sid" not in request.query and request.method != "OPTIONS":
            self._entrance.make_room(request, DOOR)
        elif not self._entrance.origins.allows(request):
            raise self._entrance.refuse(request, DOOR, Refusal("foreign_origin", 403, "this origin may not connect"))
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        engine = request.query.get("sid", "")
        if is_socket and engine:
            self.engines.carries(engine, request.transport)
        try:
            return await self._answered(self.server.handle_request, request)
        finally:
            if is_socket:
                await self.engines.left(self.engines.of_request(request))

    async def _answered(
        self, handle: Callable[[web.Request], Awaitable[web.StreamResponse]], request: web.Request
    ) -> web.StreamResponse:
        """The library lets what strangers send go wrong; that is their mistake."""
        try:
            return await handle(request)
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as error:
            self._desk.tally.bad_input[DOOR, "bad_packet"] += 1
            _log.info("a request was no Engine.IO", error=type(error).__name__)
            return web.Response(status=400, text="this is no Engine.IO")

    def _guests(self, address: str) -> int:
        return sum(1 for _, request in self.engines if self._entrance.address(request) == address)

    # ------------------------------------------------------------------ above: the namespace

    def knows(self, sid: str) -> bool:
        return sid in self._visits

    async def connect(self, sid: str, opened: dict[str, Any], auth: Any = None) -> None:
        """Raises the library's ConnectionRefusedError, which the client gets as `connect_error` with our code."""
        request, engine = opened["aiohttp.request"], self.engines.of(sid)
        if engine in self._engine_of.values():
            raise self._refused(request, Refusal("second_connection", 400, "this connection is in use already"))
        token = auth.get("token") if isinstance(auth, dict) else None
        bearer = await self._entrance.tokens.read(
            token if isinstance(token, str) and token else token_of(request), any_of=("call",), user=True
        )
        if isinstance(bearer, Refusal):
            raise self._refused(request, bearer)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            self.engines.carries(engine, request.transport)
        desk, sites = self._desk, self._desk.config.sites

        def dialect() -> SocketioDialect:
            return SocketioDialect(tenant=bearer.tenant, now=desk.now, new_session=desk.new_id, site_of=sites.get)

        visit = Visit(self._host, _Line(self, sid, engine), bearer, dialect)
        self._visits[sid], self._engine_of[sid] = visit, engine
        self._idle_since.pop(engine, None)
        task = asyncio.create_task(self._serve(sid, visit), name=f"socketio {sid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sid: str, visit: Visit) -> None:
        try:
            await visit.run()
        finally:
            if sid in self._visits:
                await self.server.disconnect(sid, namespace=NAMESPACE)

    def _refused(self, request: web.Request, refusal: Refusal) -> Refused:
        self._entrance.refuse(request, DOOR, refusal)  # counted and logged as any other
        retry = {"retry_after": refusal.retry_after_s * 1000} if refusal.retry_after_s else {}
        return Refused(refusal.reason, {"code": refusal.kind, "status": refusal.status, **retry})

    async def heard(self, sid: str, event: object, values: tuple[object, ...]) -> dict[str, bool]:
        """What the client gets that asked for an acknowledgement: whether the event was taken."""
        visit = self._visits.get(sid)
        return {"ok": visit is not None and await visit.pipe.give(write_event(event, values))}

    def disconnected(self, sid: str, reason: str) -> None:
        visit = self._visits.pop(sid, None)
        engine = self._engine_of.pop(sid, "")
        if engine:
            self._idle_since[engine] = self._desk.clock()
        if visit is not None:
            _log.debug("left", reason=reason)
            visit.pipe.lose(NORMAL if reason == self.server.reason.CLIENT_DISCONNECT else ABNORMAL)

    # ------------------------------------------------------------------ time

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._desk.config.housekeeping_ms / 1000)
            now = self._desk.clock()
            for visit in tuple(self._visits.values()):
                if visit.companion is not None:
                    visit.companion.look(now)
            await self._end_idle(now)

    async def _end_idle(self, now: int) -> None:
        """Connections without a visit: those that never asked for one, and those that were left."""
        self.engines.sweep()
        living = {engine for engine, _ in self.engines}
        used = set(self._engine_of.values())
        for sid in [sid for sid, engine in self._engine_of.items() if engine not in living]:
            self.disconnected(sid, "")
        self._idle_since = {engine: self._idle_since.get(engine, now) for engine in living - used}
        for engine, since in tuple(self._idle_since.items()):
            if now - since >= self._desk.config.limits.start_ms:
                await self.engines.end(engine)
                self.engines.abort(engine)
