"""The table of app doors: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from aiohttp import web

from ingest.apps import AppDoor, Visit
from ingest.dialects import browser, call_control, mobile, raw
from ingest.dialects.browser import BrowserDialect
from ingest.dialects.call_control import CallControlDialect
from ingest.dialects.mobile import MobileDialect
from ingest.dialects.raw import RawDialect
from ingest.tokens import Bearer


def _mobile(visit: Visit) -> MobileDialect:
    return MobileDialect(now=visit.now, new_session=visit.new_session)


def _own_business(request: web.Request, bearer: Bearer) -> str:
    """The path names a business, the token the tenant it speaks for."""
    return "" if request.match_info["business_id"] == bearer.tenant else "the token is another business's"


def _call_control(visit: Visit) -> CallControlDialect:
    return CallControlDialect(tenant=visit.bearer.tenant, now=visit.now, new_session=visit.new_session)


def _raw(visit: Visit) -> RawDialect:
    return RawDialect(**_visitor(visit))


def _browser(visit: Visit) -> BrowserDialect:
    return BrowserDialect(**_visitor(visit))


def _visitor(visit: Visit) -> dict[str, Any]:
    return {
        "tenant": visit.bearer.tenant,
        "query": visit.query,
        "now": visit.now,
        "new_session": visit.new_session,
        "site_of": visit.site_of,
    }


APP_DOORS: tuple[AppDoor, ...] = (
    AppDoor(mobile.DOOR, "/voice/stream/ws/{business_id}", _mobile, _own_business),
    AppDoor(call_control.DOOR, "/ws/call", _call_control),
    AppDoor(raw.DOOR, "/voice-ws", _raw),
    AppDoor(browser.DOOR, "/ws/voice", _browser),
)


@dataclass(frozen=True, slots=True)
class OtherDoor:
    """Opened by the same tokens, but no websocket of a dialect. `needs`: a module that may not be installed."""

    name: str
    path: str
    needs: str = ""

    @property
    def lacks(self) -> str:
        """What is missing on this machine; empty: nothing."""
        return f"install {self.needs} (calltape[apps])" if self.needs and find_spec(self.needs) is None else ""


SOCKETIO, TURNS = OtherDoor("socketio", "/socket.io", needs="socketio"), OtherDoor("turns", "/api/turns")
OTHER_DOORS = (SOCKETIO, TURNS)
