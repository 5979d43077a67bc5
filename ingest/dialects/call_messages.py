"""The words of the call-control protocol: what a start asks for, which formats it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ingest.dialects.app import read_count, read_text
from ingest.dialects.base import Began

HISTORY = 50  # lines, the newest
LINE = 4_000  # characters
OUT_RATES = (8_000, 16_000, 24_000, 48_000)
OUT_PACKET_MS = 60
Out = Literal["pcm16", "wav", "mulaw", "opus"]
_WEBM = "webm-opus"
# What a client may call its audio, and how we call it: (container, encoding).
FORMATS: Mapping[str, tuple[str, str]] = {
    _WEBM: ("webm", "opus"),
    "webm": ("webm", "opus"),
    "ogg-opus": ("webm", "opus"),
    "ogg": ("webm", "opus"),
    "opus": ("", "opus"),
    "wav": ("wav", "pcm16"),
    "pcm16": ("", "pcm16"),
    "mulaw": ("", "mulaw"),
}
OUTS: Mapping[str, Out] = {"pcm16": "pcm16", "wav": "wav", "mulaw": "mulaw", "opus": "opus"}


class Unwanted(ValueError):
    """A start that asks for what there is not; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A start, read: `container` is webm (or Ogg: the bytes say which), wav, or empty."""

    began: Began
    container: str
    out: Out


def asked(session: str, message: Mapping[str, Any]) -> Asked:
    """Raises Unwanted."""
    name = read_text(message.get("format"), 40).lower() or _WEBM
    if name not in FORMATS:
        raise Unwanted(f"format {name!r} is not one of {', '.join(FORMATS)}")
    container, encoding = FORMATS[name]
    out_name = read_text(message.get("response_format"), 40).lower() or "pcm16"
    if out_name not in OUTS:
        raise Unwanted(f"response_format {out_name!r} is not one of {', '.join(OUTS)}")
    out = OUTS[out_name]
    usual = {"opus": 48_000, "mulaw": 8_000}.get(encoding, 16_000)
    out_rate = _number(message, "response_sample_rate", 8_000 if out == "mulaw" else 16_000)
    if out_rate not in OUT_RATES:
        raise Unwanted(f"response_sample_rate is one of {', '.join(map(str, OUT_RATES))}, not {out_rate}")
    began = Began(
        session=session,
        agent=read_text(message.get("agent_id"), 64),
        language=read_text(message.get("language"), 35),
        history=_history(message.get("history")),
        encoding=encoding,
        sample_rate=_number(message, "sample_rate", usual),
        channels=_number(message, "channels", 1),
        out_encoding="pcm16" if out == "wav" else out,
        out_sample_rate=out_rate,
        out_channels=1,
        out_packet_ms=OUT_PACKET_MS if out == "opus" else 0,
    )
    return Asked(began, container, out)


def _number(message: Mapping[str, Any], name: str, usual: int) -> int:
    value = message.get(name)
    return usual if value is None else read_count(value) or 0


def _history(value: object) -> tuple[tuple[Literal["caller", "agent"], str], ...]:
    """The newest lines; what is no line is left out."""
    lines: list[tuple[Literal["caller", "agent"], str]] = []
    for line in value if isinstance(value, list) else ():
        speaker = line.get("speaker") if isinstance(line, dict) else None
        text = read_text(line.get("text"), LINE) if isinstance(line, dict) else ""
        if text and speaker == "caller":
            lines.append(("caller", text))
        elif text and speaker == "agent":
            lines.append(("agent", text))
    return tuple(lines[-HISTORY:])
