"""What a screen is told: which facts, with which fields, and the cursors by which it finds its place again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from schema.envelope import AnyEvent, Unknown, type_of
from schema.private import Sealed

Message = dict[str, Any]

# Type of fact -> the fields shown. Chains, prompts and engines stay inside the house.
SHOWN: Mapping[str, tuple[str, ...]] = {
    "call.started": ("channel", "from_", "to", "direction", "agent", "language", "user_id"),
    "call.ended": ("reason", "duration_ms"),
    "call.summarised": ("revision", "summary", "key_points", "sentiment", "cites"),
    "action.found": ("title", "kind", "due", "assignee", "revision", "number", "cites"),
    "transcript.revised": ("stream", "text", "stability", "start_ms"),
    "transcript.settled": ("stream", "text", "start_ms", "end_ms", "confidence", "language"),
    "text.typed": ("stream", "text"),
    "speech.started": ("stream", "at_ms"),
    "speech.stopped": ("stream", "voiced_ms"),
    "reply.started": ("why", "in_answer_to", "generation", "agent"),
    "reply.sentence": ("reply", "index", "text", "generation"),
    "reply.finished": ("reply", "interrupted", "latency"),
    "reply.interrupted": ("reply", "why"),
    "agent.changed": ("agent", "previous"),
    "tool.called": ("reply", "name", "arguments"),
    "tool.returned": ("call", "status", "result", "message"),
    "stream.opened": ("stream", "door", "encoding", "sample_rate", "channels"),
    "stream.reported": ("stream", "status", "error"),
    "stream.measured": (
        *("stream", "frames", "bytes", "lost", "repeated", "dropped", "largest_gap_ms", "jitter_ms", "ping_ms"),
        *("level_dbfs", "snr_db", "buffered_ms", "client"),
    ),
    "stream.degraded": ("stream", "ping_ms", "loss"),
    "stream.superseded": ("stream", "by"),
    "stream.closed": ("stream", "reason", "code"),
    "stream.lost": ("stream",),
    "stream.heard": ("stream", "through_ms", "complete"),
}
SPEAKERS = {
    **dict.fromkeys(("transcript.revised", "transcript.settled", "text.typed"), "caller"),
    **dict.fromkeys(("reply.started", "reply.sentence", "reply.finished", "reply.interrupted"), "agent"),
}


class BadPosition(ValueError):
    """A position that this log never gave: the client's fault."""


Cursor = Mapping[int, int]  # partition -> the next position to be told
_PLACE = r"[0-9]{1,4}\.[0-9]{1,18}"
_CURSOR = re.compile(rf"{_PLACE}(_{_PLACE}){{0,255}}")


def cursor_text(cursor: Cursor) -> str:
    """Opaque outside; sorted, so that one place has one text."""
    return "_".join(f"{partition}.{cursor[partition]}" for partition in sorted(cursor))


def parse_cursor(text: object) -> Cursor:
    """Raises BadPosition."""
    if not isinstance(text, str) or len(text) > 8_192 or not _CURSOR.fullmatch(text):
        raise BadPosition("a position is text that a message brought as its `position`")
    places = [place.split(".") for place in text.split("_")]
    return {int(partition): int(position) for partition, position in places}


def fact(event: AnyEvent, at: int, agent_name: str) -> Message | None:
    """The fact as a screen is told it, without its position; None for what screens are not told."""
    name = type_of(event)
    fields = SHOWN.get(name)
    if fields is None or isinstance(event, Unknown):
        return None
    message: Message = {"type": name, "call_id": event.call_id, "id": event.id, "timestamp": event.was_at or at}
    if name in SPEAKERS:
        message["speaker"] = SPEAKERS[name]
    if message.get("speaker") == "agent":
        message["agent_name"] = agent_name
    sealed: list[str] = []
    for field in fields:
        shown = field.rstrip("_")
        message[shown] = in_plain(getattr(event, field), sealed, shown)
    if sealed:
        message["sealed"] = sealed
    return message


def in_plain(value: Any, sealed: list[str], name: str) -> Any:
    """The value as JSON has it; what is sealed becomes null, and `sealed` gets its name."""
    match value:
        case Sealed():
            if name not in sealed:
                sealed.append(name)
            return None
        case msgspec.Struct():
            fields = msgspec.structs.asdict(value)
            return {key: in_plain(each, sealed, name) for key, each in fields.items()}
        case dict():
            return {key: in_plain(each, sealed, name) for key, each in value.items()}
        case tuple() | list():
            return [in_plain(each, sealed, name) for each in value]
        case _:
            return value


def error(code: str, message: str, now: int, *, retry_after_ms: int = 0) -> Message:
    told: Message = {"type": "error", "error_code": code, "message": message, "timestamp": now}
    return {**told, "retry_after": retry_after_ms} if retry_after_ms else told


def as_json(message: Message) -> str:
    return msgspec.json.encode(message).decode()
