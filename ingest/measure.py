"""How long audio lasts and where it may be cut: samples anywhere, packets nowhere."""

from __future__ import annotations

from typing import Protocol

from audio.formats import AudioFormat
from audio.opus_toc import OpusError, packet_ms


class Measure(Protocol):
    """Of one direction of a stream. Nothing here looks into the sound itself, and nothing raises."""

    cuts: bool  # whether a payload may be cut

    def ms_of(self, payload: bytes) -> int:
        """How long it lasts, in whole milliseconds; 0: it is no sound of this kind."""

    def cut(self, payload: bytes, ms: int) -> tuple[bytes, bytes]:
        """Its first `ms`, at most all, and the rest. Only asked where it cuts."""


class Samples:
    """Raw audio: every millisecond has as many bytes as the next."""

    cuts = True

    def __init__(self, bytes_per_second: int, sample_bytes: int = 1) -> None:
        self._bytes_per_second = bytes_per_second
        self._sample_bytes = sample_bytes  # of all channels: never cut through

    def ms_of(self, payload: bytes) -> int:
        return len(payload) * 1000 // self._bytes_per_second

    def cut(self, payload: bytes, ms: int) -> tuple[bytes, bytes]:
        size = ms * self._bytes_per_second // 1000
        size -= size % self._sample_bytes
        return payload[:size], payload[size:]


TELEPHONE = Samples(8000)


class Packets:
    """Opus: a payload is one packet, as long as it says."""

    cuts = False

    def ms_of(self, payload: bytes) -> int:
        try:
            return int(packet_ms(payload))
        except OpusError:
            return 0

    def cut(self, payload: bytes, ms: int) -> tuple[bytes, bytes]:
        return payload, b""


def measure_of(declared: AudioFormat) -> Measure:
    """The measure of what travels in this format."""
    if declared.encoding == "opus":
        return Packets()
    return Samples(declared.bytes_of(1000), declared.sample_bytes)
