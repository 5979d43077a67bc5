"""What went wrong: in calls, and with records that no projection could apply."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from eventlog.port import Record
from projections.statements import add
from projections.tables import failures
from projections.values import Handlers, Place, stored
from schema.failure import WorkFailed


def _work_failed(connection: Connection, event: WorkFailed, place: Place) -> None:
    row = {
        "partition": place.partition,
        "position": place.position,
        "at": place.at,
        "call_id": event.call_id,
        "life": place.life,
        "event_id": event.id,
        "stage": event.stage,
        "code": event.code,
        "message": event.message,
        "retryable": event.retryable,
    }
    add(connection, failures, row)


def note_unapplied(
    connection: Connection, record: Record, error: Exception, *, life: str = "", event_id: str = ""
) -> None:
    """A row for a record that cannot be applied. It says only what is the same on every rebuild: no driver's words."""
    row = {
        "partition": record.partition,
        "position": record.position,
        "at": record.at,
        "call_id": stored(record.key),
        "life": life,
        "event_id": event_id,
        "stage": "projection",
        "code": _code(error),
        "message": "this record could not be applied to the tables; it stays on the log as it is",
    }
    add(connection, failures, row)


def _code(error: Exception) -> str:
    """The same whatever the database: drivers have different names for a value they refuse."""
    return "Refused" if isinstance(error, DBAPIError | OverflowError) else type(error).__name__


HANDLERS: Handlers = {WorkFailed: _work_failed}
