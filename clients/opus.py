"""Opus as an app codes it: linear PCM to packets and back, by PyAV (extra `apps`)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

DECODED_RATE = 48_000  # Hz, whatever was encoded
BITRATE = 24_000  # bits a second, as apps that talk set it


class OpusMissingError(RuntimeError):
    """PyAV is not installed."""


class Encoder:
    """Mono s16le PCM to packets of `packet_ms` (20, 40 or 60)."""

    def __init__(self, sample_rate: int = 48_000, *, packet_ms: int = 20, bitrate: int = BITRATE) -> None:
        self._av = _pyav()
        self._samples = sample_rate * packet_ms // 1000
        self._sample_rate = sample_rate
        self._carry = b""
        self._pts = 0
        self._codec = self._av.CodecContext.create("libopus", "w")
        self._codec.sample_rate = sample_rate
        self._codec.layout = "mono"
        self._codec.format = "s16"
        self._codec.bit_rate = bitrate
        self._codec.time_base = Fraction(1, sample_rate)
        self._codec.options = {"application": "voip", "frame_duration": str(packet_ms)}
        self._codec.open()

    def feed(self, pcm: bytes) -> Iterator[bytes]:
        """The packets that are whole by now."""
        self._carry += pcm
        size = self._samples * 2
        while len(self._carry) >= size:
            frame, self._carry = self._carry[:size], self._carry[size:]
            yield self._encode(frame)

    def flush(self) -> Iterator[bytes]:
        """The last packet, made whole with silence."""
        if self._carry:
            yield from self.feed(bytes(self._samples * 2 - len(self._carry)))

    def _encode(self, pcm: bytes) -> bytes:
        frame = self._av.AudioFrame(format="s16", layout="mono", samples=self._samples)
        frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\x00"))
        frame.sample_rate, frame.pts = self._sample_rate, self._pts
        self._pts += self._samples
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class Decoder:
    """Packets to mono s16le PCM at DECODED_RATE."""

    def __init__(self) -> None:
        self._av = _pyav()
        self._codec = self._av.CodecContext.create("libopus", "r")
        self._codec.sample_rate = DECODED_RATE
        self._codec.layout = "mono"
        self._codec.open()

    def decode(self, packet: bytes) -> bytes:
        """Raises ValueError for what is no packet."""
        if not packet:
            raise ValueError("an Opus packet has at least one byte")
        frames = self._codec.decode(self._av.Packet(packet))
        return b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)


def encode(pcm: bytes, sample_rate: int, *, packet_ms: int = 20, bitrate: int = BITRATE) -> list[bytes]:
    """A whole utterance."""
    encoder = Encoder(sample_rate, packet_ms=packet_ms, bitrate=bitrate)
    return [*encoder.feed(pcm), *encoder.flush()]


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise OpusMissingError("talking Opus needs PyAV: pip install -e '.[apps]' in calltape's folder") from error
    return av
