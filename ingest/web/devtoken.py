"""In development on loopback: a token for whoever asks, so that a page and a client can be tried without a secret."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from ingest.config import TokenSecrets
from ingest.tokens import TokenMistake, dev_token

PATH = "/dev/token"
# A page elsewhere that has its own name lead to 127.0.0.1 comes with that name.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


def routes(secrets: TokenSecrets, *, now: Callable[[], int]) -> list[web.RouteDef]:
    """`GET /dev/token?tenant=…&sub=…` → `{"token"}`."""

    async def answer(request: web.Request) -> web.Response:
        if request.url.host not in LOOPBACK_NAMES:
            raise web.HTTPForbidden(text="only for this machine's own names")
        tenant, subject = request.query.get("tenant", "default"), request.query.get("sub", "dev")
        try:
            token = dev_token(secrets, now_ms=now(), tenant=tenant, subject=subject)
        except TokenMistake as mistake:
            raise web.HTTPBadRequest(text=str(mistake)) from mistake
        return web.json_response({"token": token})

    return [web.get(PATH, answer)]
