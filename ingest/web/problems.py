"""Errors of HTTP answers as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

_log = structlog.get_logger(__name__)
CONTENT_TYPE = "application/problem+json"
API = "/api/"


class ProblemAnswer(web.HTTPException):
    """Raised where an answer of any status is to be a problem."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        self.status_code = status
        self._said = (status, detail, dict(headers or {}), more)
        super().__init__(headers=headers, text=body(status, detail, **more), content_type=CONTENT_TYPE)

    def again(self) -> ProblemAnswer:
        """The same for another request: one answer object is written to one connection only."""
        status, detail, headers, more = self._said
        return ProblemAnswer(status, detail, headers, **more)


def body(status: int, detail: str, *, type: str = "about:blank", title: str = "", **more: Any) -> str:
    """`more` are extension members, such as a code."""
    fields = {"type": type, "title": title or phrase(status), "status": status, "detail": detail, **more}
    return msgspec.json.encode(fields).decode()


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> web.Response:
    return web.Response(status=status, headers=headers, text=body(status, detail, **more), content_type=CONTENT_TYPE)


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Below /api/ every refusal is a problem, and a fault of ours tells nothing of itself."""
    if not request.path.startswith(API):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400 or answer.content_type == CONTENT_TYPE:
            raise
        kept = {name: answer.headers[name] for name in ("Allow", "Retry-After") if name in answer.headers}
        return problem(answer.status, answer.text or answer.reason, kept)
    except Exception:
        _log.exception("a request failed", path=request.path, method=request.method)
        return problem(500, "the request failed here; it may be tried again")
