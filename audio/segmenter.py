"""Finding where speech begins, pauses and stops, by counting milliseconds of audio and never the clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech was confirmed; its voiced run began at `at_ms`."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """Speech, voiced until `voiced_through_ms`, is followed by `silence_ms` of silence (one of the pause steps)."""

    silence_ms: int
    voiced_through_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The speech is over; what follows needs a new SpeechStarted."""

    voiced_through_ms: int


SpeechEvent = SpeechStarted | SpeechPaused | SpeechStopped


@dataclass(frozen=True, slots=True)
class SegmenterConfig:
    """When voiced frames count as speech, and which silences are worth telling; all in milliseconds of audio.

    `start_ms` voiced within `window_ms` confirm speech. `resume_ms` of unbroken voice end a pause: a click does not.
    `pause_ms` are the silences told, ascending; the last one ends the speech.
    """

    frame_ms: int = 20
    start_ms: int = 80
    window_ms: int = 120
    resume_ms: int = 40
    pause_ms: tuple[int, ...] = (300, 700, 1200)

    def __post_init__(self) -> None:
        if not 0 < self.frame_ms <= self.start_ms <= self.window_ms:
            raise ValueError(f"expected 0 < frame_ms <= start_ms <= window_ms, got {self}")
        ascending = all(a < b for a, b in zip((0, *self.pause_ms), self.pause_ms, strict=False))
        if not self.pause_ms or not ascending:
            raise ValueError(f"pause_ms must ascend from above 0, got {self.pause_ms}")


class Segmenter:
    """One stream's speech. `start_ms` is the stream's clock at the first frame (after a takeover it is not 0)."""

    def __init__(self, config: SegmenterConfig | None = None, start_ms: int = 0) -> None:
        self._config = config or SegmenterConfig()
        self._now_ms = start_ms
        self._candidates: deque[int] = deque()  # where the window's voiced frames began
        self._speaking = False
        self._run_ms = 0  # unbroken voice up to now
        self._voiced_through_ms = start_ms
        self._steps_told = 0

    @property
    def now_ms(self) -> int:
        """The stream's clock after the last frame."""
        return self._now_ms

    @property
    def speaking(self) -> bool:
        """Whether speech is open: started, and neither stopped nor settled."""
        return self._speaking

    def push(self, voiced: bool) -> tuple[SpeechEvent, ...]:
        """Take the next frame."""
        began_ms = self._now_ms
        self._now_ms += self._config.frame_ms
        self._run_ms = self._run_ms + self._config.frame_ms if voiced else 0
        if self._speaking:
            return self._listen_on()
        if voiced:
            self._candidates.append(began_ms)
        return self._confirm()

    def pad(self, ms: int) -> tuple[SpeechEvent, ...]:
        """Take a gap in the audio (lost frames) of `ms` milliseconds; it counts as silence."""
        if ms < 0:
            raise ValueError(f"a gap cannot last {ms} ms")
        if not ms:
            return ()
        self._now_ms += ms
        self._run_ms = 0
        return self._listen_on() if self._speaking else ()

    def settle(self) -> tuple[SpeechEvent, ...]:
        """The owner takes the utterance for finished: ends open speech now, forgets half-confirmed speech."""
        if not self._speaking:
            self._candidates.clear()
            return ()
        return (self._stop(),)

    def _confirm(self) -> tuple[SpeechEvent, ...]:
        while self._candidates and self._candidates[0] < self._now_ms - self._config.window_ms:
            self._candidates.popleft()
        if len(self._candidates) * self._config.frame_ms < self._config.start_ms:
            return ()
        at_ms = self._candidates[0]
        self._candidates.clear()
        self._speaking, self._steps_told, self._voiced_through_ms = True, 0, self._now_ms
        return (SpeechStarted(at_ms),)

    def _listen_on(self) -> tuple[SpeechEvent, ...]:
        if self._run_ms >= self._config.resume_ms:
            self._voiced_through_ms, self._steps_told = self._now_ms, 0
            return ()
        silence_ms = self._now_ms - self._voiced_through_ms
        told: list[SpeechEvent] = []
        for step_ms in self._config.pause_ms[self._steps_told :]:
            if silence_ms < step_ms:
                return tuple(told)
            self._steps_told += 1
            told.append(SpeechPaused(step_ms, self._voiced_through_ms))
        return (*told, self._stop())

    def _stop(self) -> SpeechStopped:
        self._speaking = False
        self._run_ms = 0
        self._candidates.clear()
        return SpeechStopped(self._voiced_through_ms)
