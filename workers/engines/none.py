"""The engines that are none, for a house that only records: nothing is understood, and nothing is said aloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from workers.engines.port import (
    EngineError,
    Finished,
    Heard,
    HearingRequest,
    MadeBy,
    Settled,
    SpeechToTextCapabilities,
    TextToSpeechCapabilities,
    VoiceRequest,
)

NAME = "none"
NO_PIECES: tuple[bytes, ...] = ()
MADE_BY = MadeBy(NAME, NAME, "")  # nothing that is configured changes the outcome


class NoSpeechToText:
    """The port's `SpeechToText`: every utterance is settled without a word."""

    capabilities = SpeechToTextCapabilities(NAME, interim=False, grammar=False, words=False)

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> Wordless:
        return Wordless(request, emit)

    def made_by(self, request: HearingRequest) -> MadeBy:
        return MADE_BY

    async def start(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """Nothing was taken."""


class Wordless:
    """One stream: it knows how far it was fed, and whether an utterance is open.

    What it settles has no length either. Speech of some length that nobody understands is a turn the agent asks to
    repeat, and here the caller could repeat it for ever.
    """

    def __init__(self, request: HearingRequest, emit: Callable[[Heard], None]) -> None:
        self._request, self._emit = request, emit
        self._loop = asyncio.get_running_loop()
        self._fed_bytes = 0
        self._began_ms: int | None = None  # of the open utterance
        self._closed = False

    def feed(self, pcm: bytes) -> None:
        self._fed_bytes += len(pcm)

    def speech_started(self, at_ms: int) -> None:
        if self._began_ms is None:
            self._began_ms = at_ms

    def speech_paused(self, silence_ms: int) -> None:
        if silence_ms >= self._request.incomplete_ms:
            self._settle()

    def finish(self) -> None:
        self._settle()
        self._tell(Finished())

    def close(self) -> None:
        self._closed = True

    def _settle(self) -> None:
        began_ms, self._began_ms = self._began_ms, None
        if began_ms is None:
            return
        through_ms = self._request.start_ms + self._fed_bytes // (self._request.sample_rate // 500)
        self._tell(Settled("", 0.0, began_ms, began_ms, through_ms))

    def _tell(self, heard: Heard) -> None:
        self._loop.call_soon(self._tell_now, heard)

    def _tell_now(self, heard: Heard) -> None:
        if not self._closed:
            self._emit(heard)


class NoTextToSpeech:
    """The port's `TextToSpeech`: no sentence gets a voice, so that nothing of it is ever taken for heard.

    It is told as any sentence that could not be voiced, by which an app knows to show its words instead.
    """

    capabilities = TextToSpeechCapabilities(NAME, streaming=True)

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        for piece in NO_PIECES:
            yield piece
        raise EngineError("no_voice", "no engine is configured that speaks", retryable=False)

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MADE_BY

    async def start(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """Nothing was taken."""
