"""Text to speech by espeak-ng in child processes: no key, no network, and no voice anyone would take for a person."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator

from audio import mulaw
from workers.engines.child import Child, Message
from workers.engines.port import EngineError, MadeBy, TextToSpeechCapabilities, VoiceRequest

MODULE = "workers.engines.espeak_child"
DEFAULT_VOICE = "en-us"
DEFAULT_RATE_WPM = 150
RATES_WPM = (80, 450)  # what espeak-ng takes
MAX_TEXT = 4000  # characters; about four minutes of speech
RESTART_S = 2.0
# Some of what espeak-ng speaks: each is a language (BCP 47, lower case), perhaps with one of its variants.
VOICES = (
    "en-us", "en-gb", "en-us+f3", "cs", "da", "de", "el", "es", "es-419", "fi", "fr", "fr-be", "fr-ch", "hu", "it",
    "nb", "nl", "pl", "pt", "pt-br", "ro", "ru", "sv", "tr", "uk",
)  # fmt: skip


class Espeak:
    """The port's `TextToSpeech`. Each child speaks one sentence at a time, far faster than it is played."""

    capabilities = TextToSpeechCapabilities("espeak-ng", streaming=False, voices=VOICES)

    def __init__(self, children: int = 1) -> None:
        self._children = [Child(MODULE) for _ in range(children)]
        self._turn = itertools.cycle(self._children)

    @property
    def pids(self) -> tuple[int, ...]:
        """The running children's process ids."""
        return tuple(child.pid for child in self._children if child.pid)

    async def start(self) -> None:
        try:
            for child in self._children:
                await child.start()
        except EngineError:
            await self.close()
            raise

    async def close(self) -> None:
        for child in self._children:
            await child.close()

    async def __aenter__(self) -> Espeak:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def made_by(self, request: VoiceRequest) -> MadeBy:
        settings = f"{request.voice or DEFAULT_VOICE}|{request.rate_wpm or DEFAULT_RATE_WPM}|{request.sample_rate}"
        return MadeBy("espeak-ng", "espeak-ng-1.52", hashlib.sha256(settings.encode()).hexdigest()[:16])

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        """Pieces of at most 200 ms."""
        if len(request.text) > MAX_TEXT:
            raise EngineError("text_too_long", f"a sentence has at most {MAX_TEXT} characters", retryable=False)
        child = next(self._turn)
        await child.ready(RESTART_S)
        # Bounded by MAX_TEXT: the child is never behind, it has spoken before the first piece is asked for.
        pieces: asyncio.Queue[Message | None] = asyncio.Queue()
        caller_id = child.register(pieces.put_nowait)
        try:
            child.send({"do": "speak", "id": caller_id, **_wanted(request)})
            while "end" not in (message := _checked(await pieces.get())):
                yield message["pcm"]
        finally:
            child.forget(caller_id)

    async def mulaw(self, text: str, voice: str = DEFAULT_VOICE, rate_wpm: int = DEFAULT_RATE_WPM) -> bytes:
        """All of `text` as mu-law at 8000 Hz: what a caller's telephone would send."""
        request = VoiceRequest(text, voice, "en-US", 8000, rate_wpm)
        return mulaw.encode(b"".join([piece async for piece in self.speak(request)]))


def _wanted(request: VoiceRequest) -> Message:
    slowest, fastest = RATES_WPM
    return {
        "text": request.text,
        "voice": request.voice or DEFAULT_VOICE,
        "sample_rate": request.sample_rate,
        "rate_wpm": min(max(request.rate_wpm or DEFAULT_RATE_WPM, slowest), fastest),
    }


def _checked(message: Message | None) -> Message:
    if message is None:
        raise EngineError("child_gone", "espeak-ng ended while it was speaking; say the sentence again", retryable=True)
    if "error" in message:
        raise EngineError("voice_unknown", message["error"], retryable=False)
    return message
