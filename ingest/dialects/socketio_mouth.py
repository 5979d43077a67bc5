"""What the Socket.IO protocol says: facts as named events, each with its moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ingest.dialects.app import Navigation, Sent, Status, Track, failed_stage
from schema.call import CallEnded
from schema.envelope import AnyEvent
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import StreamDegraded
from schema.turn import ReplyComposed, ReplyFinished, ReplyInterrupted, ReplySentence, ReplyStarted


class Mouth:
    """One connection's. `session` is told as soon as it is known."""

    def __init__(self, now: Callable[[], int], *, tenant: str) -> None:
        self.session = ""
        self.sent = Sent()
        self._now = now
        self._tenant = tenant
        self._track = Track()
        self._navigation = Navigation()
        self._writes = False  # a response has begun and not ended

    @property
    def turn(self) -> Status:
        """Whose it is."""
        return self._track.status

    def ready(self, *, is_companion: bool = False) -> str:
        call = f"{self._tenant}~{self.session}"
        return self.say("voice:session_ready", sessionId=self.session, call=call, companion=is_companion)

    def fact(self, fact: AnyEvent) -> tuple[str, ...]:
        if isinstance(fact, CallEnded) and fact.reason == "forbidden":
            return ()  # not this client's call: it is told by an error
        said = (*self._words(fact), *self._other(fact))
        status = self._track.fact(fact)  # behind the words, which are those of who spoke until now
        if status is not None and status is not Status.COMPLETE:
            said = (*said, self.status(status, interrupted=isinstance(fact, ReplyInterrupted)))
        return said

    def _words(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case TranscriptRevised(text=str(text)) if text:
                return (self._transcript(fact.id, text, is_final=False),)
            case TranscriptSettled(text=str(text)) if text:
                return (self._transcript(fact.id, text, is_final=True),)
            case ReplySentence(text=str(text)):
                self._writes = True
                return (self.say("voice:response", id=fact.id, text=text, is_final=False, **self._who()),)
            case ReplyComposed():
                return self._written(interrupted=False)
            case ReplyInterrupted() | ReplyStarted():
                return self._written(interrupted=True)
            case ReplyFinished(interrupted=interrupted):
                return self._written(interrupted=interrupted)
            case _:
                return ()

    def _other(self, fact: AnyEvent) -> tuple[str, ...]:
        match fact:
            case CallEnded(reason=reason, duration_ms=duration_ms):
                ended = self.say("voice:ended", sessionId=self.session, reason=reason, duration_ms=duration_ms)
                return (*self._written(interrupted=True), ended)
            case StreamDegraded(ping_ms=ping_ms, loss=loss):
                return (self.say("voice:status", status="degraded", ping_ms=round(ping_ms), loss=loss),)
        if stage := failed_stage(fact):
            message = f"{stage} is not available now; text goes on"
            return (self.say("voice:error", error_code="ENGINE_UNAVAILABLE", message=message, stage=stage),)
        shown = self._navigation.fact(fact)
        return () if shown is None else (self.say("voice:navigation", page=shown[0], path=shown[1]),)

    def _transcript(self, id_: str, text: str, *, is_final: bool) -> str:
        return self.say("voice:transcript", id=id_, text=text, is_final=is_final, speaker="caller")

    def _written(self, *, interrupted: bool) -> tuple[str, ...]:
        """The end of a response's text, once."""
        if not self._writes:
            return ()
        self._writes = False
        cut = {"interrupted": True} if interrupted else {}
        return (self.say("voice:response", text="", is_final=True, **cut, **self._who()),)

    def _who(self) -> dict[str, str]:
        return {"agent_name": self._track.agent_name} if self._track.agent else {}

    def audio(self, payload: bytes) -> bytes:
        self.sent.next()
        return payload

    def status(self, status: Status, *, interrupted: bool = False) -> str:
        cut = {"interrupted": True} if interrupted else {}
        return self.say("voice:status", status=status.value, **cut, **self._who())

    def closed(self, code: int, reason: str) -> str:
        """The last word before a disconnection: Socket.IO has no close codes of its own."""
        return self.say("voice:status", status="closed", code=code, reason=reason)

    def error(self, code: str, message: str, retry_after_ms: int | None) -> str:
        retry = {} if retry_after_ms is None else {"retry_after": retry_after_ms}
        return self.say("voice:error", error_code=code, message=message, **retry)

    def say(self, name: str, /, **fields: Any) -> str:
        return msgspec.json.encode([name, {**fields, "timestamp": self._now()}]).decode()
