"""The words of the raw protocol: what a start asks for, and what one binary frame may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audio.opus_toc import is_stereo, packet_ms
from ingest.dialects.app import read_count, read_text
from ingest.dialects.base import Began
from ingest.dialects.intake import Intake

RATE = 48_000  # Hz
PACKET_MS = 20
# One frame of the longest kind (RFC 6716, 3.2.1) behind its first byte: libopus at its highest rate.
MOST_BYTES = 1_276
# Bytes of 20 ms of samples, and their channels: no Opus packet of 20 ms is as long.
PCM_FRAMES: Mapping[int, int] = {1_920: 1, 3_840: 2}
ENCODINGS = ("opus", "pcm16")


@dataclass(frozen=True, slots=True)
class Coding:
    """Of the audio that comes."""

    encoding: str
    sample_rate: int = RATE
    channels: int = 1


class PacketIntake(Intake):
    """Exactly one Opus packet of PACKET_MS a message."""

    def __init__(self, channels: int) -> None:
        super().__init__(encoding="opus", sample_rate=RATE, channels=channels)

    def _length_of(self, payload: bytes) -> float:
        check_packet(payload)
        return float(PACKET_MS)


def check_packet(payload: bytes) -> None:
    """Raises ValueError for what is not one Opus packet of 20 ms."""
    if len(payload) in PCM_FRAMES:
        raise ValueError(f"{len(payload)} bytes look like samples: declare encoding pcm16 in voice_start")
    if len(payload) > MOST_BYTES:
        raise ValueError(f"{len(payload)} bytes are too many for one Opus packet of 20 ms: at most {MOST_BYTES}")
    length = packet_ms(payload)
    if length != PACKET_MS:
        raise ValueError(f"an Opus packet of {length:g} ms: 20 are expected")


def undeclared(payload: bytes) -> Coding:
    """By the first frame of a client that declared nothing. Raises ValueError."""
    channels = PCM_FRAMES.get(len(payload))
    if channels is not None:
        return Coding("pcm16", channels=channels)
    check_packet(payload)
    return Coding("opus", channels=2 if is_stereo(payload) else 1)


def declared(metadata: Mapping[str, Any]) -> Coding:
    """What a start declares, its rate and channels unchecked. Raises ValueError."""
    encoding = read_text(metadata.get("encoding"), 40).lower() or ENCODINGS[0]
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
    channels = metadata.get("channels")
    channels = 1 if channels is None else read_count(channels) or 0
    if encoding == "opus":
        return Coding(encoding, channels=channels)  # a packet's clock is 48 kHz whatever was recorded
    rate = metadata.get("sampleRate")
    return Coding(encoding, RATE if rate is None else read_count(rate) or 0, channels)


def intake_for(coding: Coding) -> Intake:
    """Raises ValueError."""
    if coding.encoding == "opus":
        return PacketIntake(coding.channels)
    return Intake(encoding=coding.encoding, sample_rate=coding.sample_rate, channels=coding.channels)


def began(session: str, coding: Coding, *, agent: str, language: str, site: str) -> Began:
    """What goes out is Opus, whatever comes in."""
    return Began(
        session=session,
        agent=agent,
        language=language,
        parameters={"site": site} if site else {},
        encoding=coding.encoding,
        sample_rate=coding.sample_rate,
        channels=coding.channels,
        out_encoding="opus",
        out_sample_rate=RATE,
        out_channels=1,
        out_packet_ms=PACKET_MS,
    )


def metadata_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    found = message.get("metadata")
    return found if isinstance(found, dict) else {}
