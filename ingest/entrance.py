"""The way in for apps, screens and analysts: origin, room, token, in this order, before anything is upgraded."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from ingest.admission import client_address
from ingest.config import IngestConfig
from ingest.tally import Tally
from ingest.tokens import AGAIN_S, Bearer, Refusal, Tokens
from ingest.web.cors import Origins
from ingest.web.problems import ProblemAnswer

_log = structlog.get_logger(__name__)
SUBPROTOCOL = "bearer"
# For WebSocketResponse: a client that offers `bearer, <jwt>` is answered `bearer`.
PROTOCOLS = (SUBPROTOCOL,)


def token_of(request: web.BaseRequest) -> str:
    """From `Authorization: Bearer`, else `Sec-WebSocket-Protocol: bearer, <jwt>`, else `?token=`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip()
    offered = [part.strip() for part in ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(",")]
    if offered[0].lower() == SUBPROTOCOL and len(offered) > 1:
        return offered[1]
    return request.query.get("token", "")


class Entrance:
    """`is_full`: no room on this server; `is_draining`: it is leaving."""

    def __init__(
        self,
        config: IngestConfig,
        tokens: Tokens,
        tally: Tally,
        *,
        is_full: Callable[[], bool] = lambda: False,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.tokens = tokens
        self.origins = Origins(config.origins, config.public_url)
        self._config = config
        self._tally = tally
        self._is_full = is_full
        self._is_draining = is_draining
        self.also: list[Callable[[str], int]] = []  # guests of an address that are counted elsewhere
        self._guests: Counter[str] = Counter()  # by address

    async def read_token(
        self, request: web.BaseRequest, *, any_of: Iterable[str], user: bool = False
    ) -> Bearer | Refusal:
        return await self.tokens.read(token_of(request), any_of=any_of, user=user)

    @asynccontextmanager
    async def guest(
        self, request: web.BaseRequest, door: str, *, any_of: Iterable[str], user: bool = False
    ) -> AsyncIterator[Bearer]:
        """Inside it the request has a place. Raises the HTTP answer, a problem, for who may not come in."""
        address = self.make_room(request, door)
        self._guests[address] += 1
        try:
            bearer = await self.read_token(request, any_of=any_of, user=user)
            if isinstance(bearer, Refusal):
                raise self.refuse(request, door, bearer)
            yield bearer
        finally:
            self._leave(address)

    def make_room(self, request: web.BaseRequest, door: str) -> str:
        """The address it has room for. Raises the HTTP answer, a problem, where there is none."""
        address = self.address(request)
        refusal = self._no_room(request, address)
        if refusal is not None:
            raise self.refuse(request, door, refusal)
        return address

    def address(self, request: web.BaseRequest) -> str:
        forwarded = request.headers.get("X-Forwarded-For", "")
        return client_address(request.remote or "", forwarded, self._config.trusted_proxies)

    def refuse(self, request: web.BaseRequest, door: str, refusal: Refusal) -> web.HTTPException:
        """The answer, counted and logged."""
        self._tally.refused[door, str(refusal.status), refusal.kind] += 1
        address = self.address(request)
        _log.warning("refused at the door", door=door, status=refusal.status, why=refusal.kind, address=address)
        headers = {}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if refusal.retry_after_s:
            headers["Retry-After"] = str(refusal.retry_after_s)
        return ProblemAnswer(refusal.status, refusal.reason, headers, code=refusal.kind)

    def _no_room(self, request: web.BaseRequest, address: str) -> Refusal | None:
        if not self.origins.allows(request):
            return Refusal("foreign_origin", 403, "this origin may not connect: list it in ALLOWED_ORIGINS")
        if self._is_draining():
            return Refusal("draining", 429, "the server is leaving: connect again", AGAIN_S)
        if self._is_full():
            return Refusal("full", 429, "the server has no room now", AGAIN_S)
        guests = self._guests[address] + sum(count(address) for count in self.also)
        if guests >= self._config.limits.connections_an_address:
            return Refusal("address_full", 429, "too many connections from this address", AGAIN_S)
        return None

    def _leave(self, address: str) -> None:
        self._guests[address] -= 1
        if not self._guests[address]:
            del self._guests[address]
