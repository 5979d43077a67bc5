"""Opus to and from linear PCM, packet by packet; PyAV's libopus does the work.

Opus always decodes at 48 kHz. An encoder looks 6.5 ms ahead, so sound comes out that much later than it went in, and a
decoder that joins a stream needs some packets before it sounds right (RFC 7845, 4.6, recommends 80 ms).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from audio.chunking import FrameCutter
from audio.lowdelay import LowDelayResampler
from audio.opus_toc import CLOCK_RATE, OpusError, packet_samples
from audio.pyav import pyav

PRIMING_MS = 80
RATES = (8000, 12000, 16000, 24000, 48000)
PACKET_MS = 20
PACKETS_MS = (20, 40, 60)
BITRATE = 24_000  # bits a second; wideband speech is clear at it
DEGRADED_BITRATE = 12_000
EXPECTED_LOSS = 10  # percent, when packets carry the one before them as well


class OpusDecoder:
    """Packets of one stream, in order, to mono s16le PCM at `sample_rate`; stereo is mixed down."""

    def __init__(self, sample_rate: int) -> None:
        """Raises CodecMissingError."""
        self._av = pyav()
        self._resampler = LowDelayResampler(CLOCK_RATE, sample_rate)
        self._codec = self._open()

    def decode(self, packet: bytes) -> bytes:
        """Exactly as long as the packet says. Raises OpusError; the next packet is welcome all the same."""
        samples = packet_samples(packet)  # an empty packet would drain the codec for ever
        try:
            frames = self._codec.decode(self._av.Packet(packet))
        except self._av.error.FFmpegError as error:
            self._codec = self._open()
            raise OpusError(f"{len(packet)} bytes are no Opus sound: {error.strerror}") from error
        pcm = b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)
        return self._resampler.feed(pcm[: samples * 2].ljust(samples * 2, b"\x00"))

    def _open(self) -> Any:
        codec = self._av.CodecContext.create("libopus", "r")
        codec.sample_rate = CLOCK_RATE
        codec.layout = "mono"
        codec.open()
        return codec


class OpusEncoder:
    """Mono s16le PCM at one of RATES to packets of exactly `packet_ms`."""

    def __init__(
        self, sample_rate: int, *, packet_ms: int = PACKET_MS, bitrate: int = BITRATE, against_loss: bool = False
    ) -> None:
        """`against_loss` repeats each packet, coarsely, in the next one. Raises ValueError, CodecMissingError."""
        if sample_rate not in RATES:
            raise ValueError(f"Opus is encoded at {RATES} Hz, not {sample_rate}: resample first")
        if packet_ms not in PACKETS_MS:
            raise ValueError(f"packets are {PACKETS_MS} ms long, not {packet_ms}")
        self._av = pyav()
        self._sample_rate = sample_rate
        self._packet_ms = packet_ms
        self._samples = sample_rate * packet_ms // 1000
        self._cutter = FrameCutter(self._samples * 2)
        self._encoded = 0
        self.set_bitrate(bitrate, against_loss=against_loss)

    def set_bitrate(self, bitrate: int, *, against_loss: bool = False) -> None:
        """From the next packet on; libopus, as PyAV offers it, begins anew for that."""
        codec = self._av.CodecContext.create("libopus", "w")
        codec.sample_rate = self._sample_rate
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = bitrate
        codec.time_base = Fraction(1, self._sample_rate)
        codec.options = {
            "application": "voip",
            "frame_duration": str(self._packet_ms),
            "fec": "1" if against_loss else "0",
            "packet_loss": str(EXPECTED_LOSS if against_loss else 0),
        }
        codec.open()
        self._codec = codec

    def feed(self, pcm: bytes) -> list[bytes]:
        """The packets that are whole by now; pieces may be cut anywhere."""
        return [self._encode(frame) for frame in self._cutter.frames(pcm)]

    def flush(self) -> list[bytes]:
        """The rest, made whole with silence: at most one packet. Ready to go on."""
        rest = self._cutter.flush()
        return [self._encode(rest)] if rest else []

    def _encode(self, pcm: bytes) -> bytes:
        frame = self._av.AudioFrame(format="s16", layout="mono", samples=self._samples)
        frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\x00"))
        frame.sample_rate = self._sample_rate
        frame.pts = self._encoded
        self._encoded += self._samples
        packets = self._codec.encode(frame)
        return b"".join(bytes(packet) for packet in packets)
