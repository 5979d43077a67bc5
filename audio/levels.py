"""How loud sound is, and how far speech stands above the noise."""

from __future__ import annotations

import audioop
import math

FULL_SCALE = 32768.0
FLOOR_DBFS = -96.0  # 16 bits reach no lower; digital silence counts as this


def rms_dbfs(pcm: bytes) -> float:
    """Root mean square of s16le PCM in decibels below full scale, FLOOR_DBFS for silence or nothing."""
    rms = audioop.rms(pcm, 2) if pcm else 0
    return max(FLOOR_DBFS, 20 * math.log10(rms / FULL_SCALE)) if rms else FLOOR_DBFS


class LevelMeter:
    """Speech and noise levels of one stream, gathered frame by frame in constant memory."""

    def __init__(self) -> None:
        self._energy = {True: 0.0, False: 0.0}
        self._frames = {True: 0, False: 0}

    def add(self, pcm: bytes, *, voiced: bool) -> None:
        """Take one frame of s16le PCM; frames must be of one length."""
        self._energy[voiced] += float(audioop.rms(pcm, 2)) ** 2
        self._frames[voiced] += 1

    @property
    def speech_dbfs(self) -> float | None:
        """Mean level of voiced frames; None before the first."""
        return self._mean_dbfs(voiced=True)

    @property
    def noise_dbfs(self) -> float | None:
        """Mean level of frames without speech; None before the first."""
        return self._mean_dbfs(voiced=False)

    @property
    def snr_db(self) -> float | None:
        """Speech above noise, in dB: the noise's share is taken out of the speech. None until both were heard."""
        if not self._frames[True] or not self._frames[False]:
            return None
        noise = max(self._energy[False] / self._frames[False], 1.0)  # one step of 16 bits
        speech = max(self._energy[True] / self._frames[True] - noise, 1.0)
        return 10 * math.log10(speech / noise)

    def _mean_dbfs(self, *, voiced: bool) -> float | None:
        if not self._frames[voiced]:
            return None
        mean = self._energy[voiced] / self._frames[voiced]
        return max(FLOOR_DBFS, 10 * math.log10(mean / FULL_SCALE**2)) if mean else FLOOR_DBFS
