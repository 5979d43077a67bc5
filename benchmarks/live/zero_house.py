"""A whole house with engines that cost nothing, for any door: its detector asks how loud it is, its voice is a tone."""

from __future__ import annotations

import audioop
import math
import wave
from array import array
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

from zero import PROFILE, ZeroVoice
from zero_workers import conversation, hearing

from calltape.wiring import House, Runnable
from workers.engines.port import VoiceRequest

ENDPOINT_MS = PROFILE.endpointing.complete_ms  # of silence, before a turn is over
REPLY_MS = 2_600  # long enough to be talked over after two seconds
PIECE_MS = 200  # as voices hand their sound over: what codes it need not have the whole sentence first
# A third of the tone: what a codec lets sound after its end is below, what it makes of its beginning is above.
LEVEL, LOUD = 9_000, 3_000


@cache
def tone(ms: int, sample_rate: int) -> bytes:
    """Begins and ends at once; a codec keeps it, as it does not keep a constant."""
    step = 2 * math.pi * 440 / sample_rate
    return array("h", (round(LEVEL * math.sin(step * at)) for at in range(sample_rate * ms // 1000))).tobytes()


def write_tone(path: Path, ms: int, sample_rate: int = 8_000) -> None:
    """What the caller says, as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(tone(ms, sample_rate))


class LoudDetector:
    """Voiced is what is loud: decoded silence need not be zeros."""

    def is_voiced(self, pcm: bytes) -> bool:
        return audioop.max(pcm, 2) >= LOUD


class ToneVoice(ZeroVoice):
    """The same prepared tone for every sentence, all of it at once."""

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        for _ in range(REPLY_MS // PIECE_MS):
            yield tone(PIECE_MS, request.sample_rate)


class ZeroHouse(House):
    """Every role as it ships, but whoever hears, answers and speaks."""

    async def _hearing(self) -> Runnable:
        return hearing(self._log_of("hearing"), self._identity(), LoudDetector)

    async def _conversation(self) -> Runnable:
        return conversation(self._log_of("conversation"), self._identity(), ToneVoice())
