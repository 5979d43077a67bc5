"""The web pages: a call from the browser (/talk), live calls to watch (/screen), and the files both are made of.

Nothing in them is a caller's: whoever asks gets the same bytes, and the token a page works with never comes here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"
TALK = "/talk"
PAGES = {TALK: "talk.html", "/screen": "screens.html", "/screen/{call_id}": "screen.html"}
# What a page may load, by the name's ending; nothing else of the folder is served.
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
NAME = re.compile(r"[a-z][a-z_]*\.(?:css|js|svg)")
HOST = re.compile(r"[A-Za-z0-9.\-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    # Asked for again each time, and answered 304: a new version of the server brings its own pages at once.
    "Cache-Control": "no-cache",
}


def routes() -> list[web.RouteDef]:
    return [
        web.get("/", _to_talk),
        *(web.get(path, _page(name)) for path, name in PAGES.items()),
        web.get("/static/{name}", _static),
    ]


def policy(host: str) -> str:
    """The Content-Security-Policy of a page that was asked for under this Host.

    Some browsers do not take `'self'` for websockets, so these are named; a Host that is none names nothing.
    """
    sockets = f" ws://{host} wss://{host}" if HOST.fullmatch(host) else ""
    return (
        f"default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' "
        f"blob:; connect-src 'self'{sockets}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


async def _to_talk(request: web.Request) -> web.StreamResponse:
    query = request.rel_url.raw_query_string
    raise web.HTTPFound(f"{TALK}?{query}" if query else TALK)


def _page(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return _file(request, name)

    return answer


async def _static(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    if not NAME.fullmatch(name) or not (STATIC / name).is_file():
        raise web.HTTPNotFound
    return _file(request, name)


def _file(request: web.Request, name: str) -> web.FileResponse:
    path = STATIC / name
    headers = {
        **HEADERS,
        "Content-Type": f"{TYPES[path.suffix]}; charset=utf-8",
        "Content-Security-Policy": policy(request.headers.get("Host", "")),
    }
    return web.FileResponse(path, headers=headers)
