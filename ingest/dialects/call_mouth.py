"""What the call-control protocol says: facts as transcripts and responses, audio in the format that was asked for."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from audio.wav import wav_bytes
from ingest.dialects.app import Sent, Track, failed_stage
from ingest.dialects.call_messages import Asked, Out
from schema.call import CallEnded
from schema.envelope import AnyEvent
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackStarted, StreamDegraded
from schema.turn import ReplyComposed, ReplyFinished, ReplyInterrupted, ReplySentence, ReplyStarted


class Mouth:
    """One socket's."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.sent = Sent()
        self.session = ""
        self._now = now
        self._call = ""
        self._out: Out = "pcm16"
        self._rate = 0
        self._track = Track()
        self._writes = False  # a response has begun and not ended
        self._speaks = False

    def begun(self, wanted: Asked, *, call: str) -> None:
        """`call` is its name on the log."""
        self._out, self._rate = wanted.out, wanted.began.out_sample_rate
        self.session, self._call = wanted.began.session, call

    def started(self) -> str:
        return self.say("call_started", call_id=self.session, call=self._call)

    def fact(self, fact: AnyEvent) -> tuple[str, ...]:
        said = self._words(fact)
        self._track.fact(fact)  # behind the words, which are those of who spoke until now
        return said

    def _words(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case TranscriptRevised(text=str(text)) if text:
                return (self._transcript(fact.id, text, is_final=False),)
            case TranscriptSettled(text=str(text)) if text:
                return (self._transcript(fact.id, text, is_final=True),)
            case ReplySentence(text=str(text)):
                self._writes = True
                return (self.say("response", id=fact.id, text=text, is_final=False, **self._who()),)
            case PlaybackStarted():
                self._speaks = True
            case ReplyStarted():
                return self._over(interrupted=True)
            case ReplyComposed():
                return self._written(interrupted=False)
            case ReplyFinished(interrupted=interrupted):
                return self._over(interrupted=interrupted)
            case ReplyInterrupted():
                return self._over(interrupted=True)
            case CallEnded(reason=reason, duration_ms=duration_ms) if reason != "forbidden":
                return (*self._over(interrupted=True), self.say("call_ended", reason=reason, duration_ms=duration_ms))
            case StreamDegraded(ping_ms=ping_ms, loss=loss):
                return (self.say("quality", ping_ms=round(ping_ms), loss=loss, degraded=True),)
        stage = failed_stage(fact)
        return (self._unavailable(stage),) if stage else ()

    def _transcript(self, id_: str, text: str, *, is_final: bool) -> str:
        return self.say("transcript", id=id_, text=text, is_final=is_final, speaker="caller")

    def _who(self) -> dict[str, str]:
        return {"agent_name": self._track.agent_name} if self._track.agent else {}

    def _written(self, *, interrupted: bool) -> tuple[str, ...]:
        if not self._writes:
            return ()
        self._writes = False
        cut = {"interrupted": True} if interrupted else {}
        return (self.say("response", text="", is_final=True, **cut, **self._who()),)

    def _over(self, *, interrupted: bool) -> tuple[str, ...]:
        """The end of a reply, once, however it ended: an interrupted one is not to be played further."""
        written = self._written(interrupted=interrupted)
        if not self._speaks:
            return written
        self._speaks = False
        return (self._audio_response(b"", is_final=True, interrupted=interrupted), *written)

    def _unavailable(self, stage: str) -> str:
        message = f"{stage} is not available now; text goes on"
        return self.say("error", error_code="ENGINE_UNAVAILABLE", message=message, stage=stage)

    def audio(self, payload: bytes) -> str:
        return self._audio_response(wav_bytes(payload, self._rate) if self._out == "wav" else payload)

    def _audio_response(self, data: bytes, *, is_final: bool = False, interrupted: bool = False) -> str:
        cut = {"interrupted": True} if interrupted else {}
        return self.say(
            "audio_response",
            data=base64.b64encode(data).decode("ascii"),
            format=self._out,
            sample_rate=self._rate,
            sequence=self.sent.next(),
            is_final=is_final,
            **cut,
        )

    def error(self, code: str, message: str, retry_after_ms: int | None) -> str:
        retry = {} if retry_after_ms is None else {"retry_after": retry_after_ms}
        return self.say("error", error_code=code, message=message, **retry)

    def say(self, kind: str, /, **fields: Any) -> str:
        return msgspec.json.encode({"type": kind, **fields, "timestamp": self._now()}).decode()
