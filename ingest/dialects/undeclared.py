"""What audio is in when its sender did not say: judged by its first frames.

Opus or PCM, by one frame:
1. A page of Ogg says so itself.
2. More than 1,920 bytes are PCM: a packet holds at most 120 ms, and no voice is sent at more than 128 kbit/s.
3. An odd number of bytes is no PCM; what the rules of packets forbid (RFC 6716, 3.4) is no Opus; under 40 bytes is no
   PCM, not even 2.5 ms at 8 kHz.
4. What could be both is read as samples: compressed bytes are as loud and as rough as noise at full scale, which no
   voice is.

The rate of PCM shows in the time it takes to come: a microphone fills its buffers at its own pace. Half a second is
enough to tell the usual rates apart; what comes faster or slower than any microphone is taken for 16 kHz.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from math import log

from audio.opus_toc import OpusError, packet_ms
from ingest.dialects.intake import OGG_FIRST_BYTES, SAMPLE_RATES

LONGEST_OPUS_BYTES = 1_920
SHORTEST_PCM_BYTES = 40
# Mean magnitude of 16-bit samples, and of the steps between them. Random bytes have 16,384 and 21,845; a voice that is
# loud is smooth, one that hisses is not loud.
LOUD = ROUGH = 8_192
WATCHED_MS = 500
WATCHED_FRAMES = 32
WATCHED_BYTES = 96_000
USUAL_RATE = 16_000
# Beyond these no microphone of SAMPLE_RATES is to be seen: frames came late, all at once, or from a file.
SLOWEST_RATE, FASTEST_RATE = 5_600, 68_000


@dataclass(frozen=True, slots=True)
class Guessed:
    """`container`: ogg, or empty."""

    encoding: str
    sample_rate: int
    container: str = ""


def is_opus(payload: bytes) -> bool:
    """Whether one frame is an Opus packet rather than PCM samples."""
    size = len(payload)
    if size > LONGEST_OPUS_BYTES:
        return False
    try:
        packet_ms(payload)
    except OpusError:
        return False
    if size % 2 or size < SHORTEST_PCM_BYTES:
        return True
    samples = struct.unpack(f"<{size // 2}h", payload)
    level = sum(map(abs, samples))
    steps = sum(abs(after - before) for before, after in pairwise(samples))
    return bool(level >= LOUD * len(samples) and steps >= ROUGH * (len(samples) - 1))


class Guess:
    """Watches the first frames of one stream."""

    def __init__(self) -> None:
        self._frames = 0
        self._bytes = 0
        self._first_bytes = 0
        self._first_at = 0
        self._last_at = 0
        self._sizes: set[int] = set()
        self._certain: Guessed | None = None

    def watch(self, payload: bytes, now_ms: int) -> Guessed | None:
        """A frame, not empty; None: more are needed."""
        if not self._frames:
            self._first_at, self._first_bytes = now_ms, len(payload)
            if payload.startswith(OGG_FIRST_BYTES):
                self._certain = Guessed("opus", USUAL_RATE, "ogg")
            elif is_opus(payload):
                self._certain = Guessed("opus", USUAL_RATE)
        self._frames += 1
        self._bytes += len(payload)
        self._last_at = now_ms
        self._sizes.add(len(payload))
        enough = self._frames >= WATCHED_FRAMES or self._bytes >= WATCHED_BYTES
        return self.best() if self._certain or enough or now_ms - self._first_at >= WATCHED_MS else None

    def best(self) -> Guessed | None:
        """By what came so far; None: nothing came."""
        if self._certain is not None or not self._frames:
            return self._certain
        elapsed_ms = self._last_at - self._first_at
        # The first buffer was filled before it came.
        measured = (self._bytes - self._first_bytes) / 2 * 1000 / elapsed_ms if elapsed_ms > 0 else 0.0
        if not SLOWEST_RATE <= measured <= FASTEST_RATE:
            return Guessed("pcm16", USUAL_RATE)
        rate = min(SAMPLE_RATES, key=lambda known: abs(log(measured / known)))
        return Guessed("pcm16", self._by_sizes(rate) if rate > 40_000 else rate)

    def _by_sizes(self, timed: int) -> int:
        """44.1 and 48 kHz are close: buffers of whole hundredths of a second tell them apart better than time."""
        if all(size % 882 == 0 for size in self._sizes):
            return 44_100
        return 48_000 if all(size % 960 == 0 for size in self._sizes) else timed
