"""A recogniser that says what the test wants, and one that reads words out of the frames themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from schema.media import MediaReceived
from workers.engines.port import (
    EngineError,
    Failed,
    Finished,
    Heard,
    HearingRequest,
    Interim,
    MadeBy,
    Settled,
    SpeechToTextCapabilities,
)

FRAME_MS = 20
FRAME_BYTES = 320  # s16le at 8 kHz
QUIET = bytes(FRAME_BYTES)


def spoken(word: int) -> bytes:
    """A voiced frame that means the word of that number, 1 to 120."""
    return bytes((0, word)) * (FRAME_BYTES // 2)


class LoudDetector:
    """Voiced is what is not silent."""

    def is_voiced(self, pcm: bytes) -> bool:
        return any(pcm)


def frame(number: int, pcm: bytes = QUIET, *, stream: str = "MZ1", call_id: str = "CA1") -> MediaReceived:
    """The frame of that number, counted from 1, of a stream without gaps."""
    return MediaReceived(call_id=call_id, stream=stream, sequence=number, ms=(number - 1) * FRAME_MS, payload=pcm)


class ToldStream:
    """Keeps what it was told; says what the test says through `emit`."""

    def __init__(self, request: HearingRequest, emit: Callable[[Heard], None]) -> None:
        self.request = request
        self.emit = emit
        self.fed = b""
        self.told: list[str] = []

    def feed(self, pcm: bytes) -> None:
        self.fed += pcm

    def speech_started(self, at_ms: int) -> None:
        self.told.append(f"started {at_ms}")

    def speech_paused(self, silence_ms: int) -> None:
        self.told.append(f"paused {silence_ms}")

    def finish(self) -> None:
        self.told.append("finish")

    def close(self) -> None:
        self.told.append("close")

    @property
    def fed_ms(self) -> int:
        return len(self.fed) // 16

    def settles(self, text: str, through_ms: int, *, start_ms: int = 0, end_ms: int = 0) -> None:
        self.emit(Settled(text, 0.9, start_ms, end_ms or through_ms, through_ms, True))

    def guesses(self, text: str) -> None:
        self.emit(Interim(text, 0.5))

    def fails(self, *, retryable: bool = True) -> None:
        self.emit(Failed(EngineError("gone", "the engine is gone", retryable=retryable)))

    def finishes(self) -> None:
        self.emit(Finished())


class ToldEngine:
    """Opens streams the test can speak through."""

    capabilities = SpeechToTextCapabilities("told", interim=True, grammar=False, words=False)

    def __init__(self) -> None:
        self.streams: list[ToldStream] = []

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> ToldStream:
        self.streams.append(ToldStream(request, emit))
        return self.streams[-1]

    def made_by(self, request: HearingRequest) -> MadeBy:
        return MadeBy("told", "told", "")

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


class ReadingStream:
    """Each run of frames of one number is one word; settles at the first pause and at the end."""

    def __init__(self, request: HearingRequest, emit: Callable[[Heard], None]) -> None:
        self._emit = emit
        self._ms = request.start_ms
        self._words: list[tuple[int, int, int]] = []  # number, start ms, end ms
        self._carry = b""
        self._closed = False
        self._line: list[Heard] = []

    def feed(self, pcm: bytes) -> None:
        self._carry += pcm
        while len(self._carry) >= FRAME_BYTES:
            number = self._carry[1]
            if number and self._words and self._words[-1][0] == number and self._words[-1][2] >= self._ms - FRAME_MS:
                self._words[-1] = (number, self._words[-1][1], self._ms + FRAME_MS)
            elif number:
                self._words.append((number, self._ms, self._ms + FRAME_MS))
            self._carry = self._carry[FRAME_BYTES:]
            self._ms += FRAME_MS

    def speech_started(self, at_ms: int) -> None:
        return None

    def speech_paused(self, silence_ms: int) -> None:
        self._settle()

    def finish(self) -> None:
        if self._words:
            self._settle()
        self._soon(Finished())

    def close(self) -> None:
        self._closed = True

    def _settle(self) -> None:
        words, self._words = self._words, []
        text = " ".join(f"w{number}" for number, _, _ in words)
        start_ms = words[0][1] if words else self._ms
        self._soon(Settled(text, 0.9, start_ms, words[-1][2] if words else self._ms, self._ms, True))

    def _soon(self, heard: Heard) -> None:
        # Timers of one moment keep no order: what is said is taken from the front of one line.
        self._line.append(heard)
        asyncio.get_running_loop().call_later(0.05, self._say_next)

    def _say_next(self) -> None:
        heard = self._line.pop(0)
        if not self._closed:
            self._emit(heard)


class ReadingEngine(ToldEngine):
    """Hears what `spoken` says."""

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> ReadingStream:  # type: ignore[override]
        return ReadingStream(request, emit)
