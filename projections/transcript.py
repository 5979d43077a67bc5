"""The transcript: what the caller said, and what of the agent's words reached the caller's ear."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, update

from projections.statements import add, change, find
from projections.streams import played_ms
from projections.tables import lines, streams
from projections.values import Handlers, Place, is_sealed, made_by, stored
from schema.heard import TOLERANCE_MS, heard_words, presumed_duration_ms
from schema.private import Private
from schema.speech import TranscriptSettled
from schema.stream import DtmfPressed, PlaybackCleared, PlaybackMarked, PlaybackStarted, TextTyped
from schema.turn import ReplyFinished, ReplySentence, ReplyVoiced


def _settled(connection: Connection, event: TranscriptSettled, place: Place) -> None:
    stream = find(connection, streams, life=place.life, stream=event.stream)
    opened_ms = 0 if stream is None else stream["opened_ms"]
    row: dict[str, Any] = {
        **_caller_line(event.id, "speech", event.text, event.stream, place),
        "start_ms": opened_ms + event.start_ms,
        "end_ms": opened_ms + event.end_ms,
        "confidence": event.confidence,
        "language": event.language,
        **made_by(event.made_by),
    }
    add(connection, lines, row)


def _typed(connection: Connection, event: TextTyped, place: Place) -> None:
    add(connection, lines, _caller_line(event.id, "text", event.text, event.stream, place))


def _pressed(connection: Connection, event: DtmfPressed, place: Place) -> None:
    add(connection, lines, _caller_line(event.id, "dtmf", event.digit, event.stream, place))


def _caller_line(event_id: str, kind: str, text: Private[str], stream: str, place: Place) -> dict[str, Any]:
    return {
        "id": event_id,
        "life": place.life,
        "position": place.position,
        "speaker": "caller",
        "kind": kind,
        "text": stored(text),
        "heard_text": stored(text),
        "said_ms": place.clock_ms,
        "start_ms": place.clock_ms,
        "end_ms": place.clock_ms,
        "stream": stream,
        "whole": True,
    }


def _sentence(connection: Connection, event: ReplySentence, place: Place) -> None:
    row = {
        "id": event.id,
        "life": place.life,
        "position": place.position,
        "speaker": "agent",
        "kind": "speech",
        "text": stored(event.text),
        "heard_text": "",
        "said_ms": place.clock_ms,
        "reply": event.reply,
        "sentence": event.index,
    }
    add(connection, lines, row)


def _voiced(connection: Connection, event: ReplyVoiced, place: Place) -> None:
    line = _find(connection, place, event.reply, event.index)
    if line is not None:
        spoken = {"duration_ms": event.duration_ms, **made_by(event.made_by)}
        _hear(connection, {**line, **spoken}, line["heard_ms"], **spoken)


def _playback_started(connection: Connection, event: PlaybackStarted, place: Place) -> None:
    line = _find(connection, place, event.reply, event.sentence)
    if line is None:
        return
    values: dict[str, Any] = {"stream": event.stream}
    if line["start_ms"] is None:
        values["start_ms"] = max(0, played_ms(connection, event, place) - event.offset_ms)
    change(connection, lines, {"id": line["id"]}, **values)


def _marked(connection: Connection, event: PlaybackMarked, place: Place) -> None:
    line = _find(connection, place, event.reply, event.sentence)
    if line is not None:
        whole = line["whole"] or event.last
        ending = _ending(connection, line, event, place)
        _hear(connection, {**line, "whole": whole}, event.heard_ms, whole=whole, **ending)


def _cleared(connection: Connection, event: PlaybackCleared, place: Place) -> None:
    line = _find(connection, place, event.reply, event.sentence)
    if line is not None:
        _hear(connection, line, event.heard_ms, **_ending(connection, line, event, place))


def _finished(connection: Connection, event: ReplyFinished, place: Place) -> None:
    """Where a reply was given as text alone, there are no marks: what was finished was read."""
    if event.interrupted:
        return
    silent = (lines.c.duration_ms.is_(None), lines.c.start_ms.is_(None))
    its = update(lines).where(lines.c.life == place.life, lines.c.reply == event.reply, *silent)
    connection.execute(its.values(heard_text=lines.c.text, whole=True))


def _ending(
    connection: Connection, line: RowMapping, event: PlaybackMarked | PlaybackCleared, place: Place
) -> dict[str, int]:
    """A line ends where playback last stood; one of which nothing was heard has neither start nor end."""
    if event.heard_ms == 0 and line["heard_ms"] == 0:
        return {}
    start_ms, clock_ms = line["start_ms"], played_ms(connection, event, place)
    if start_ms is None or line["heard_ms"] == 0:
        # Audio is written ahead of its playing: the first mark says when its first word was heard.
        start_ms = max(start_ms or 0, clock_ms - event.heard_ms)
    return {"start_ms": start_ms, "end_ms": max(start_ms, clock_ms)}


def _hear(connection: Connection, line: Any, heard_ms: int, **values: Any) -> None:
    """Once heard is heard: a later report of less takes nothing back."""
    furthest_ms = max(heard_ms, line["heard_ms"])
    values |= {"heard_ms": furthest_ms, "heard_text": _heard_text(line, furthest_ms)}
    change(connection, lines, {"id": line["id"]}, **values)


def _heard_text(line: Any, heard_ms: int) -> str | None:
    if line["whole"]:
        return str(line["text"])
    text, duration_ms = line["text"], line["duration_ms"]
    if duration_ms is None:
        duration_ms = presumed_duration_ms(text)
    if is_sealed(text) and 0 < heard_ms < duration_ms - TOLERANCE_MS:
        return None  # sealed words cannot be cut without their key
    return heard_words(text, duration_ms, heard_ms)


def _find(connection: Connection, place: Place, reply: str, sentence: int) -> RowMapping | None:
    return find(connection, lines, life=place.life, reply=reply, sentence=sentence)


HANDLERS: Handlers = {
    TranscriptSettled: _settled,
    TextTyped: _typed,
    DtmfPressed: _pressed,
    ReplySentence: _sentence,
    ReplyVoiced: _voiced,
    ReplyFinished: _finished,
    PlaybackStarted: _playback_started,
    PlaybackMarked: _marked,
    PlaybackCleared: _cleared,
}
