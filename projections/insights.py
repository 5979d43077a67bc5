"""What was learnt from a call: summaries with key points, action items, recordings."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert

from projections.statements import add
from projections.tables import actions, key_points, recordings, summaries
from projections.values import Handlers, Place, made_by, stored
from schema.insight import ActionFound, CallSummarised, RecordingSaved


def _summarised(connection: Connection, event: CallSummarised, place: Place) -> None:
    for table in (key_points, summaries):  # the same revision said again replaces the first
        connection.execute(delete(table).where(table.c.life == place.life, table.c.revision == event.revision))
    row = {
        "life": place.life,
        "revision": event.revision,
        "id": event.id,
        "at": place.at,
        "summary": stored(event.summary),
        "sentiment": event.sentiment,
        "cites": list(event.cites),
        **made_by(event.made_by),
    }
    add(connection, summaries, row)
    points = [
        {
            "life": place.life,
            "revision": event.revision,
            "number": number,
            "text": stored(point.text),
            "cites": list(point.cites),
        }
        for number, point in enumerate(event.key_points)
    ]
    if points:
        connection.execute(insert(key_points), points)


def _action_found(connection: Connection, event: ActionFound, place: Place) -> None:
    row = {
        "id": event.id,
        "life": place.life,
        "position": place.position,
        "revision": event.revision,
        "number": event.number,
        "title": stored(event.title),
        "kind": event.kind,
        "due": event.due,
        "assignee": stored(event.assignee),
        "cites": list(event.cites),
        **made_by(event.made_by),
    }
    add(connection, actions, row)


def _recording_saved(connection: Connection, event: RecordingSaved, place: Place) -> None:
    row = {
        "id": event.id,
        "life": place.life,
        "position": place.position,
        "path": event.path,
        "duration_ms": event.duration_ms,
        "format": event.format,
        "channels": event.channels,
        "sample_rate": event.sample_rate,
    }
    add(connection, recordings, row)


HANDLERS: Handlers = {CallSummarised: _summarised, ActionFound: _action_found, RecordingSaved: _recording_saved}
