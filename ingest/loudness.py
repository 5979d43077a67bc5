"""How loud a stream is, and how far speech stands above its noise: from one frame in five, so that it costs little."""

from __future__ import annotations

from audio import mulaw
from audio.levels import rms_dbfs

EVERY = 5  # frames
FEWEST = 10  # levels that tell anything
SPREAD_DB = 6.0  # less between loud and quiet frames is one and the same sound


class Loudness:
    """One stream's since last asked. A codec that would have to be opened (Opus) is not looked into."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._levels: list[float] = []
        self._number = 0

    def note(self, payload: bytes) -> None:
        """A frame as it came."""
        self._number += 1
        if self._number % EVERY or self._encoding == "opus":
            return
        self._levels.append(rms_dbfs(mulaw.decode(payload) if self._encoding == "mulaw" else _whole(payload)))

    def take(self) -> tuple[float | None, float | None]:
        """(level of the louder frames in dBFS, their distance to the quieter ones in dB); None: it cannot be told."""
        levels, self._levels = sorted(self._levels), []
        if len(levels) < FEWEST:
            return None, None
        loud, quiet = levels[len(levels) * 9 // 10], levels[len(levels) // 10]
        spread = loud - quiet
        return round(loud, 1), round(spread, 1) if spread >= SPREAD_DB else None


def _whole(pcm: bytes) -> bytes:
    """Without the odd byte a client may have cut through."""
    return pcm[: len(pcm) & ~1]
