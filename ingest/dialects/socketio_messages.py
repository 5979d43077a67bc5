"""The words of the Socket.IO protocol: how an event is a frame, what a start asks for, which formats it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.website import Site
from ingest.dialects.app import read_count, read_text
from ingest.dialects.base import Began
from ingest.dialects.intake import Ear, Intake, Unpacking

START, AUDIO = "voice:start", "voice:audio_data"
RATE, PACKET_MS = 48_000, 20  # of what goes out, unless samples are asked for
# What a client may call its audio: (container, encoding, usual rate).
FORMATS: Mapping[str, tuple[str, str, int]] = {
    "opus": ("", "opus", RATE),
    "webm": ("webm", "opus", RATE),
    "webm-opus": ("webm", "opus", RATE),
    "ogg": ("webm", "opus", RATE),
    "pcm16": ("", "pcm16", RATE),
    "mulaw": ("", "mulaw", 8_000),
}
OUTS: Mapping[str, int] = {"opus": RATE, "pcm16": RATE, "mulaw": 8_000}
OUT_RATES = (8_000, 16_000, 24_000, 48_000)

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Asked:
    """A start, read: `container` is webm (or Ogg: the bytes say which), or empty."""

    began: Began
    container: str


def read_event(frame: str) -> tuple[str, Any] | None:
    """Name and value of an event; None if it is none."""
    try:
        found = _decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if not isinstance(found, list) or not 1 <= len(found) <= 2 or not isinstance(found[0], str):
        return None
    return found[0], found[1] if len(found) == 2 else None


def write_event(name: object, values: tuple[object, ...]) -> str | bytes:
    """The frame of an event as Socket.IO gives it; what cannot be one becomes a text that is no event."""
    if name == AUDIO and len(values) == 1 and isinstance(values[0], bytes | bytearray):
        return bytes(values[0])
    try:
        # Bytes inside a value become base64.
        return msgspec.json.encode([name, *values]).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return ""


def message_of(name: str, data: object) -> Mapping[str, Any]:
    """The fields of an event's value. One that has none is what its event is about: the audio itself, or the words."""
    return data if isinstance(data, dict) else {"data" if name == AUDIO else "text": data}


def asked(session: str, message: Mapping[str, Any], *, site: Site | None) -> Asked:
    """Raises ValueError for a format there is not."""
    name = read_text(message.get("format"), 40).lower() or "opus"
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is not one of {', '.join(FORMATS)}")
    out = read_text(message.get("responseFormat"), 40).lower() or "opus"
    if out not in OUTS:
        raise ValueError(f"responseFormat {out!r} is not one of {', '.join(OUTS)}")
    container, encoding, usual = FORMATS[name]
    out_rate = _number(message, "responseSampleRate", OUTS[out])
    if out_rate not in OUT_RATES:
        raise ValueError(f"responseSampleRate is one of {', '.join(map(str, OUT_RATES))}, not {out_rate}")
    site_id = read_text(message.get("siteId"), 64)
    began = Began(
        session=session,
        agent=read_text(message.get("agentId"), 64) or (site.agent if site else ""),
        language=read_text(message.get("locale"), 35) or (site.locale if site else ""),
        parameters={"site": site_id} if site_id else {},
        encoding=encoding,
        sample_rate=RATE if encoding == "opus" else _number(message, "sampleRate", usual),
        channels=_number(message, "channels", 1),
        out_encoding=out,
        out_sample_rate=out_rate,
        out_channels=1,
        out_packet_ms=PACKET_MS if out == "opus" else 0,
    )
    wanted = Asked(began, container)
    ear_for(wanted)
    return wanted


def ear_for(wanted: Asked) -> Ear:
    """Raises ValueError."""
    began = wanted.began
    if wanted.container:
        return Unpacking()
    return Intake(encoding=began.encoding, sample_rate=began.sample_rate, channels=began.channels)


def _number(message: Mapping[str, Any], name: str, usual: int) -> int:
    value = message.get(name)
    return usual if value is None else read_count(value) or 0
