"""What the raw protocol says: facts as `{type, data, metadata}`, each sentence's text right before its packets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.dialects.app import Navigation, Sent, Track, failed_stage
from schema.call import CallEnded
from schema.envelope import AnyEvent
from schema.speech import SpeechStarted, SpeechStopped, TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted, StreamDegraded
from schema.turn import ReplyFinished, ReplyInterrupted, ReplySentence, TurnTaken

SENTENCES_KEPT = 256


@dataclass(slots=True)
class Line:
    """A sentence: `id` is that of its event."""

    id: str
    text: str
    is_told: bool = False


class Mouth:
    """One socket's."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.sent = Sent()
        self._now = now
        self._track = Track()
        self._navigation = Navigation()
        self._lines: dict[tuple[str, int], Line] = {}  # by reply and index
        self._speaks = ""  # the reply whose end is owed
        self._turn_at = 0  # when the caller's turn was known; 0: it was answered
        self._voiced_from = 0

    def fact(self, fact: AnyEvent) -> tuple[str, ...]:
        said = self._words(fact)
        self._track.fact(fact)  # behind the words, which are those of who spoke until now
        return said

    def _words(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case SpeechStarted() | SpeechStopped() | TranscriptRevised() | TranscriptSettled() | TurnTaken():
                return self._caller(fact)
            case ReplySentence() | PlaybackStarted() | ReplyInterrupted() | ReplyFinished():
                return self._agent(fact)
            case StreamDegraded(ping_ms=ping_ms, loss=loss):
                return (self.say("quality", ping=round(ping_ms), loss=loss, degraded=True),)
            case CallEnded(reason=reason, duration_ms=duration_ms) if reason != "forbidden":
                return (self.say("voice_end", reason, final=True, duration=duration_ms),)
        if stage := failed_stage(fact):
            message = f"{stage} is not available now; text goes on"
            return (self.say("error", message, error="ENGINE_UNAVAILABLE", stage=stage),)
        shown = self._navigation.fact(fact)
        return () if shown is None else (self.say("navigation", shown[1], page=shown[0]),)

    def _caller(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case SpeechStarted(at_ms=at_ms):
                self._voiced_from = at_ms
                return (self.say("vad", active=True, audioStartMs=at_ms),)
            case SpeechStopped(voiced_ms=voiced_ms):
                return (self.say("vad", active=False, audioStartMs=self._voiced_from, audioEndMs=voiced_ms),)
            case TranscriptRevised(text=str(text)) if text:
                return (self.say("transcription", text, partial=True, id=fact.id),)
            case TranscriptSettled(text=str(text)) if text:
                return (self.say("user_transcript", text, final=True, id=fact.id),)
            case TurnTaken():
                self._turn_at = self._now()
        return ()

    def _agent(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case ReplySentence(reply=reply, index=index, text=str(text)):
                self._lines[reply, index] = Line(fact.id, text)
                if len(self._lines) > SENTENCES_KEPT:
                    del self._lines[next(iter(self._lines))]
            case PlaybackStarted(reply=reply, sentence=index):
                return self._header(reply, index)
            case ReplyInterrupted(reply=reply) if reply == self._speaks:
                self._speaks = ""
                return (self.say("barge_in"),)
            case ReplyFinished(reply=reply, interrupted=interrupted):
                return self._end(reply, interrupted=interrupted)
        return ()

    def _header(self, reply: str, index: int) -> tuple[str, ...]:
        """Of a sentence whose packets follow; the first of a reply says how long the caller waited for it."""
        ended = self._final() if self._speaks not in ("", reply) else ()
        waited: dict[str, int] = {}
        if self._speaks != reply and self._turn_at:
            waited, self._turn_at = {"latency": max(0, self._now() - self._turn_at)}, 0
        self._speaks = reply
        line = self._lines.get((reply, index), Line("", ""))
        line.is_told = True
        return (*ended, self._sentence(line, streaming=True, **waited))

    def _end(self, reply: str, *, interrupted: bool) -> tuple[str, ...]:
        """What has no voice is at least told."""
        mute = [line for (of, _), line in self._lines.items() if of == reply and not line.is_told]
        self._lines = {key: line for key, line in self._lines.items() if key[0] != reply}
        if interrupted:
            return self._final() if reply == self._speaks else ()
        told = tuple(self._sentence(line, streaming=False) for line in mute)
        return (*told, *self._final()) if told or reply == self._speaks else ()

    def _sentence(self, line: Line, **metadata: Any) -> str:
        id_ = {"id": line.id} if line.id else {}
        return self.say("audio_response", line.text, final=False, **metadata, **id_, **self._place(), **self._who())

    def _final(self) -> tuple[str, ...]:
        self._speaks = ""
        return (self.say("audio_response", streaming=False, final=True, **self._place(), **self._who()),)

    def _place(self) -> dict[str, int]:
        """The number of the next binary frame."""
        return {"sequence": self.sent.sequence + 1}

    def _who(self) -> dict[str, str]:
        return {"agent": self._track.agent_name} if self._track.agent else {}

    def audio(self, payload: bytes) -> bytes:
        self.sent.next()
        return payload

    def error(self, code: str, message: str, retry_after_ms: int | None) -> str:
        retry = {} if retry_after_ms is None else {"retryAfter": retry_after_ms}
        return self.say("error", message, error=code, **retry)

    def say(self, kind: str, /, data: Any = None, **metadata: Any) -> str:
        said = {} if data is None else {"data": data}
        return msgspec.json.encode({"type": kind, **said, "metadata": {**metadata, "timestamp": self._now()}}).decode()
