"""The streams of a call, and how the wire last did."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from projections.statements import add, change, find
from projections.tables import measurements, streams
from projections.values import Handlers, Place
from schema.speech import StreamHeard
from schema.stream import (
    PlaybackCleared,
    PlaybackMarked,
    PlaybackStarted,
    StreamClosed,
    StreamDegraded,
    StreamLost,
    StreamMeasured,
    StreamOpened,
    StreamReported,
    StreamSuperseded,
)

# Columns named as the event's own fields.
WIRE = ("frames", "bytes", "lost", "repeated", "dropped", "largest_gap_ms", "jitter_ms", "ping_ms", "buffered_ms")
SOUND = ("level_dbfs", "snr_db")

Playback = PlaybackStarted | PlaybackMarked | PlaybackCleared


def played_ms(connection: Connection, event: Playback, place: Place) -> int:
    """When it was so for the caller, on the call's own clock.

    Its stream's clock judges, for the log may have been away when it was said. Without the stream's word (an older
    ingest) the log's time has to do.
    """
    stream = find(connection, streams, life=place.life, stream=event.stream) if event.at_ms else None
    return place.clock_ms if stream is None else int(stream["opened_ms"]) + event.at_ms


def _opened(connection: Connection, event: StreamOpened, place: Place) -> None:
    before = select(func.count()).select_from(streams).where(streams.c.life == place.life)
    row = {
        "life": place.life,
        "stream": event.stream,
        "position": place.position,
        "epoch": connection.execute(before).scalar_one() + 1,
        "door": event.door,
        "encoding": event.encoding,
        "sample_rate": event.sample_rate,
        "channels": event.channels,
        "mailbox": event.mailbox,
        "opened_at": place.at,
        "opened_ms": place.clock_ms,
    }
    add(connection, streams, row)


def _measured(connection: Connection, event: StreamMeasured, place: Place) -> None:
    same = {"life": place.life, "stream": event.stream}
    figures = {name: getattr(event, name) for name in (*WIRE, *SOUND)}
    row = {**figures, "at": place.at, "client": dict(sorted(event.client.items()))}
    if not change(connection, measurements, same, **row):
        add(connection, measurements, {**same, **row})


def _reported(connection: Connection, event: StreamReported, place: Place) -> None:
    _set(connection, event.stream, place, carrier_status=event.status, carrier_error=event.error)


def _degraded(connection: Connection, event: StreamDegraded, place: Place) -> None:
    known = find(connection, streams, life=place.life, stream=event.stream)
    if known is not None:
        _set(connection, event.stream, place, degraded=known["degraded"] + 1)


def _superseded(connection: Connection, event: StreamSuperseded, place: Place) -> None:
    _set(connection, event.stream, place, superseded_by=event.by)


def _closed(connection: Connection, event: StreamClosed, place: Place) -> None:
    _set(connection, event.stream, place, closed_at=place.at, close_reason=event.reason, close_code=event.code)


def _lost(connection: Connection, event: StreamLost, place: Place) -> None:
    _set(connection, event.stream, place, lost=True)


def _heard(connection: Connection, event: StreamHeard, place: Place) -> None:
    _set(connection, event.stream, place, heard_through_ms=event.through_ms, heard_complete=event.complete)


def _set(connection: Connection, stream: str, place: Place, **values: object) -> None:
    change(connection, streams, {"life": place.life, "stream": stream}, **values)


HANDLERS: Handlers = {
    StreamOpened: _opened,
    StreamMeasured: _measured,
    StreamReported: _reported,
    StreamDegraded: _degraded,
    StreamSuperseded: _superseded,
    StreamClosed: _closed,
    StreamLost: _lost,
    StreamHeard: _heard,
}
