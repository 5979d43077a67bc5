"""How much of what is missing in a stream counts as silence: its clock follows a gap, but not every claim of one.

Numbers and timestamps cost a peer nothing, and each second of silence costs every reader. So one gap is LONGEST_GAP_MS
at most, and all of them together are bounded by the sound that came between them. Sound and not the wall clock is the
measure, so that what comes late and all at once, or is uploaded as a whole, is understood as if it had come in time.
"""

from __future__ import annotations

LONGEST_GAP_MS = 10_000
LEAP_MS = 600_000  # nobody misses so much and goes on: that clock was set, and ours goes on
# Of silence for each ms of sound: who sends but the fifth of the time in which he speaks is believed to the full.
SILENCE_A_SOUND = 4
MOST_MS = 60_000  # kept for what is missing later; as much is believed at the beginning


class Gaps:
    """Of one stream, in ms."""

    __slots__ = ("_left_ms",)

    def __init__(self) -> None:
        self._left_ms: float = MOST_MS

    def sound(self, ms: float) -> None:
        """So much came."""
        self._left_ms = min(self._left_ms + ms * SILENCE_A_SOUND, MOST_MS)

    def silence(self, missing_ms: float) -> float:
        """How much of the missing is heard as silence."""
        if not 0 < missing_ms <= LEAP_MS:
            return 0
        silence_ms = min(missing_ms, LONGEST_GAP_MS, self._left_ms)
        self._left_ms -= silence_ms
        return silence_ms
