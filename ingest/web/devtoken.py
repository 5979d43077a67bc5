"""In development on loopback: a token for whoever asks, so that a page and a client can be tried without a secret."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from ingest.config import TokenSecrets
from ingest.tokens import dev_token

PATH = "/dev/token"
# A page elsewhere that has its own name lead to 127.0.0.1 comes with that name.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def routes(secrets: TokenSecrets, *, now: Callable[[], int]) -> list[web.RouteDef]:
    """`GET /dev/token?tenant=…&sub=…` → `{"token"}`."""

    async def answer(request: web.Request) -> web.Response:
        host = request.headers.get("Host", "").rpartition(":")[0] or request.headers.get("Host", "")
        if host not in LOOPBACK_NAMES:
            raise web.HTTPForbidden(text="only for this machine's own names")
        tenant, subject = request.query.get("tenant", "default"), request.query.get("sub", "dev")
        return web.json_response({"token": dev_token(secrets, now_ms=now(), tenant=tenant, subject=subject)})

    return [web.get(PATH, answer)]
