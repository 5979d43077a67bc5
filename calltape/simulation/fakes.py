"""Engines, an agent and tools that are quick, seeded and now and then fail; their words are known to the invariants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from zlib import crc32

from calltape.simulation import voice
from workers.agents import AgentSaid, CallerSaid, CallTool, Conversation, HangUp, Said, Say, ToolReturned
from workers.engines.port import (
    EngineError,
    Failed,
    Finished,
    Heard,
    HearingRequest,
    MadeBy,
    Settled,
    SpeechToTextCapabilities,
    TextToSpeechCapabilities,
    VoiceRequest,
    Word,
)
from workers.engines.port import Interim as Guess
from workers.profiles import Endpointing, Intent, Interruption, Profile, SilencePrompts

PROFILE = Profile(
    name="toy",
    greeting="hello.",
    endpointing=Endpointing(complete_ms=300, incomplete_ms=1200, steps=(300, 700, 1200)),
    interruption=Interruption(false_barge_in_ms=1000),
    silence=SilencePrompts(after_ms=4000, max=2),
    tools=("remind", "book"),
    repeatable=("remind",),
    intents=(Intent(name="bye", kind="goodbye", patterns=("goodbye",)),),
)


# Longer than any engine is waited for.
LATEST_S = 25.0


def lateness(chance: Random, slowest_ms: int, late: float, *, steep: int = 1) -> float:
    """Seconds until an engine answers: soon, or now and then (`late`) after whoever asked has given it up."""
    soon = chance.random() ** steep * slowest_ms / 1000
    return chance.uniform(2, LATEST_S) if late and chance.random() < late else soon


class ToyDetector:
    """Voiced is what is not silence."""

    frame_bytes = voice.PCM_FRAME_BYTES

    def is_voiced(self, pcm: bytes) -> bool:
        return voice.word_in_pcm(pcm) is not None


class ToySpeechToText:
    """Reads the words out of the frames. Whether an utterance is complete hangs on its last word.

    Two of them need not agree where an utterance ends: `most_words` settles while the caller still speaks, `tail_ms`
    leaves the silence behind so much of it to the next utterance.
    """

    capabilities = SpeechToTextCapabilities("toy", interim=True, grammar=False, words=True)

    def __init__(
        self,
        chance: Random,
        *,
        failing: float = 0.0,
        slowest_ms: int = 300,
        late: float = 0.0,
        most_words: int = 0,
        tail_ms: int | None = None,
    ) -> None:
        self.chance = chance
        self.failing = failing
        self.slowest_ms = slowest_ms
        self.late = late
        self.most_words = most_words
        self.tail_ms = tail_ms

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> ToySpeechStream:
        return ToySpeechStream(self, request, emit)

    def made_by(self, request: HearingRequest) -> MadeBy:
        return MadeBy("toy", "words", "")

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


class ToySpeechStream:
    """Answers come late, but in order."""

    def __init__(self, engine: ToySpeechToText, request: HearingRequest, emit: Callable[[Heard], None]) -> None:
        self._engine = engine
        self._request = request
        self._emit = emit
        self._fed_ms = request.start_ms
        self._carry = b""
        self._words: list[Word] = []
        self._voiced_ms = request.start_ms
        self._from_ms: int | None = None
        self._last_at = 0.0
        self._closed = False

    def feed(self, pcm: bytes) -> None:
        pcm = self._carry + pcm
        known = len(self._words)
        whole = len(pcm) - len(pcm) % voice.PCM_FRAME_BYTES
        for start in range(0, whole, voice.PCM_FRAME_BYTES):
            self._hear(voice.word_in_pcm(pcm[start : start + 4]))
        self._carry = pcm[whole:]
        if len(self._words) > known:
            self._answer(Guess(self._text(), 0.5))

    def speech_started(self, at_ms: int) -> None:
        if self._from_ms is None:
            self._from_ms = at_ms

    def speech_paused(self, silence_ms: int) -> None:
        needed = self._request.complete_ms if self._is_complete() else self._request.incomplete_ms
        if silence_ms >= needed and self._from_ms is not None:
            self._settle()

    def finish(self) -> None:
        if self._from_ms is not None or self._words:
            self._settle()
        self._answer(Finished())

    def close(self) -> None:
        self._closed = True

    def _hear(self, word: int | None) -> None:
        self._fed_ms += voice.FRAME_MS
        if word is None:
            return
        if self._from_ms is None:
            self._from_ms = self._fed_ms - voice.FRAME_MS
        self._voiced_ms = self._fed_ms
        text = voice.text_of(word)
        if word == voice.COUGH or (self._words and self._words[-1].text == text):
            return
        if self._words and len(self._words) == self._engine.most_words:
            begins_ms = self._fed_ms - voice.FRAME_MS
            self._voiced_ms = begins_ms
            self._settle(begins_ms)
            self._from_ms, self._voiced_ms = begins_ms, self._fed_ms
        self._words.append(Word(text, self._fed_ms - voice.FRAME_MS, self._fed_ms))

    def _is_complete(self) -> bool:
        return bool(self._words) and crc32(self._words[-1].text.encode()) % 3 != 0

    def _text(self) -> str:
        return " ".join(word.text for word in self._words)

    def _settle(self, through_ms: int | None = None) -> None:
        if self._engine.chance.random() < self._engine.failing:
            self._answer(Failed(EngineError("toy_failed", "the toy recogniser gave up", retryable=True)))
            return
        start_ms = self._from_ms if self._from_ms is not None else self._fed_ms
        if through_ms is None:
            through_ms = self._fed_ms
            if self._engine.tail_ms is not None:
                through_ms = min(through_ms, max(start_ms, self._voiced_ms) + self._engine.tail_ms)
        settled = Settled(
            text=self._text(),
            confidence=0.9,
            start_ms=start_ms,
            end_ms=max(start_ms, self._voiced_ms),
            through_ms=through_ms,
            complete=self._is_complete(),
            words=tuple(self._words),
        )
        self._words, self._from_ms = [], None
        self._answer(settled)

    def _answer(self, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        delay = lateness(self._engine.chance, self._engine.slowest_ms, self._engine.late)
        self._last_at = max(self._last_at + 1e-6, loop.time() + delay)
        loop.call_at(self._last_at, self._say, heard)

    def _say(self, heard: Heard) -> None:
        if not self._closed:
            self._closed = isinstance(heard, Failed | Finished)
            self._emit(heard)


class ToyTextToSpeech:
    """60 ms a character, made faster than it is played."""

    capabilities = TextToSpeechCapabilities("toy", streaming=True)

    def __init__(self, chance: Random, *, failing: float = 0.0, slowest_ms: int = 200, late: float = 0.0) -> None:
        self.chance = chance
        self.failing = failing
        self.slowest_ms = slowest_ms
        self.late = late

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        frames = list(voice.spoken(request.text))
        for start in range(0, len(frames), 15):
            await asyncio.sleep(lateness(self.chance, self.slowest_ms, self.late))
            if self.chance.random() < self.failing:
                raise EngineError("toy_mute", "the toy voice broke", retryable=True)
            yield b"".join(frames[start : start + 15])

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MadeBy("toy", "voice", "")

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


class ToyAgent:
    """A function of the conversation: the same question in the same place gets the same answer."""

    def __init__(self, chance: Random, *, failing: float = 0.0, slowest_ms: int = 500, late: float = 0.0) -> None:
        self.chance = chance
        self.failing = failing
        self.slowest_ms = slowest_ms
        self.late = late

    def made_by(self) -> MadeBy:
        return MadeBy("toy", "rules", "")

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        for said in answer(conversation):
            await asyncio.sleep(lateness(self.chance, self.slowest_ms, self.late, steep=3))
            if self.chance.random() < self.failing:
                raise EngineError("toy_lost", "the toy agent lost its thread", retryable=True)
            yield said


def answer(conversation: Conversation) -> list[Said]:
    """Everything the toy agent says to it."""
    place = len(conversation.history)
    match conversation.cause:
        case "greeting":
            return [Say("hello."), Say("how are you?")]
        case "prompt" if conversation.prompts > PROFILE.silence.max:
            return [Say("nobody there."), HangUp("silence")]
        case "prompt":
            return [Say(f"still there {conversation.prompts}?")]
        case "request":
            return [Say(conversation.instruction)]
        case "tool":
            done = [item for item in conversation.history if isinstance(item, ToolReturned)]
            return [Say(f"{done[-1].name if done else 'it'} went {done[-1].status if done else 'by'} {place}.")]
    return _answer_turn(conversation, place)


def _answer_turn(conversation: Conversation, place: int) -> list[Said]:
    said = [item for item in conversation.history if isinstance(item, CallerSaid)]
    words = said[-1].text.split() if said else []
    if "goodbye" in words:
        return [Say(f"bye {place}."), HangUp()]
    draw = Random(repr([words, place, sum(isinstance(item, AgentSaid) for item in conversation.history)]))
    sentences: list[Said] = [
        Say(f"{place}{'abcd'[number]} " + " ".join(["so"] * draw.randint(1, 8)) + ".")
        for number in range(draw.randint(1, 3))
    ]
    if "remind" in words:
        return [*sentences[:1], CallTool("remind", {"what": " ".join(words)}, repeatable=True)]
    if "book" in words:
        return [*sentences[:1], CallTool("book", {"what": " ".join(words)})]
    return sentences


class ToyTool:
    """Counts its effects by key: an effect in the world does not die with the process that asked for it."""

    def __init__(self, name: str, chance: Random, effects: dict[str, int]) -> None:
        self.name = name
        self.description = "takes effect"
        self.parameters: Mapping[str, str] = {"what": "anything"}
        self._chance = chance
        self._effects = effects

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        await asyncio.sleep(self._chance.random() * 0.3)
        self._effects[key] = self._effects.get(key, 0) + 1
        await asyncio.sleep(self._chance.random() * 0.3)
        return {"done": "yes"}
