"""Changing the sample rate of live sound: a millisecond and a half late at most, and never a sample more or less."""

from __future__ import annotations

import audioop
from functools import lru_cache
from math import ceil, gcd
from typing import TYPE_CHECKING

from audio.chunking import FrameCutter

if TYPE_CHECKING:
    # Loaded by the first stream whose rate is changed: most are not, and a restarted worker is back sooner without.
    import numpy as np
    from numpy.typing import NDArray

# A windowed sinc of so many zero crossings a side: aliases 60 dB below from a third of an octave above the band on.
ZERO_CROSSINGS = 10
KAISER_BETA = 6.0
BAND = 0.92  # of the lower of both rates' own bands; the rest is the filter's slope


class LowDelayResampler:
    """A stream of s16le PCM at `from_rate`, mono or stereo, turned into mono at `to_rate`; pieces may be cut anywhere.

    After n moments in, exactly ceil(n * to_rate / from_rate) samples are out, so clocks that count samples agree. The
    sound itself comes `delay_ms` later (libraries that filter better hold it back 40 to 115 ms).
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int = 1) -> None:
        if from_rate <= 0 or to_rate <= 0:
            raise ValueError(f"sample rates must be positive, not {from_rate} and {to_rate}")
        if channels not in (1, 2):
            raise ValueError(f"one or two channels can be mixed down, not {channels}")
        self._channels = channels
        self._cutter = FrameCutter(2 * channels)
        common = gcd(from_rate, to_rate)
        self._up, self._down = to_rate // common, from_rate // common
        self._taps = _taps(self._up, self._down) if from_rate != to_rate else None
        self.delay_ms = self._taps.shape[1] / 2 * 1000 / from_rate if self._taps is not None else 0.0
        self.reset()

    def reset(self) -> None:
        """Ready for another stream."""
        self._cutter.flush()
        self._next = 0  # where the next sample out lies behind the last one in, in parts of 1 / up
        self._past: NDArray[np.float32] | None = None  # what the filter still needs of what came before

    def feed(self, pcm: bytes) -> bytes:
        """What comes out so far."""
        pcm = self._cutter.feed(pcm)
        if self._channels == 2:
            pcm = audioop.tomono(pcm, 2, 0.5, 0.5)
        if self._taps is None or not pcm:
            return pcm
        import numpy as np
        from numpy.lib.stride_tricks import sliding_window_view

        came = np.frombuffer(pcm, "<i2")
        past = np.zeros(self._taps.shape[1] - 1, dtype=np.float32) if self._past is None else self._past
        samples = np.concatenate((past, came.astype(np.float32)))
        self._past = samples[len(came) :]
        heard = self._filter(sliding_window_view(samples, self._taps.shape[1]), len(came))
        return bytes(np.rint(heard).clip(-32768, 32767).astype("<i2").tobytes())

    def _filter(self, windows: NDArray[np.float32], came: int) -> NDArray[np.float32]:
        import numpy as np

        assert self._taps is not None
        up, down = self._up, self._down
        count = max(0, -(-(came * up - self._next) // down))
        begins = self._next
        self._next += count * down - came * up
        if up == 1:
            # Every so manieth moment, always the same filter: no index is needed.
            return np.asarray(windows[begins::down][:count] @ self._taps[0])
        places = begins + down * np.arange(count)
        return np.asarray(np.einsum("nk,nk->n", windows[places // up], self._taps[places % up]))


@lru_cache(maxsize=32)
def _taps(up: int, down: int) -> NDArray[np.float32]:
    """One filter for each of the `up` places a sample may lie between two that came; each sums to one."""
    import numpy as np

    ratio = min(1.0, up / down)
    side = ceil(ZERO_CROSSINGS / ratio)
    steps = np.arange(2 * side)[None, :] + 1 - side - np.arange(up)[:, None] / up
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (steps / side) ** 2, 0, 1))) / np.i0(KAISER_BETA)
    taps = np.sinc(steps * ratio * BAND) * window
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), dtype=np.float32)
