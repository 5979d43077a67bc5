"""Judges what a server sends down a media stream as strictly as the carrier does (warnings 31950 and 31951)."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

BINARY_FRAME = 31950
INVALID_MESSAGE = 31951
BUFFER_OVERFLOW = 31931

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of the carrier's that the server broke; `code` is the carrier's warning, 0 where it stays silent."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """mu-law 8 kHz audio for the caller."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


Message = Media | Mark | Clear


class _Refused(Exception):
    """A message that breaks a rule; never leaves this module."""


def judge(frame: str | bytes, stream_sid: str) -> Message | Violation:
    """The message in a frame, or the rule it breaks; like the carrier, a message that breaks one is not obeyed."""
    if isinstance(frame, bytes):
        return Violation(BINARY_FRAME, f"binary frame of {len(frame)} bytes; only text frames are understood")
    try:
        return _message(frame, stream_sid)
    except _Refused as refused:
        return Violation(INVALID_MESSAGE, f"{refused}; in {frame[:_SHOWN]!r}")


def _message(frame: str, stream_sid: str) -> Message:
    try:
        message = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise _Refused(f"not JSON ({error})") from error
    if not isinstance(message, dict):
        raise _Refused("expected a JSON object")
    event = message.get("event")
    if not isinstance(event, str) or event not in _READERS:
        raise _Refused(f"unknown event {event!r}; expected media, mark or clear")
    keys, read = _READERS[event]
    _exactly(message, keys, event)
    if message["streamSid"] != stream_sid:
        raise _Refused(f"streamSid {message['streamSid']!r} is not this stream's {stream_sid!r}")
    return read(message)


def _media(message: dict[str, object]) -> Message:
    payload = _text(message, "media", "payload")
    try:
        return Media(base64.b64decode(payload, validate=True))
    except (binascii.Error, ValueError) as error:
        raise _Refused(f"media.payload is not base64 ({error})") from error


def _mark(message: dict[str, object]) -> Message:
    return Mark(_text(message, "mark", "name"))


def _clear(_message: dict[str, object]) -> Message:
    return Clear()


_READERS: dict[str, tuple[frozenset[str], Callable[[dict[str, object]], Message]]] = {
    "media": (frozenset({"event", "streamSid", "media"}), _media),
    "mark": (frozenset({"event", "streamSid", "mark"}), _mark),
    "clear": (frozenset({"event", "streamSid"}), _clear),
}


def _text(message: dict[str, object], part: str, field: str) -> str:
    """The one string that the object `part` holds."""
    inner = message[part]
    if not isinstance(inner, dict):
        raise _Refused(f"{part} must be an object")
    _exactly(inner, frozenset({field}), part)
    value = inner[field]
    if not isinstance(value, str):
        raise _Refused(f"{part}.{field} must be a string, got {type(value).__name__}")
    return value


def _exactly(found: dict[str, object], keys: frozenset[str], where: str) -> None:
    if missing := keys - set(found):
        raise _Refused(f"{where} lacks {sorted(missing)}")
    if extra := set(found) - keys:
        raise _Refused(f"{where} has extra {sorted(extra)}")
