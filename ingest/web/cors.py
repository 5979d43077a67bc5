"""Which web pages may talk to us: the origin of websockets, and CORS below /api/."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ingest.web.problems import API, problem

METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
EXPOSED = "Retry-After, WWW-Authenticate, Location"
REMEMBER_S = "600"
_PORTS = {"http": 80, "https": 443}


class Origins:
    """Our own page always may; others when they are listed. Programs that are no browser send no Origin."""

    def __init__(self, listed: tuple[str, ...], public_url: str) -> None:
        self._listed = frozenset(_origin(each) for each in listed)
        self._own = _origin(public_url) if public_url else ""

    def allows(self, request: web.BaseRequest) -> bool:
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        normal = _origin(origin)
        return normal != "" and (normal in self._listed or normal == self._own or _host(normal) == _host_of(request))


def _origin(url: str) -> str:
    """Scheme, host and port as browsers write them; empty for what is no web origin (`null`, a file)."""
    try:
        parts = urlsplit(url.strip().lower())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def _host(origin: str) -> str:
    return origin.partition("://")[2]


def _host_of(request: web.BaseRequest) -> str:
    """The Host as it came; a proxy that ends TLS leaves the scheme unknown, so a default port of either goes."""
    return request.headers.get("Host", "").lower().removesuffix(":80").removesuffix(":443")


class Cors:
    """`install` it on the application, outside other middlewares."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def install(self, app: web.Application) -> None:
        app.middlewares.insert(0, self._middleware())
        app.on_response_prepare.append(self._allow)

    def _middleware(self) -> Middleware:
        @web.middleware
        async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
            asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
            if not (asks and request.path.startswith(API)):
                return await handler(request)
            if not self._origins.allows(request):
                return problem(403, "this origin may not use the API: list it in ALLOWED_ORIGINS")
            allowed = {
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": HEADERS,
                "Access-Control-Max-Age": REMEMBER_S,
            }
            return web.Response(status=204, headers=allowed)

        return preflight

    async def _allow(self, request: web.Request, response: web.StreamResponse) -> None:
        if not request.path.startswith(API):
            return
        response.headers.add("Vary", "Origin")
        if "Origin" in request.headers and self._origins.allows(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
