"""The table of app doors: one line each."""

from __future__ import annotations

from aiohttp import web

from ingest.apps import AppDoor, Visit
from ingest.dialects import call_control, mobile
from ingest.dialects.call_control import CallControlDialect
from ingest.dialects.mobile import MobileDialect
from ingest.tokens import Bearer


def _mobile(visit: Visit) -> MobileDialect:
    return MobileDialect(now=visit.now, new_session=visit.new_session)


def _own_business(request: web.Request, bearer: Bearer) -> str:
    """The path names a business, the token the tenant it speaks for."""
    return "" if request.match_info["business_id"] == bearer.tenant else "the token is another business's"


def _call_control(visit: Visit) -> CallControlDialect:
    return CallControlDialect(tenant=visit.bearer.tenant, now=visit.now, new_session=visit.new_session)


APP_DOORS: tuple[AppDoor, ...] = (
    AppDoor(mobile.DOOR, "/voice/stream/ws/{business_id}", _mobile, _own_business),
    AppDoor(call_control.DOOR, "/ws/call", _call_control),
)
