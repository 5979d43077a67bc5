"""Time as audio counts it: samples, told in whole milliseconds."""

from __future__ import annotations


class SampleClock:
    """Begins at `ms` and goes on with each sample, without the error that adding up rounded pieces makes."""

    def __init__(self, sample_rate: int, ms: int) -> None:
        self._sample_rate = sample_rate
        self._began_ms = ms
        self._samples = 0

    @property
    def ms(self) -> int:
        """Rounded down."""
        return self._began_ms + self._samples * 1000 // self._sample_rate

    def take(self, pcm: bytes) -> None:
        """Mono s16le PCM went by."""
        self._samples += len(pcm) // 2
