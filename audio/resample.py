"""Changing the sample rate of mono s16le PCM, in one go or as it streams."""

from __future__ import annotations

import audioop
from typing import Any

import numpy as np
import soxr

# Upwards, linear interpolation adds no delay (a filter would hold back 60 to 115 ms) and its images lie above
# the telephone band, where nobody listens. Downwards it would alias, so soxr filters: late, but only as
# seen from inside the audio, since what is sampled down (a synthetic voice) comes faster than it is played.
QUALITY = "HQ"


class Resampler:
    """A stream of mono s16le PCM at `from_rate` turned into one at `to_rate`; pieces may be cut anywhere."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        if from_rate <= 0 or to_rate <= 0:
            raise ValueError(f"sample rates must be positive, not {from_rate} and {to_rate}")
        self._from_rate = from_rate
        self._to_rate = to_rate
        self._carry = b""
        self._up_state: Any = None
        self._down = _filter(from_rate, to_rate) if to_rate < from_rate else None

    def feed(self, pcm: bytes) -> bytes:
        """What can be said so far. Upwards there is no delay; downwards some is held until `flush`."""
        if self._carry:
            pcm = self._carry + pcm
        if len(pcm) % 2:
            pcm, self._carry = pcm[:-1], pcm[-1:]
        else:
            self._carry = b""
        return self._convert(pcm, last=False) if pcm else b""

    def flush(self) -> bytes:
        """The end of the stream: what was held back. Half a sample left over is dropped. Ready for a new stream."""
        self._carry = b""
        rest = self._convert(b"", last=True)
        self._up_state = None
        if self._down is not None:
            self._down.clear()
        return rest

    def _convert(self, pcm: bytes, *, last: bool) -> bytes:
        if self._down is not None:
            samples = self._down.resample_chunk(np.frombuffer(pcm, "<i2").astype(np.float32), last=last)
            return bytes(np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes())
        if self._from_rate == self._to_rate or not pcm:
            return pcm
        converted, self._up_state = audioop.ratecv(pcm, 2, 1, self._from_rate, self._to_rate, self._up_state)
        return converted


def _filter(from_rate: int, to_rate: int) -> soxr.ResampleStream:
    # In floats, because its 16-bit output adds random dither: the same audio must give the same bytes.
    return soxr.ResampleStream(from_rate, to_rate, 1, "float32", QUALITY)


def resample(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """All of `pcm` (mono s16le) at another rate."""
    resampler = Resampler(from_rate, to_rate)
    return resampler.feed(pcm) + resampler.flush()
