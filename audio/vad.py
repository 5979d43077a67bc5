"""Telling voiced frames from silence and noise."""

from __future__ import annotations

import webrtcvad

from audio.formats import pcm16

FRAME_MS = 20


class VoiceActivity:
    """WebRTC's detector over 20 ms frames of mono s16le PCM. It adapts to the noise: one instance a stream."""

    def __init__(self, aggressiveness: int = 2, sample_rate: int = 8000) -> None:
        """`aggressiveness` 0 (hears everything) to 3 (clear speech only); `sample_rate` 8000, 16000, 32000 or 48000."""
        if aggressiveness not in range(4):
            raise ValueError(f"aggressiveness is 0, 1, 2 or 3, not {aggressiveness}")
        if sample_rate not in (8000, 16000, 32000, 48000):
            raise ValueError(f"voice activity needs 8000, 16000, 32000 or 48000 Hz, not {sample_rate}: resample first")
        self._vad = webrtcvad.Vad(aggressiveness)
        self._sample_rate = sample_rate
        self.frame_bytes = pcm16(sample_rate).bytes_of(FRAME_MS)

    def is_voiced(self, pcm: bytes) -> bool:
        """Whether exactly 20 ms of PCM hold speech."""
        if len(pcm) != self.frame_bytes:
            raise ValueError(f"a frame has {self.frame_bytes} bytes ({FRAME_MS} ms), got {len(pcm)}: cut it first")
        return bool(self._vad.is_speech(pcm, self._sample_rate))
