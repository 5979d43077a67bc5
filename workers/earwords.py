"""What an ear says about its stream, as drafts of events."""

from __future__ import annotations

from collections.abc import Callable

from schema import speech
from schema.envelope import Event, MadeBy
from schema.failure import WorkFailed
from workers.engines import port
from workers.engines.port import Settled


class EarWords:
    """Drafts for one stream of one call; the writer adds `prior` and role."""

    def __init__(self, call_id: str, stream: str, language: str, new_id: Callable[[], str]) -> None:
        self._call_id = call_id
        self._stream = stream
        self._language = language
        self._new_id = new_id

    def started(self, at_ms: int) -> Event:
        return speech.SpeechStarted(id=self._new_id(), call_id=self._call_id, stream=self._stream, at_ms=at_ms)

    def paused(self, silence_ms: int, voiced_ms: int, voiced_at: int) -> Event:
        return speech.SpeechPaused(
            id=self._new_id(),
            call_id=self._call_id,
            stream=self._stream,
            silence_ms=silence_ms,
            voiced_ms=voiced_ms,
            voiced_at=voiced_at,
        )

    def stopped(self, voiced_ms: int, voiced_at: int) -> Event:
        return speech.SpeechStopped(
            id=self._new_id(), call_id=self._call_id, stream=self._stream, voiced_ms=voiced_ms, voiced_at=voiced_at
        )

    def revised(self, text: str, stability: float, start_ms: int) -> Event:
        return speech.TranscriptRevised(
            id=self._new_id(),
            call_id=self._call_id,
            stream=self._stream,
            text=text,
            stability=round(stability, 3),
            start_ms=start_ms,
        )

    def settled(
        self,
        heard: Settled,
        made_by: port.MadeBy,
        *,
        from_ms: int,
        through_ms: int,
        through_position: int,
        voiced_at: int,
    ) -> Event:
        """An engine's word, kept between where the last one ended and what was heard at all."""
        start_ms = max(from_ms, min(heard.start_ms, through_ms))
        words = tuple(speech.SpokenWord(word.text, max(0, word.start_ms), max(0, word.end_ms)) for word in heard.words)
        return speech.TranscriptSettled(
            id=self._new_id(),
            call_id=self._call_id,
            stream=self._stream,
            text=heard.text,
            start_ms=start_ms,
            end_ms=max(start_ms, min(heard.end_ms, through_ms)),
            through_ms=through_ms,
            through_position=through_position,
            confidence=round(heard.confidence, 4),
            complete=heard.complete,
            language=self._language,
            alternatives=heard.alternatives,
            words=words,
            voiced_at=voiced_at,
            made_by=MadeBy(made_by.engine, made_by.model, made_by.settings),
        )

    def failed(self, code: str, message: str, retryable: bool, *, stage: str = "stt") -> Event:
        return WorkFailed(
            id=self._new_id(), call_id=self._call_id, stage=stage, code=code, message=message, retryable=retryable
        )

    def heard(self, through_ms: int, complete: bool) -> Event:
        return speech.StreamHeard(
            id=self._new_id(), call_id=self._call_id, stream=self._stream, through_ms=through_ms, complete=complete
        )
