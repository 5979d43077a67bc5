"""How the process does: alive, ready, and in numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from eventlog.port import LogError
from ingest.desk import Desk
from ingest.tally import DEGRADED_ABOVE, registry_of

LOG_ANSWERS_S = 1.0


class Health:
    def __init__(self, desk: Desk, *, is_draining: Callable[[], bool]) -> None:
        self._desk = desk
        self._is_draining = is_draining
        self._registry = registry_of(desk.tally)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.alive), web.get("/readyz", self.ready), web.get("/metrics", self.metrics)]

    async def alive(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 healthy or degraded, 503 down."""
        tally = self._desk.tally
        log_answers = await self._log_answers()
        error_rate = tally.error_rate()
        status = "degraded" if error_rate > DEGRADED_ABOVE or tally.waiting()[1] > 1_000 else "healthy"
        if not log_answers or self._is_draining():
            status = "down"
        body = {
            "status": status,
            "active_sessions": tally.active,
            "avg_latency_ms": tally.latency_ms(),
            "error_rate": error_rate,
            "timestamp": self._desk.now(),
            "parts": {"log": "ok" if log_answers else "down", "doors": "closing" if self._is_draining() else "open"},
        }
        return web.json_response(body, status=503 if status == "down" else 200)

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _log_answers(self) -> bool:
        try:
            async with asyncio.timeout(LOG_ANSWERS_S):
                await self._desk.log.healthy()
        except (TimeoutError, LogError):
            return False
        return True
