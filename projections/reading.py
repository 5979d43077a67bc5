"""Reads everything known of one call from the tables, in a fixed number of statements. Plain functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, FromClause, RowMapping, Table, and_, func, select

from projections.results import (
    Action,
    Call,
    CallDetails,
    Failure,
    KeyPoint,
    Latency,
    Line,
    Recording,
    Reply,
    Stream,
    Summary,
    Tool,
    Turn,
)
from projections.tables import (
    actions,
    failures,
    key_points,
    lines,
    measurements,
    recordings,
    replies,
    streams,
    summaries,
    tools,
    turns,
)

Result = TypeVar("Result")


def read_details(connection: Connection, call: Call) -> CallDetails:
    """Everything known of this life of the call."""
    transcript = _lines(connection, call.life)
    answers = _replies(connection, call.life, transcript)
    summary = _summary(connection, call.life)
    return CallDetails(
        call=call,
        # Speech without intelligible words settles as an empty line: there is nothing to show of it.
        lines=tuple(line for line in transcript if line.text),
        turns=_turns(connection, call.life, answers),
        replies=answers,
        summary=summary,
        key_points=_key_points(connection, call.life, summary),
        actions=_actions(connection, call.life, summary),
        recordings=_all(connection, recordings, call.life, Recording, recordings.c.position),
        streams=_streams(connection, call.life),
        tools=_all(connection, tools, call.life, Tool, tools.c.position),
        failures=_all(connection, failures, call.life, Failure, failures.c.position),
    )


def _all(connection: Connection, table: Table, life: str, kind: type[Result], *order: Any) -> tuple[Result, ...]:
    rows = _rows(connection, table, life, *order)
    return tuple(_as(kind, row) for row in rows)


def _rows(connection: Connection, source: FromClause, life: str, *order: Any) -> Sequence[RowMapping]:
    return connection.execute(select(source).where(source.c.life == life).order_by(*order)).mappings().all()


def _as(kind: type[Result], row: RowMapping, **more: Any) -> Result:
    """A result whose fields are named as the row's columns; lists become tuples."""
    names = [field.name for field in fields(kind) if field.name not in more]  # type: ignore[arg-type]
    return kind(**{name: _frozen(row[name]) for name in names}, **more)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _lines(connection: Connection, life: str) -> tuple[Line, ...]:
    # A line that was never played stands where it was written.
    began = func.coalesce(lines.c.start_ms, lines.c.said_ms)
    return _all(connection, lines, life, Line, began, lines.c.position)


def _replies(connection: Connection, life: str, transcript: Iterable[Line]) -> tuple[Reply, ...]:
    sentences: dict[str, list[Line]] = {}
    for line in sorted(transcript, key=lambda line: line.position):
        sentences.setdefault(line.reply, []).append(line)
    return tuple(
        _as(
            Reply,
            row,
            text=_joined(line.text for line in sentences.get(row["id"], ())),
            heard_text=_joined(line.heard_text for line in sentences.get(row["id"], ())),
            latency=_latency(row),
        )
        for row in _rows(connection, replies, life, replies.c.position)
    )


def _joined(texts: Iterable[str | None]) -> str:
    return " ".join(text for text in texts if text)


def _latency(row: RowMapping) -> Latency:
    return Latency(
        endpoint=row["endpoint"],
        stt=row["stt"],
        agent=row["agent_ms"],
        tts=row["tts"],
        first_audio=row["first_audio"],
        heard=row["heard"],
        barge_in=row["barge_in"],
    )


def _turns(connection: Connection, life: str, answers: Sequence[Reply]) -> tuple[Turn, ...]:
    rows = _rows(connection, turns, life, turns.c.number)
    return tuple(_as(Turn, row, replies=tuple(each for each in answers if each.turn == row["id"])) for row in rows)


def _summary(connection: Connection, life: str) -> Summary | None:
    found = _all(connection, summaries, life, Summary, summaries.c.revision.desc())
    return found[0] if found else None


def _key_points(connection: Connection, life: str, summary: Summary | None) -> tuple[KeyPoint, ...]:
    if summary is None:
        return ()
    rows = _rows(connection, key_points, life, key_points.c.number)
    return tuple(_as(KeyPoint, row) for row in rows if row["revision"] == summary.revision)


def _actions(connection: Connection, life: str, summary: Summary | None) -> tuple[Action, ...]:
    """Those of the summary's revision: a later revision replaces what an earlier one found."""
    rows = _rows(connection, actions, life, actions.c.number, actions.c.position)
    latest = summary.revision if summary is not None else max((row["revision"] for row in rows), default=0)
    return tuple(_as(Action, row) for row in rows if row["revision"] == latest)


def _streams(connection: Connection, life: str) -> tuple[Stream, ...]:
    same = and_(measurements.c.life == streams.c.life, measurements.c.stream == streams.c.stream)
    measured = [column.label(f"measured_{column.name}") for column in measurements.c if column.name not in _KEYS]
    joined = select(streams, *measured).outerjoin(measurements, same).where(streams.c.life == life)
    rows = connection.execute(joined.order_by(streams.c.epoch)).mappings()
    return tuple(_as(Stream, row, measured=_measured(row)) for row in rows)


_KEYS = ("life", "stream")


def _measured(row: RowMapping) -> dict[str, Any] | None:
    if row["measured_at"] is None:
        return None
    return {name.removeprefix("measured_"): row[name] for name in row if name.startswith("measured_")}
