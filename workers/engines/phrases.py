"""A cache of spoken sentences in front of a voice, shared by all calls of the process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field

import structlog

from workers.engines.port import EngineError, MadeBy, TextToSpeech, VoiceRequest

logger = structlog.get_logger()

MOST_BYTES = 50_000_000
AT_ONCE = 64  # sentences made for calls; further ones wait
AHEAD_AT_ONCE = 1  # sentences made ahead, and only while none is made for a call
MOST_AHEAD = 1000  # sentences waiting to be made ahead; the oldest are dropped
MAKING_TIMEOUT_S = 30  # a voice that hangs is given up, so that the next asker tries anew
ENTRY_BYTES = 500  # what an entry takes besides its audio and text, about

# Text, voice, language, rate, sample rate, and everything configured that can change the sound.
Key = tuple[str, str, str, int, int, MadeBy]
Manner = tuple[str, str, int]  # voice, language, rate


@dataclass(eq=False, slots=True)
class _Making:
    """One sentence being made: who asks for it meanwhile hears it grow."""

    pieces: list[bytes] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    done: bool = False
    error: EngineError | None = None

    def grow(self) -> None:
        """Wakes everybody who has heard all there is."""
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()


class Phrases:
    """The port's `TextToSpeech` over another one.

    A sentence is made once however many ask for it at the same time, by a task of its own: an asker who leaves takes
    nothing from the others. Least recently used goes first. Errors are everybody's who waited, and are not kept.
    """

    def __init__(self, voice: TextToSpeech, most_bytes: int = MOST_BYTES, *, at_once: int = AT_ONCE) -> None:
        self.capabilities = voice.capabilities
        self.kept_bytes = 0
        self._voice = voice
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, tuple[bytes, ...]] = OrderedDict()
        self._making: dict[Key, _Making] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(at_once)
        self._for_calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._texts: dict[Manner, dict[str, None]] = {}  # said often, by whose voice
        self._rates: dict[Manner, set[int]] = {}  # sample rates a voice was asked for
        self._ahead: deque[VoiceRequest] = deque(maxlen=MOST_AHEAD)
        self._working_ahead = 0

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return self._voice.made_by(request)

    async def start(self) -> None:
        await self._voice.start()

    async def close(self) -> None:
        self._ahead.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for key, making in list(self._making.items()):
            self._finish(key, making)  # its task had not even begun
        await self._voice.close()

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        key = self._key(request)
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            for piece in kept:
                yield piece
            return
        making = self._making.get(key) or self._begin(key, request)
        self._note_rate(request)
        heard = 0
        while True:
            grown = making.grown
            while heard < len(making.pieces):
                heard += 1
                yield making.pieces[heard - 1]
            if making.error is not None:
                # A new exception for each asker: one raised twice would carry both histories.
                error = making.error
                raise EngineError(error.code, str(error), retryable=error.retryable) from error
            if making.done:
                return
            await grown.wait()

    def ahead(self, texts: Iterable[str], *, voice: str, language: str, rate_wpm: int) -> None:
        """Will be said in this voice: made in the background at every sample rate that the voice is asked for."""
        manner = (voice, language, rate_wpm)
        known = self._texts.setdefault(manner, {})
        fresh = [text for text in texts if text not in known]
        known.update(dict.fromkeys(fresh))
        for rate in sorted(self._rates.get(manner, ())):
            self._queue(manner, rate, fresh)

    def _note_rate(self, request: VoiceRequest) -> None:
        manner = (request.voice, request.language, request.rate_wpm)
        rates = self._rates.setdefault(manner, set())
        if request.sample_rate not in rates:
            rates.add(request.sample_rate)
            self._queue(manner, request.sample_rate, self._texts.get(manner, ()))

    def _queue(self, manner: Manner, sample_rate: int, texts: Iterable[str]) -> None:
        voice, language, rate_wpm = manner
        self._ahead.extend(VoiceRequest(text, voice, language, sample_rate, rate_wpm) for text in texts)
        while self._ahead and self._working_ahead < AHEAD_AT_ONCE:
            self._working_ahead += 1
            self._run(self._make_ahead())

    def _key(self, request: VoiceRequest) -> Key:
        by = self._voice.made_by(request)
        return (request.text, request.voice, request.language, request.rate_wpm, request.sample_rate, by)

    def _begin(self, key: Key, request: VoiceRequest) -> _Making:
        making = self._making[key] = _Making()
        self._for_calls += 1
        self._idle.clear()
        self._run(self._make_for_call(key, request, making))
        return making

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_for_call(self, key: Key, request: VoiceRequest, making: _Making) -> None:
        try:
            async with self._slots:
                await self._make(key, request, making)
        finally:
            self._for_calls -= 1
            if not self._for_calls:
                self._idle.set()
            self._finish(key, making)

    async def _make_ahead(self) -> None:
        try:
            while self._ahead:
                # A call that speaks now comes first; it waits for one sentence at most.
                await self._idle.wait()
                request = self._ahead.popleft() if self._ahead else None
                key = self._key(request) if request is not None else None
                if request is None or key is None or key in self._kept or key in self._making:
                    continue
                making = self._making[key] = _Making()
                try:
                    await self._make(key, request, making)
                finally:
                    self._finish(key, making)
        finally:
            self._working_ahead -= 1

    async def _make(self, key: Key, request: VoiceRequest, making: _Making) -> None:
        try:
            async with asyncio.timeout(MAKING_TIMEOUT_S):
                async for piece in self._voice.speak(request):
                    making.pieces.append(piece)
                    making.grow()
        except TimeoutError:
            making.error = EngineError("tts_timeout", f"no voice within {MAKING_TIMEOUT_S} s", retryable=True)
        except EngineError as error:
            making.error = error
        except Exception as error:
            logger.error("voice broke", exc_info=error)
            making.error = EngineError("tts_broke", type(error).__name__, retryable=False)
        else:
            making.done = True
            self._keep(key, tuple(making.pieces))

    def _finish(self, key: Key, making: _Making) -> None:
        """Whoever still waits hears how it ended, even if this process is closing."""
        self._making.pop(key, None)
        if not making.done and making.error is None:
            making.error = EngineError("tts_closed", "the voice was closed while it spoke", retryable=True)
        making.grow()

    def _keep(self, key: Key, pieces: tuple[bytes, ...]) -> None:
        size = _size(key, pieces)
        if size > self._most_bytes or not pieces:
            return
        self._kept[key] = pieces
        self.kept_bytes += size
        while self.kept_bytes > self._most_bytes:
            self.kept_bytes -= _size(*self._kept.popitem(last=False))


def _size(key: Key, pieces: tuple[bytes, ...]) -> int:
    return sum(map(len, pieces)) + len(key[0].encode()) + ENTRY_BYTES
