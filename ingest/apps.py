"""The app doors: a websocket each, a token before the upgrade, a session that any transport may resume."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from agents.website import Site
from ingest.admission import Admitted, Refused
from ingest.desk import Desk
from ingest.dialects.base import Began, Dialect
from ingest.entrance import PROTOCOLS, Entrance
from ingest.session import Session
from ingest.tokens import Bearer, Refusal, Term

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Visit:
    """What a door's dialect may know of the request that opened its socket."""

    bearer: Bearer
    path: str
    query: dict[str, str]
    now: Callable[[], int]  # ms since 1970, for the timestamps of messages
    new_session: Callable[[], str]
    site_of: Callable[[str], Site | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class AppDoor:
    """`check` may refuse a visit before the upgrade with a reason (403)."""

    name: str
    path: str
    dialect: Callable[[Visit], Dialect]
    check: Callable[[web.Request, Bearer], str] = lambda request, bearer: ""


class Apps:
    """Routes of the doors in `table`."""

    def __init__(self, desk: Desk, entrance: Entrance, table: tuple[AppDoor, ...]) -> None:
        self._desk = desk
        self._entrance = entrance
        self._table = table

    def routes(self) -> list[web.RouteDef]:
        return [web.get(door.path, self._handler(door)) for door in self._table]

    def _handler(self, door: AppDoor) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            async with self._entrance.guest(request, door.name, any_of=("call",), user=True) as bearer:
                if why := door.check(request, bearer):
                    raise self._entrance.refuse(request, door.name, Refusal("other_tenant", 403, why))
                return await self._serve(request, door, bearer)

        return handle

    async def _serve(self, request: web.Request, door: AppDoor, bearer: Bearer) -> web.StreamResponse:
        desk = self._desk
        ws = web.WebSocketResponse(
            compress=False,  # aiohttp would compress every frame of audio
            autoping=False,
            max_msg_size=desk.config.limits.app_message_bytes,
            timeout=3.0,
            protocols=PROTOCOLS,
        )
        await ws.prepare(request)
        visit = Visit(bearer, request.path, dict(request.query), desk.now, desk.new_id, desk.config.sites.get)
        session = Session(
            desk,
            ws,
            request.transport,
            door.dialect(visit),
            AppStarts(bearer, agent=desk.config.agent),
            heartbeat_ms=desk.config.heartbeat_ms,
            term=Term(bearer, desk.config.limits.token_grace_ms),
        )
        await session.run()
        return ws


class AppStarts:
    """Judges one app socket's beginning: its session names the call, its token the tenant and the user."""

    def __init__(self, bearer: Bearer, *, agent: str, echoes: bool = False) -> None:
        """`echoes`: the peer says what it played; by itself an app need not."""
        self._bearer = bearer
        self._agent = agent
        self._echoes = echoes

    def __call__(self, began: Began) -> Admitted | Refused:
        if not SESSION_ID.fullmatch(began.session):
            return Refused("bad_session", "a session id is 1 to 64 letters, digits, _ or -", "SESSION_INVALID")
        agent = began.agent or self._agent
        if not self._bearer.may_use(agent):
            return Refused("wrong_agent", "the token does not allow this agent")
        return Admitted(
            call_id=call_id_of(self._bearer.tenant, began.session),
            tenant_id=self._bearer.tenant,
            agent=agent,
            user_id=self._bearer.subject,
            starts_call=True,
            echoes=self._echoes,
        )


def call_id_of(tenant: str, session: str) -> str:
    """The call of an app's session."""
    return f"{tenant}~{session}"
