"""Gives sentences on the log a voice: text to speech, the stream's own format, and off to its mailbox."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from audio.encoding import EncodingError, Piece, Spoken, sentence_encoder
from audio.formats import AudioFormat, pcm16
from audio.opus import BITRATE, DEGRADED_BITRATE
from schema.envelope import MadeBy
from schema.heard import TOLERANCE_MS
from schema.outbox import OutboxAudio
from workers.engines.port import EngineError, TextToSpeech, VoiceRequest
from workers.lifecycle import Line
from workers.outbound import Outbound
from workers.profiles import Profile

logger = structlog.get_logger()

ENGINE_TIMEOUT_S = 15
# Encoding Opus costs half a millisecond for a tenth of a second: other calls are let in between.
AT_ONCE_MS = 200


@dataclass(frozen=True, slots=True)
class ToSpeak:
    """One sentence to be played on one stream, from `from_ms` on, in one take."""

    call_id: str
    reply: str
    sentence_id: str
    index: int
    text: str
    take: int
    generation: int
    line: Line
    from_ms: int = 0
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class Voiced:
    """The sentence's audio is complete; `duration_ms` 0: it could not be made."""

    sentence: ToSpeak
    duration_ms: int
    made_by: MadeBy | None
    error: EngineError | None = None


class Speaker:
    """One call's voice: its sentences one after the other, each pushed out as it is made."""

    def __init__(self, tts: TextToSpeech, outbound: Outbound, on_voiced: Callable[[Voiced], None]) -> None:
        self._tts = tts
        self._outbound = outbound
        self._on_voiced = on_voiced
        self._waiting: deque[ToSpeak] = deque()
        self._task: asyncio.Task[None] | None = None

    def speak(self, sentence: ToSpeak) -> None:
        self._waiting.append(sentence)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Say nothing more of what waits. What was sent is the ingest's to drop."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while self._waiting:
            sentence = self._waiting.popleft()
            try:
                async with asyncio.timeout(ENGINE_TIMEOUT_S):
                    voiced = await self._voice(sentence)
            except TimeoutError:
                late = EngineError("tts_timeout", f"no voice within {ENGINE_TIMEOUT_S} s", retryable=True)
                voiced = Voiced(sentence, 0, None, late)
            except EngineError as error:
                voiced = Voiced(sentence, 0, None, error)
            except Exception as error:
                logger.error("voice broke", call_id=sentence.call_id, exc_info=error)
                voiced = Voiced(sentence, 0, None, EngineError("tts_broke", type(error).__name__, retryable=False))
            self._on_voiced(voiced)

    async def _voice(self, sentence: ToSpeak) -> Voiced:
        spoken = spoken_to(sentence.line)
        rate = spoken.format.sample_rate
        voice = sentence.profile.voice if sentence.profile is not None else None
        request = VoiceRequest(
            text=sentence.text,
            voice=voice.name if voice is not None else "en-us",
            language=sentence.profile.language if sentence.profile is not None else "en-US",
            sample_rate=rate,
            rate_wpm=voice.rate_wpm if voice is not None else 0,
        )
        try:
            encoder = sentence_encoder(spoken, sentence.from_ms)
        except EncodingError as error:
            raise EngineError("unsupported_format", str(error), retryable=False) from error
        async for pcm in self._tts.speak(request):
            async for part in _parts(pcm, pcm16(rate).bytes_of(AT_ONCE_MS)):
                for piece in encoder.feed(part):
                    self._send(sentence, piece)
        for piece in encoder.finish():
            self._send(sentence, piece)
        by = self._tts.made_by(request)
        return Voiced(sentence, max(1, encoder.duration_ms), MadeBy(by.engine, by.model, by.settings))

    def _send(self, sentence: ToSpeak, piece: Piece) -> None:
        message = OutboxAudio(
            call_id=sentence.call_id,
            stream=sentence.line.id,
            reply=sentence.reply,
            sentence=sentence.index,
            sentence_id=sentence.sentence_id,
            offset_ms=piece.offset_ms,
            take=sentence.take,
            payload=piece.payload,
            last=piece.last,
            generation=sentence.generation,
        )
        self._outbound.audio(sentence.line.mailbox, message)


def spoken_to(line: Line) -> Spoken:
    """The format a stream is spoken to in; a degraded line's packets are smaller, and repeat what may be lost."""
    bitrate = DEGRADED_BITRATE if line.degraded else BITRATE
    wire = AudioFormat(line.encoding, line.sample_rate, line.channels)
    return Spoken(wire, line.packet_ms, bitrate=bitrate, against_loss=line.degraded)


async def _parts(pcm: bytes, size: int) -> AsyncIterator[bytes]:
    """What an engine made in one go, a little at a time."""
    for begins in range(0, len(pcm), size):
        if begins:
            await asyncio.sleep(0)
        yield pcm[begins : begins + size]


def word_start_ms(text: str, duration_ms: int, heard_ms: int) -> int:
    """Beginning of the word that was cut at `heard_ms`, in multiples of 20 ms; 0 when nothing was heard."""
    if heard_ms <= 0 or duration_ms <= 0 or not text:
        return 0
    if heard_ms >= duration_ms - TOLERANCE_MS:
        return duration_ms // 20 * 20
    characters = min(len(text), len(text) * heard_ms // duration_ms)
    start = text.rfind(" ", 0, characters) + 1
    return start * duration_ms // len(text) // 20 * 20
