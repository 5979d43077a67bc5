"""The JSON that `calltape calls` and `calltape show` print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from projections.results import Call, CallDetails, Latency, Line, Reply, Stream, Turn

STAGES = ("endpoint", "stt", "agent", "tts", "first_audio", "heard", "barge_in")


def moment(at: int | None) -> str | None:
    """ISO 8601 in UTC, of ms since 1970."""
    if at is None:
        return None
    seconds, milliseconds = divmod(at, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def calls_json(calls: Iterable[Call]) -> list[dict[str, Any]]:
    """`calltape calls --json`."""
    return [call_json(call) for call in calls]


def call_json(call: Call) -> dict[str, Any]:
    """One call of the list."""
    return {
        "call_id": call.call_id,
        "channel": call.channel,
        "from": call.from_number,
        "to": call.to_number,
        "agent": call.agent,
        "started_at": moment(call.started_at),
        "ended_at": moment(call.ended_at),
        "reason": call.reason,
        "turns": call.turns,
    }


def show_json(details: CallDetails) -> dict[str, Any]:
    """`calltape show CALL --json`: the call's own fields and everything that was said."""
    call = details.call
    summary = details.summary
    return {
        **call_json(call),
        **_more_of(call),
        "turns": [_turn(turn, details.lines) for turn in details.turns],
        "transcript": [_line(line) for line in details.lines if _heard(line)],
        "summary": None if summary is None else summary.summary,
        "sentiment": None if summary is None else summary.sentiment,
        "key_points": [{"text": point.text, "cites": list(point.cites)} for point in details.key_points],
        "actions": [
            {"title": each.title, "kind": each.kind, "due": each.due, "cites": list(each.cites)}
            for each in details.actions
        ],
        "recording": details.recordings[-1].path if details.recordings else None,
        "streams": [_stream(stream) for stream in details.streams],
        "events": call.events,
    }


def _more_of(call: Call) -> dict[str, Any]:
    return {
        "tenant_id": call.tenant_id,
        "user_id": call.user_id,
        "direction": call.direction,
        "language": call.language,
        "profile_hash": call.profile_hash,
        "engine": call.engine,
        "model": call.model,
        "stt_engine": call.stt_engine,
        "stt_model": call.stt_model,
        "tts_engine": call.tts_engine,
        "tts_model": call.tts_model,
        "duration_ms": call.duration_ms,
        "sealed_at": moment(call.sealed_at),
        "complete": call.complete,
    }


def _turn(turn: Turn, lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "heard": turn.text,
        "reply": " ".join(reply.text for reply in turn.replies if reply.text),
        "reply_heard": " ".join(reply.heard_text for reply in turn.replies if reply.heard_text),
        "interrupted": any(reply.interrupted for reply in turn.replies),
        "latency_ms": _latency([reply.latency for reply in turn.replies]),
        "engines": _engines(turn, lines),
    }


def _latency(spent: list[Latency]) -> dict[str, int | None]:
    """Each stage as the first reply that sounded knows it (a tool's call may leave a reply without audio), else any."""
    heard_first = sorted(spent, key=lambda each: each.tts is None)
    return {
        stage: next((ms for each in heard_first if (ms := getattr(each, stage)) is not None), None) for stage in STAGES
    }


def _engines(turn: Turn, lines: Sequence[Line]) -> dict[str, dict[str, str] | None]:
    """Who heard, answered and spoke first in this turn; null where no engine did, as with typed words."""
    answers = {reply.id for reply in turn.replies}
    return {
        "stt": _maker(line for line in lines if line.id in turn.utterances),
        "agent": _maker(turn.replies),
        "tts": _maker(line for line in lines if line.reply in answers),
    }


def _maker(made: Iterable[Line | Reply]) -> dict[str, str] | None:
    return next(({"engine": each.engine, "model": each.model} for each in made if each.engine), None)


def _heard(line: Line) -> str:
    """The record is what was heard. Sealed words that would have to be cut stand whole."""
    return line.text if line.heard_text is None else line.heard_text


def _line(line: Line) -> dict[str, Any]:
    """`text` is what was heard; `said` is the whole sentence, of which an interruption may have cut the rest."""
    return {
        "id": line.id,
        "speaker": line.speaker,
        "text": _heard(line),
        "start_ms": line.start_ms,
        "end_ms": line.end_ms,
        "said": line.text,
    }


def _stream(stream: Stream) -> dict[str, Any]:
    shown = asdict(stream)
    for name in ("opened_at", "closed_at"):
        shown[name] = moment(shown[name])
    if stream.measured is not None:
        shown["measured"] = {**stream.measured, "at": moment(stream.measured["at"])}
    return shown
