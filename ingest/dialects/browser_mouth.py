"""What the browser protocol says: facts as transcripts and as who speaks, samples in base64."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from ingest.dialects.app import Navigation, Sent, Track, failed_stage
from schema.call import CallEnded
from schema.envelope import AnyEvent
from schema.speech import SpeechStarted, SpeechStopped, TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted, StreamDegraded
from schema.turn import Latency, ReplyFinished, ReplyInterrupted, ReplySentence


class Mouth:
    """One socket's."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.sent = Sent()
        self._now = now
        self._track = Track()
        self._navigation = Navigation()
        self._speaks = ""  # the reply whose audio goes out

    def fact(self, fact: AnyEvent) -> tuple[str, ...]:
        if isinstance(fact, CallEnded) and fact.reason == "forbidden":
            return ()  # not this page's call: it is told by an error
        said = self._words(fact)
        status = self._track.fact(fact)  # behind the words, which are those of who spoke until now
        return said if status is None else (*said, self.say("status", status=status.value, **self._who()))

    def _words(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case SpeechStarted():
                return (self.say("speech_started", is_user=True),)
            case SpeechStopped():
                return (self.say("speech_stopped", is_user=True),)
            case TranscriptRevised(text=str(text)) if text:
                return (self._transcript(fact.id, text, is_complete=False),)
            case TranscriptSettled(text=str(text)) if text:
                return (self._transcript(fact.id, text, is_complete=True),)
            case ReplySentence(text=str(text)):
                said = {"id": fact.id, "text": text, "is_user": False, "is_complete": True}
                return (self.say("transcript", **said, **self._who()),)
            case PlaybackStarted() | ReplyInterrupted() | ReplyFinished():
                return self._speech(fact)
            case StreamDegraded(ping_ms=ping_ms, loss=loss):
                return (self.say("quality", ping_ms=round(ping_ms), loss=loss, degraded=True),)
        if stage := failed_stage(fact):
            message = f"{stage} is not available now; text goes on"
            return (self.say("error", error_code="ENGINE_UNAVAILABLE", message=message, stage=stage),)
        shown = self._navigation.fact(fact)
        return () if shown is None else (self.say("navigation", page=shown[0], path=shown[1]),)

    def _transcript(self, id_: str, text: str, *, is_complete: bool) -> str:
        return self.say("transcript", id=id_, text=text, is_user=True, is_complete=is_complete)

    def _speech(self, fact: PlaybackStarted | ReplyInterrupted | ReplyFinished) -> tuple[str, ...]:
        """A reply begins once, and ends once: heard to its end, or interrupted."""
        is_heard = fact.reply == self._speaks
        match fact:
            case PlaybackStarted(reply=reply) if not is_heard:
                ended, self._speaks = self._stopped(), reply
                return (*ended, self.say("speech_started", is_user=False))
            case ReplyInterrupted() if is_heard:
                self._speaks = ""
                return (self.say("interrupted"),)
            case ReplyFinished(latency=latency):
                return (*(self._stopped() if is_heard else ()), *self._latency(latency))
            case _:
                return ()

    def _stopped(self) -> tuple[str, ...]:
        spoke, self._speaks = self._speaks, ""
        return (self.say("speech_stopped", is_user=False),) if spoke else ()

    def _latency(self, latency: Latency) -> tuple[str, ...]:
        stages = {f"{name}_ms": getattr(latency, name) for name in Latency.__struct_fields__}
        known = {name: value for name, value in stages.items() if value is not None}
        return (self.say("latency", **known),) if known else ()

    def _who(self) -> dict[str, str]:
        return {"agent_name": self._track.agent_name} if self._track.agent else {}

    def audio(self, payload: bytes) -> str:
        return self.say("audio_chunk", audio=base64.b64encode(payload).decode("ascii"), sequence=self.sent.next())

    def error(self, code: str, message: str, retry_after_ms: int | None) -> str:
        retry = {} if retry_after_ms is None else {"retry_after": retry_after_ms}
        return self.say("error", error_code=code, message=message, **retry)

    def say(self, kind: str, /, **fields: Any) -> str:
        return msgspec.json.encode({"type": kind, **fields, "timestamp": self._now()}).decode()
