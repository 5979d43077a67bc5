"""The tools an agent called, and what became of it."""

from __future__ import annotations

from sqlalchemy import Connection

from projections.statements import add, change
from projections.tables import tools
from projections.values import Handlers, Place, stored_map
from schema.turn import ToolCalled, ToolReturned


def _called(connection: Connection, event: ToolCalled, place: Place) -> None:
    row = {
        "id": event.id,
        "life": place.life,
        "position": place.position,
        "reply": event.reply,
        "name": event.name,
        "arguments": stored_map(event.arguments),
        "repeatable": event.repeatable,
        "called_ms": place.clock_ms,
    }
    add(connection, tools, row)


def _returned(connection: Connection, event: ToolReturned, place: Place) -> None:
    outcome = {
        "returned": event.id,
        "returned_ms": place.clock_ms,
        "status": event.status,
        "result": stored_map(event.result),
        "message": event.message,
    }
    change(connection, tools, {"id": event.call, "life": place.life}, **outcome)


HANDLERS: Handlers = {ToolCalled: _called, ToolReturned: _returned}
