"""How one wire does: what came, what was missing, how evenly; and whether it comes too fast."""

from __future__ import annotations

from ingest.config import Limits


class Gauge:
    """Figures of `stream.measured`, counted for each frame."""

    __slots__ = (
        "arrived_at",
        "audio_bytes",
        "dropped",
        "end_ms",
        "frames",
        "jitter",
        "largest_gap",
        "lost",
        "ms",
        "repeated",
    )

    def __init__(self) -> None:
        self.frames = 0
        self.audio_bytes = 0
        self.lost = 0
        self.repeated = 0
        self.dropped = 0
        self.jitter = 0.0
        self.largest_gap = 0
        self.ms = 0  # of the newest frame's first sample
        self.end_ms = 0
        self.arrived_at = 0  # 0: none came yet

    def note(self, *, size: int, ms: int, length_ms: int, lost: int, now: int) -> None:
        if self.arrived_at:
            gap = now - self.arrived_at
            if gap > self.largest_gap:
                self.largest_gap = gap
            # RFC 3550, 6.4.1: a running mean of how far arrival strays from the sender's clock.
            self.jitter += (abs(gap - (ms - self.ms)) - self.jitter) / 16
        self.frames += 1
        self.audio_bytes += size
        self.lost += lost
        self.ms = ms
        self.end_ms = ms + length_ms
        self.arrived_at = now

    def drop(self, lost: int) -> None:
        """A frame that came and was not taken; what was missing before it is missing all the same."""
        self.dropped += 1
        self.lost += lost

    def take_gap(self, now: int) -> int:
        """The largest gap since last asked, one that still lasts included."""
        lasting = now - self.arrived_at if self.arrived_at else 0
        gap, self.largest_gap = max(self.largest_gap, lasting), 0
        return gap


class Bucket:
    """So many messages a second, and a store for bursts."""

    __slots__ = ("_at", "_dropped_at", "_level", "_over_since", "_rate", "_size")

    def __init__(self, limits: Limits, now: int) -> None:
        self._rate = limits.frames_a_second / 1000
        self._size = self._level = float(limits.frames_bucket)
        self._at = now
        self._over_since = 0
        self._dropped_at = -1_000_000

    def take(self, now: int) -> bool:
        """False: one too many."""
        level = self._level + (now - self._at) * self._rate
        self._at = now
        if level > self._size:
            level = self._size
        if level < 1.0:
            self._level = level
            self._note_drop(now)
            return False
        self._level = level - 1.0
        return True

    def over_ms(self, now: int) -> int:
        """How long the sender has been too fast; a second without a drop forgives."""
        return now - self._over_since if now - self._dropped_at <= 1_000 else 0

    def _note_drop(self, now: int) -> None:
        if now - self._dropped_at > 1_000:
            self._over_since = now
        self._dropped_at = now
