"""What the mobile protocol says: facts as transcripts and statuses, audio numbered, in the app's own case."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from audio.formats import AudioFormat
from audio.opus_toc import OpusError, packet_ms
from ingest.dialects import mobile_messages as words
from ingest.dialects.app import Sent, Status, Track
from ingest.dialects.base import Began
from schema.call import CallEnded
from schema.envelope import AnyEvent
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import StreamDegraded
from schema.turn import ReplyFinished, ReplySentence


class Mouth:
    """One socket's. `session`, `is_camel` and `began` are told as they become known."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.session = ""
        self.is_camel: bool | None = None  # None: not known yet, and so it is not
        self.began = Began()
        self.sent = Sent()
        self._now = now
        self._track = Track()

    def fact(self, fact: AnyEvent) -> tuple[str, ...]:
        """A reply that was heard to its end is closed by an empty piece of audio; an interrupted one by the status."""
        if isinstance(fact, CallEnded) and fact.reason == "forbidden":
            return ()  # not this app's call: it is told by an error
        said = self._words(fact)
        before, status = self._track.status, self._track.fact(fact)
        if isinstance(fact, ReplyFinished) and not fact.interrupted and before is Status.SPEAKING:
            said += (self._audio_output(b"", 0, is_final=True),)
        return said if status is None else (*said, self.status(status))

    def _words(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case TranscriptRevised(text=str(text)) if text:
                return (self._transcript(fact.id, "caller", text, is_final=False),)
            case TranscriptSettled(text=str(text)) if text:
                return (self._transcript(fact.id, "caller", text, is_final=True),)
            case ReplySentence(text=str(text)):
                return (self._transcript(fact.id, "agent", text, is_final=True),)
            case StreamDegraded(ping_ms=ping_ms, loss=loss):
                return (self.say("quality", ping_ms=round(ping_ms), loss=loss, degraded=True),)
            case _:
                return ()

    def _transcript(self, id_: str, speaker: Literal["caller", "agent"], text: str, *, is_final: bool) -> str:
        who = {"agent_name": self._track.agent_name} if speaker == "agent" and self._track.agent else {}
        return self.say("transcript", id=id_, text=text, is_final=is_final, speaker=speaker, **who)

    def audio(self, payload: bytes) -> str:
        return self._audio_output(payload, self._length_of(payload), is_final=False)

    def _audio_output(self, payload: bytes, duration_ms: int, *, is_final: bool) -> str:
        return self.say(
            "audio_output",
            audio_data=base64.b64encode(payload).decode("ascii"),
            sequence=self.sent.next(),
            is_final=is_final,
            content_type=words.content_type(self.began),
            duration_ms=duration_ms,
        )

    def _length_of(self, payload: bytes) -> int:
        if self.began.out_encoding != "opus":
            return AudioFormat(self.began.out_encoding, self.began.out_sample_rate).ms_of(len(payload))
        try:
            return int(packet_ms(payload))
        except OpusError:
            return 0

    def status(self, status: Status) -> str:
        return self.say("session_status", status=status.value, agent_type=words.agent_type(self._track.agent))

    def error(self, code: str, message: str, retry_after_ms: int | None) -> str:
        retry = {} if retry_after_ms is None else {"retry_after": retry_after_ms}
        return self.say("error", error_code=code, message=message, **retry)

    def say(self, kind: str, /, **fields: Any) -> str:
        message = {"type": kind, "session_id": self.session, **fields, "timestamp": self._now()}
        if self.is_camel:
            message = {words.CAMEL.get(key, key): value for key, value in message.items()}
        return msgspec.json.encode(message).decode()
