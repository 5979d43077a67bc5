"""An ordered list of engines behind one port: where one fails, the next hears or says the same again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from workers.engines.port import (
    EngineError,
    Failed,
    Heard,
    HearingRequest,
    MadeBy,
    Settled,
    SpeechStream,
    SpeechToText,
    TextToSpeech,
    VoiceRequest,
)

KEPT_MS = 60_000  # of audio to be heard again; what is older is lost to the next engine
WAIT_S = 0.2  # before the second engine; doubled for each after it


class FirstWorkingSpeechToText:
    """Recognisers in the order they are asked. The list must not be empty."""

    def __init__(self, engines: Sequence[SpeechToText], wait_s: float = WAIT_S) -> None:
        self._engines = tuple(engines)
        self._wait_s = wait_s
        self.capabilities = self._engines[0].capabilities

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> SpeechStream:
        return _Replayed(self._engines, request, emit, self._wait_s)

    def made_by(self, request: HearingRequest) -> MadeBy:
        return self._engines[0].made_by(request)

    async def start(self) -> None:
        for engine in self._engines:
            await engine.start()

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()


class _Replayed:
    """One stream over several engines: remembers what was fed since the last settled utterance."""

    def __init__(
        self, engines: Sequence[SpeechToText], request: HearingRequest, emit: Callable[[Heard], None], wait_s: float
    ) -> None:
        self._engines, self._request, self._emit, self._wait_s = engines, request, emit, wait_s
        self._bytes_ms = request.sample_rate // 500
        self._audio, self._from_ms = bytearray(), request.start_ms
        self._started_ms: int | None = None
        self._silence_ms = 0
        self._finishing = self._closed = False
        self._turn = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._stream: SpeechStream | None = None
        self._open()

    def feed(self, pcm: bytes) -> None:
        self._audio += pcm
        self._forget(self._from_ms + max(0, len(self._audio) // self._bytes_ms - KEPT_MS))
        if self._stream is not None:
            self._stream.feed(pcm)

    def speech_started(self, at_ms: int) -> None:
        self._started_ms, self._silence_ms = at_ms, 0
        if self._stream is not None:
            self._stream.speech_started(at_ms)

    def speech_paused(self, silence_ms: int) -> None:
        self._silence_ms = silence_ms
        if self._stream is not None:
            self._stream.speech_paused(silence_ms)

    def finish(self) -> None:
        self._finishing = True
        if self._stream is not None:
            self._stream.finish()

    def close(self) -> None:
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._stream is not None:
            self._stream.close()

    def _open(self) -> None:
        request = replace(self._request, start_ms=self._from_ms)
        turn = self._turn
        stream = self._engines[turn % len(self._engines)].open(request, lambda heard: self._heard(turn, heard))
        self._stream = stream
        stream.feed(bytes(self._audio))
        if self._started_ms is not None:
            stream.speech_started(max(self._started_ms, self._from_ms))
            if self._silence_ms:
                stream.speech_paused(self._silence_ms)
        if self._finishing:
            stream.finish()

    def _heard(self, turn: int, heard: Heard) -> None:
        if self._closed or turn != self._turn:
            return
        if isinstance(heard, Failed) and heard.error.retryable and turn + 1 < len(self._engines):
            self._stream = None
            self._turn += 1
            self._waiting = asyncio.get_running_loop().call_later(self._wait_s * 2**turn, self._open)
            return
        if isinstance(heard, Settled):
            self._forget(heard.through_ms)
            self._started_ms, self._silence_ms = None, 0
        self._emit(heard)

    def _forget(self, before_ms: int) -> None:
        passed_ms = max(0, before_ms - self._from_ms)
        del self._audio[: passed_ms * self._bytes_ms]
        self._from_ms += passed_ms


class FirstWorkingTextToSpeech:
    """Voices in the order they are asked. A sentence that had begun is not begun again in another voice."""

    def __init__(self, engines: Sequence[TextToSpeech], wait_s: float = WAIT_S) -> None:
        self._engines = tuple(engines)
        self._wait_s = wait_s
        self.capabilities = self._engines[0].capabilities

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return self._engines[0].made_by(request)

    async def start(self) -> None:
        for engine in self._engines:
            await engine.start()

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        for turn, engine in enumerate(self._engines):
            begun = False
            try:
                async for piece in engine.speak(request):
                    begun = True
                    yield piece
            except EngineError as error:
                if begun or not error.retryable or engine is self._engines[-1]:
                    raise
                await asyncio.sleep(self._wait_s * 2**turn)
            else:
                return
