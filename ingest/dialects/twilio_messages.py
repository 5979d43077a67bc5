"""The messages of Twilio Media Streams as they are read: unknown fields are ignored, counters are text or numbers."""

from __future__ import annotations

from typing import Any

import msgspec

Number = int | str | None


class Format(msgspec.Struct, frozen=True, rename="camel"):
    encoding: str = "audio/x-mulaw"
    sample_rate: Number = 8000
    channels: Number = 1


class StartBody(msgspec.Struct, frozen=True, rename="camel"):
    account_sid: str = ""
    stream_sid: str = ""
    call_sid: str = ""
    media_format: Format = Format()
    custom_parameters: dict[str, str] = {}


class MediaBody(msgspec.Struct, frozen=True):
    payload: bytes
    track: str = "inbound"
    chunk: Number = None
    timestamp: Number = None


class DtmfBody(msgspec.Struct, frozen=True):
    digit: str
    track: str = "inbound_track"


class MarkBody(msgspec.Struct, frozen=True):
    name: str


class Message(msgspec.Struct, frozen=True, rename="camel", tag_field="event"):
    stream_sid: str = ""
    sequence_number: Number = None


class Connected(Message, frozen=True, tag="connected"):
    pass


class Start(Message, frozen=True, tag="start", kw_only=True):
    start: StartBody


class Media(Message, frozen=True, tag="media", kw_only=True):
    media: MediaBody


class Dtmf(Message, frozen=True, tag="dtmf", kw_only=True):
    dtmf: DtmfBody


class Mark(Message, frozen=True, tag="mark", kw_only=True):
    mark: MarkBody


class Stop(Message, frozen=True, tag="stop"):
    pass


_EVENTS = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})
decoder = msgspec.json.Decoder(Connected | Start | Media | Dtmf | Mark | Stop)


class _Named(msgspec.Struct):
    event: Any = None


_named = msgspec.json.Decoder(_Named)


# What holds counters holds 64 bits.
_LARGEST = 1 << 62


def number(value: Number) -> int | None:
    """A counter as Twilio (strings) or its imitators (ints) write it; None when it is none."""
    if type(value) is str:
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 17 else None
    return value if type(value) is int and 0 <= value < _LARGEST else None


def what_is_wrong(frame: str, error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "not_json"
    try:
        event = _named.decode(frame).event
    except msgspec.ValidationError:
        return "malformed"
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "not_json"
    return "malformed" if isinstance(event, str) and event in _EVENTS else "unknown_event"
