"""G.711 mu-law, the telephone's own encoding, to and from linear PCM."""

from __future__ import annotations

import audioop

SILENCE = b"\xff"  # one sample of mu-law silence


def decode(mulaw: bytes) -> bytes:
    """Mu-law (one byte a sample) to s16le PCM at the same rate."""
    return audioop.ulaw2lin(mulaw, 2)


def encode(pcm16: bytes) -> bytes:
    """s16le PCM to mu-law at the same rate. Raises ValueError on half a sample."""
    if len(pcm16) % 2:
        raise ValueError(f"{len(pcm16)} bytes are no whole number of 16-bit samples: cut the audio at even offsets")
    return audioop.lin2ulaw(pcm16, 2)


def silence(ms: int, sample_rate: int = 8000) -> bytes:
    """`ms` milliseconds of mu-law silence."""
    return SILENCE * (sample_rate * ms // 1000)
