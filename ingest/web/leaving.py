"""Connections that are kept open for a next request would bring it to a process that is about to go."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web


def install(app: web.Application, is_leaving: Callable[[], bool]) -> None:
    """While we leave, each connection ends with its answer."""

    async def let_go(_request: web.Request, response: web.StreamResponse) -> None:
        if is_leaving() and not isinstance(response, web.WebSocketResponse):
            response.force_close()
            # Headers are made before this is asked: a client that is not told would use the connection again.
            response.headers["Connection"] = "close"

    app.on_response_prepare.append(let_go)
