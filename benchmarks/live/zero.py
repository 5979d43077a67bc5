"""Engines, an agent and a voice detector whose own cost is nothing: what is left is ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from workers.agents import Conversation, Said, Say
from workers.engines.port import (
    Finished,
    Heard,
    HearingRequest,
    Interim,
    MadeBy,
    Settled,
    SpeechToTextCapabilities,
    TextToSpeechCapabilities,
    VoiceRequest,
)
from workers.profiles import Profile, SilencePrompts

WORDS = "so many words"
REPLY_MS = 1_600
# Mu-law 0xFF is silence; any other frame of the talkers is voice.
VOICED_BYTE, SILENT_PCM = b"\x10", b"\0\0"
PROFILE = Profile(name="zero", greeting="hello.", silence=SilencePrompts(after_ms=600_000))


class ZeroDetector:
    """Voiced is what does not begin with silence."""

    def is_voiced(self, pcm: bytes) -> bool:
        return pcm[:2] != SILENT_PCM


class ZeroSpeechToText:
    """Knows the words as soon as somebody speaks, and settles them at the first pause."""

    capabilities = SpeechToTextCapabilities("zero", interim=True, grammar=False, words=False)

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> ZeroSpeechStream:
        return ZeroSpeechStream(request, emit)

    def made_by(self, request: HearingRequest) -> MadeBy:
        return MadeBy("zero", "zero", "")

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


class ZeroSpeechStream:
    """One stream; answers come in the loop's next round."""

    def __init__(self, request: HearingRequest, emit: Callable[[Heard], None]) -> None:
        self._request = request
        self._emit = emit
        self._bytes = 0
        self._from_ms: int | None = None
        self._closed = False

    def feed(self, pcm: bytes) -> None:
        self._bytes += len(pcm)

    def speech_started(self, at_ms: int) -> None:
        self._from_ms = at_ms
        self._answer(Interim(WORDS, 0.9))

    def speech_paused(self, silence_ms: int) -> None:
        if self._from_ms is not None and silence_ms >= self._request.complete_ms:
            self._settle(silence_ms)

    def finish(self) -> None:
        if self._from_ms is not None:
            self._settle(0)
        self._answer(Finished())

    def close(self) -> None:
        self._closed = True

    def _settle(self, silence_ms: int) -> None:
        through_ms = self._request.start_ms + self._bytes * 500 // self._request.sample_rate
        start_ms, self._from_ms = self._from_ms or 0, None
        end_ms = max(start_ms, through_ms - silence_ms)
        self._answer(Settled(WORDS, 0.9, start_ms, end_ms, through_ms, complete=True))

    def _answer(self, heard: Heard) -> None:
        asyncio.get_running_loop().call_soon(self._say, heard)

    def _say(self, heard: Heard) -> None:
        if not self._closed:
            self._closed = isinstance(heard, Finished)
            self._emit(heard)


class ZeroVoice:
    """The same prepared sound for every sentence, whole at once."""

    capabilities = TextToSpeechCapabilities("zero", streaming=True)

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        yield b"\x00\x10" * (request.sample_rate * REPLY_MS // 1000)

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MadeBy("zero", "zero", "")

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


class ZeroAgent:
    """One sentence to everything, at once."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def made_by(self) -> MadeBy:
        return MadeBy("zero", "zero", "")

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        yield Say("hello." if conversation.cause == "greeting" else "as you said so many words, here are as many.")
