"""Sounds to send down a stream, and how alike two of them are."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

FINE = 48_000  # Hz at which they are compared: half a sample of a low rate would look like another sound


def tone(ms: int, sample_rate: int, *, hertz: float = 440.0, level: int = 9000) -> bytes:
    """A sine, mono s16le."""
    moments = np.arange(sample_rate * ms // 1000) / sample_rate
    return bytes((np.sin(2 * np.pi * hertz * moments) * level).astype("<i2").tobytes())


def sweep(ms: int, sample_rate: int, *, level: int = 9000) -> bytes:
    """From 200 to 3,000 Hz in so many milliseconds: no two moments are alike."""
    moments = np.arange(sample_rate * ms // 1000) / sample_rate
    phase = 2 * np.pi * (200 * moments + 1400 * moments**2 / (ms / 1000))
    return bytes((np.sin(phase) * level).astype("<i2").tobytes())


def samples(pcm: bytes) -> NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def likeness(one: bytes, other: bytes, sample_rate: int, *, most_ms: int = 20) -> tuple[float, float]:
    """(correlation, ms that `other` is late) at the shift up to `most_ms` where they are most alike."""
    a, b = (np.asarray(soxr.resample(samples(pcm), sample_rate, FINE)) for pcm in (one, other))
    # Where both overlap most, by their product's spectrum; then what they have in common there.
    size = 1 << (len(a) + len(b)).bit_length()
    crossed = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    shift = int(np.argmax(crossed[: FINE * most_ms // 1000 + 1]))
    length = min(len(a), len(b) - shift)
    return float(np.corrcoef(a[:length], b[shift : shift + length])[0, 1]), shift * 1000 / FINE


def loudness(pcm: bytes, sample_rate: int, *, window_ms: int = 20) -> NDArray[np.float64]:
    """The level of each window."""
    size = sample_rate * window_ms // 1000
    heard = samples(pcm)
    return np.asarray(np.sqrt(np.mean(heard[: len(heard) // size * size].reshape(-1, size) ** 2, axis=1)))
