"""Push-to-talk."""

from __future__ import annotations

from aiohttp import web

from ingest.desk import Desk
from ingest.entrance import Entrance


class Turns:
    def __init__(self, desk: Desk, entrance: Entrance) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        return []
