"""The encodings and rates sound travels in, with the arithmetic between milliseconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass

# Bytes one sample of one channel takes; encodings that are not listed (opus) have no fixed size.
SAMPLE_BYTES = {"mulaw": 1, "pcm16": 2}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How sound is written down: `encoding` (mulaw, pcm16, opus), samples a second, channels."""

    encoding: str
    sample_rate: int
    channels: int = 1

    @property
    def sample_bytes(self) -> int:
        """Bytes of one moment in all channels. Raises ValueError for encodings without a fixed size."""
        size = SAMPLE_BYTES.get(self.encoding)
        if size is None:
            raise ValueError(
                f"{self.encoding} has no fixed sample size: decode it first (fixed: {sorted(SAMPLE_BYTES)})"
            )
        return size * self.channels

    def bytes_of(self, ms: int) -> int:
        """Bytes that `ms` milliseconds take, rounded down to whole samples."""
        return self.sample_rate * ms // 1000 * self.sample_bytes

    def ms_of(self, length: int) -> int:
        """Milliseconds that `length` bytes last, rounded down."""
        return length // self.sample_bytes * 1000 // self.sample_rate


def pcm16(sample_rate: int, channels: int = 1) -> AudioFormat:
    """Signed 16-bit little-endian PCM, the form everything is computed in."""
    return AudioFormat("pcm16", sample_rate, channels)


MULAW_8K = AudioFormat("mulaw", 8000, 1)
PCM16_8K = pcm16(8000)
PCM16_16K = pcm16(16000)
