"""The words of the mobile protocol: its keys in both cases, the agents it can name, its audio's content types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingest.dialects.app import read_count, read_object, read_text
from ingest.dialects.base import Began

# A Swift app's JSONEncoder writes camel case; both are read.
CAMEL: Mapping[str, str] = {
    "session_id": "sessionId",
    "audio_data": "audioData",
    "audio_format": "audioFormat",
    "sample_rate": "sampleRate",
    "is_final": "isFinal",
    "content_type": "contentType",
    "duration_ms": "durationMs",
    "agent_type": "agentType",
    "agent_name": "agentName",
    "agent_id": "agentId",
    "error_code": "errorCode",
    "retry_after": "retryAfter",
    "latency_ms": "latencyMs",
    "ping_ms": "pingMs",
    "jitter_ms": "jitterMs",
}
SNAKE: Mapping[str, str] = {camel: snake for snake, camel in CAMEL.items()}

AGENT_TYPES = ("triage", "contact", "estimate", "job", "scheduling")
OUT_PACKET_MS = 60
OUT_OPUS_RATE = 16_000
_DECLARING = ("audio_format", "sample_rate", "channels")


def read_message(frame: str | bytes) -> tuple[dict[str, Any], bool | None] | None:
    """The message with its keys in snake case, and whether they were in camel case (None: none of them tells);
    None if it is no JSON object."""
    found = read_object(frame)
    if found is None:
        return None
    is_camel = True if not found.keys().isdisjoint(SNAKE) else None
    if not found.keys().isdisjoint(CAMEL):
        is_camel = False
    message = {SNAKE.get(key, key): value for key, value in found.items()}
    inner = message.get("metrics")
    if isinstance(inner, dict):
        message["metrics"] = {SNAKE.get(key, key): value for key, value in inner.items()}
    return message, is_camel


def agent_type(name: str) -> str:
    """Of an agent profile such as `hero/estimate` or `hero-estimate`; one the protocol cannot name is `triage`."""
    bare = name.rsplit("/", 1)[-1].rsplit("-", 1)[-1]
    return bare if bare in AGENT_TYPES else AGENT_TYPES[0]


def declares(message: Mapping[str, Any]) -> bool:
    """Whether a start says anything about its audio."""
    return any(message.get(name) is not None for name in _DECLARING)


def beginning(session: str, message: Mapping[str, Any]) -> Began:
    """What a start asks for, unchecked."""
    encoding = read_text(message.get("audio_format")).lower() or "opus"
    usual = 8_000 if encoding == "mulaw" else 16_000
    sample_rate = read_count(message["sample_rate"]) if message.get("sample_rate") is not None else usual
    channels = read_count(message["channels"]) if message.get("channels") is not None else 1
    return began(
        session, message, encoding=encoding, sample_rate=sample_rate or 0, channels=channels if channels else 0
    )


def began(session: str, message: Mapping[str, Any], *, encoding: str, sample_rate: int, channels: int) -> Began:
    """Opus, the default, is answered with Opus; who asks for samples gets samples of the same rate."""
    is_opus = encoding == "opus" or not declares(message)
    return Began(
        session=session,
        agent=read_text(message.get("agent_id"), 64),
        language=read_text(message.get("language"), 35),
        encoding=encoding,
        sample_rate=sample_rate,
        channels=channels,
        out_encoding="opus" if is_opus else encoding,
        out_sample_rate=OUT_OPUS_RATE if is_opus else sample_rate,
        out_channels=1,
        out_packet_ms=OUT_PACKET_MS if is_opus else 0,
    )


def content_type(began: Began) -> str:
    """Of what goes out."""
    if began.out_encoding == "opus":
        return "audio/opus"
    return f"audio/{'mulaw' if began.out_encoding == 'mulaw' else 'pcm'};rate={began.out_sample_rate}"
