"""How loud a stream is, and how far speech stands above its noise: from a few of its frames, which costs little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audio import mulaw
from audio.levels import rms_dbfs
from audio.opus_toc import OpusError
from audio.pyav import CodecMissingError

if TYPE_CHECKING:
    from audio.opus import OpusDecoder

EVERY = 5  # frames
# Opening a packet takes 50 us, and a decoder that comes in from elsewhere needs one before it sounds nearly right: two
# of 25 cost 0.2 ms a second of a call, and are ten levels a measurement (5 s of 20 ms packets).
EVERY_PACKET = 25
FEWEST = 10  # levels that tell anything
SPREAD_DB = 6.0  # less between loud and quiet frames is one and the same sound
RATE = 8_000  # Hz; levels need no more


class Loudness:
    """One stream's since last asked. Without PyAV Opus tells nothing."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._levels: list[float] = []
        self._number = 0
        self._decoder: OpusDecoder | None = None

    def note(self, payload: bytes) -> None:
        """A frame as it came."""
        self._number += 1
        if self._encoding == "opus":
            self._note_packet(payload)
        elif self._number % EVERY == 0:
            self._levels.append(rms_dbfs(mulaw.decode(payload) if self._encoding == "mulaw" else _whole(payload)))

    def _note_packet(self, packet: bytes) -> None:
        behind = self._number % EVERY_PACKET
        if behind > 1:
            return
        try:
            self._decoder = self._decoder or _decoder()
            pcm = self._decoder.decode(packet)
        except (OpusError, CodecMissingError):
            return
        if behind:
            self._levels.append(rms_dbfs(pcm))

    def take(self) -> tuple[float | None, float | None]:
        """(level of the louder frames in dBFS, their distance to the quieter ones in dB); None: it cannot be told."""
        levels, self._levels = sorted(self._levels), []
        if len(levels) < FEWEST:
            return None, None
        loud, quiet = levels[len(levels) * 9 // 10], levels[len(levels) // 10]
        spread = loud - quiet
        return round(loud, 1), round(spread, 1) if spread >= SPREAD_DB else None


def _decoder() -> OpusDecoder:
    """Raises CodecMissingError."""
    from audio.opus import OpusDecoder  # with numpy behind it: calls from carriers need neither

    return OpusDecoder(RATE)


def _whole(pcm: bytes) -> bytes:
    """Without the odd byte a client may have cut through."""
    return pcm[: len(pcm) & ~1]
