"""What an ear is given to hear a stream with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workers.engines.port import HearingRequest


class VoiceDetector(Protocol):
    """Whether exactly one frame of s16le PCM holds speech."""

    def is_voiced(self, pcm: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class EarConfig:
    """What the profile and the stream say about hearing it."""

    call_id: str
    stream: str
    request: HearingRequest  # at the rate that the detector is given, too
    steps_ms: tuple[int, ...]
    min_words: int
    through_ms: int = 0  # heard before, by whoever
