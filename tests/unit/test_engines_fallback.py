"""Where one engine fails, the next hears the same audio and says the same sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from workers.engines.fallback import FirstWorkingSpeechToText, FirstWorkingTextToSpeech
from workers.engines.pocketsphinx import grammar_words
from workers.engines.port import (
    EngineError,
    Failed,
    Heard,
    HearingRequest,
    MadeBy,
    Settled,
    SpeechToTextCapabilities,
    TextToSpeechCapabilities,
    VoiceRequest,
)

GONE = EngineError("gone", "the engine went away", retryable=True)


class Counting:
    """A recogniser and its stream: settles at a pause with how many bytes it heard, or fails if told to."""

    capabilities = SpeechToTextCapabilities("counting", interim=False, grammar=False, words=False)

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.fed = b""

    def made_by(self, request: HearingRequest) -> MadeBy:
        return MadeBy("counting", "1", "")

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> CountingStream:
        return CountingStream(self, request, emit)


class CountingStream:
    def __init__(self, engine: Counting, request: HearingRequest, emit: Callable[[Heard], None]) -> None:
        self._engine, self._emit, self._start_ms = engine, emit, request.start_ms

    def feed(self, pcm: bytes) -> None:
        self._engine.fed += pcm

    def speech_started(self, at_ms: int) -> None: ...

    def speech_paused(self, silence_ms: int) -> None:
        through_ms = self._start_ms + len(self._engine.fed) // 16
        heard = Settled(str(len(self._engine.fed)), 1.0, self._start_ms, through_ms, through_ms)
        asyncio.get_running_loop().call_soon(self._emit, Failed(GONE) if self._engine.fails else heard)

    def finish(self) -> None: ...

    def close(self) -> None: ...


async def test_the_next_recogniser_hears_the_open_utterance_from_its_beginning() -> None:
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    engines = [Counting(fails=True), Counting(fails=False)]
    stream = FirstWorkingSpeechToText(engines, wait_s=0).open(HearingRequest("en-US", 8000), heard.put_nowait)
    stream.feed(bytes(3200))
    stream.speech_started(100)
    stream.speech_paused(300)
    assert await heard.get() == Settled("3200", 1.0, 0, 200, 200)
    stream.close()


async def test_the_last_recogniser_s_failure_is_told() -> None:
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    stream = FirstWorkingSpeechToText([Counting(fails=True)], wait_s=0).open(
        HearingRequest("en-US", 8000), heard.put_nowait
    )
    stream.speech_paused(300)
    assert await heard.get() == Failed(GONE)


class Beeping:
    """A voice that fails before or after its first piece."""

    capabilities = TextToSpeechCapabilities("beeping", streaming=True)

    def __init__(self, pieces: int, fails: bool) -> None:
        self._pieces, self._fails = pieces, fails

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MadeBy("beeping", "1", "")

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        for _ in range(self._pieces):
            yield b"\x01\x00"
        if self._fails:
            raise GONE


async def test_a_sentence_that_had_not_begun_is_said_by_the_next_voice() -> None:
    voice = FirstWorkingTextToSpeech([Beeping(0, fails=True), Beeping(2, fails=False)], wait_s=0)
    assert [piece async for piece in voice.speak(VoiceRequest("hi", "", "en-US", 8000))] == [b"\x01\x00"] * 2


async def test_a_sentence_that_had_begun_is_not_begun_again() -> None:
    voice = FirstWorkingTextToSpeech([Beeping(1, fails=True), Beeping(2, fails=False)], wait_s=0)
    speaking = voice.speak(VoiceRequest("hi", "", "en-US", 8000))
    assert await anext(speaking) == b"\x01\x00"
    with pytest.raises(EngineError, match="went away"):
        await anext(speaking)


def test_a_grammar_s_words_are_found_among_its_signs() -> None:
    grammar = "#JSGF V1.0;\ngrammar a.b; // note\n<x> = one | /2.5/ two {tag};\npublic <s> = [<x>] (o'clock)+ three*;"
    assert grammar_words(grammar) == {"one", "two", "o'clock", "three"}
