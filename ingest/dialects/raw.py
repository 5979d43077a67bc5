"""The raw protocol: Opus packets in binary frames both ways, everything else in small JSON messages beside them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agents.website import Site
from ingest.dialects import raw_messages as words
from ingest.dialects.app import NO_SITE, close_code, read_base64, read_count, read_figures, read_object, read_text
from ingest.dialects.base import (
    Answer,
    Ended,
    Figures,
    Ignored,
    Problem,
    Released,
    Said,
    Typed,
    Wire,
    Wished,
)
from ingest.dialects.intake import Intake, Patience
from ingest.dialects.raw_mouth import Mouth
from schema.envelope import AnyEvent

DOOR = "raw"
_LATENCY = "latency"  # a client's figure goes by the name it has in our own metadata, too


class State(enum.Enum):
    FRESH = "fresh"
    OPEN = "open"
    ENDED = "ended"


class RawDialect:
    """One socket. `tenant` is the token's, `query` the request's; `now`: ms since 1970; `new_session` names a session
    whose client did not; `site_of` finds a site by its id."""

    door = DOOR

    def __init__(
        self,
        *,
        tenant: str,
        query: Mapping[str, str],
        now: Callable[[], int],
        new_session: Callable[[], str],
        site_of: Callable[[str], Site | None],
    ) -> None:
        self.state = State.FRESH
        self.session = query.get("sessionId") or new_session()
        self._told = ""  # the session the client knows of
        self._tenant = tenant
        self._query = query
        self._site_of = site_of
        self._coding = words.Coding("opus")
        self._ear: Intake | None = None
        self._patience = Patience("Opus packets of 20 ms")  # before the format is known
        self._mouth = Mouth(now)

    # ------------------------------------------------------------------ what comes

    def greet(self) -> tuple[Said, ...]:
        return (Answer((self._ready(),)),)

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        if isinstance(frame, bytes):
            return self.packet(frame, None)
        message = read_object(frame)
        if message is None:
            return (Problem("MALFORMED_MESSAGE", "a text frame is one JSON object", "not_json"),)
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in KINDS:
            return (Problem("UNKNOWN_MESSAGE", f"type is one of {', '.join(KINDS)}", "unknown_type"),)
        return TABLE[self.state, kind](self, message)

    def packet(self, payload: bytes, sequence: int | None) -> tuple[Said, ...]:
        """One frame of audio, binary or not. The first one of a client that declared nothing begins the stream."""
        if self.state is State.ENDED:
            return (Ignored("after_end"),)
        if not payload:
            return (Ignored("empty_audio"),)
        if self.state is State.OPEN:
            return self._hear(payload, sequence)
        try:
            coding = words.declared(self._query) if "encoding" in self._query else words.undeclared(payload)
            said = self._begin(self._query, coding)
        except ValueError as error:
            return (self._patience.bad(str(error)),)
        return (*said, *self._hear(payload, sequence))

    def _hear(self, payload: bytes, sequence: int | None) -> tuple[Said, ...]:
        return self._ear.take(payload, sequence) if self._ear is not None else ()

    def start(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        """What it leaves out, the query may say."""
        metadata = {name: value for name, value in words.metadata_of(message).items() if value is not None}
        asked = {**self._query, **metadata}
        try:
            return self._begin(asked, words.declared(asked))
        except ValueError as error:
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)

    def _begin(self, asked: Mapping[str, Any], coding: words.Coding) -> tuple[Said, ...]:
        """Raises ValueError for a coding there is not."""
        site_id = read_text(asked.get("siteId"), 64)
        site = self._site_of(site_id) if site_id else None
        if site_id and (site is None or not site.belongs_to(self._tenant)):
            return NO_SITE
        self._ear = words.intake_for(coding)
        self.session = read_text(asked.get("sessionId"), 200) or self.session
        self.state, self._coding = State.OPEN, coding
        language = read_text(asked.get("locale"), 35) or (site.locale if site else "")
        agent = read_text(asked.get("agentId"), 64) or (site.agent if site else "")
        return (words.began(self.session, coding, agent=agent, language=language, site=site_id),)

    def start_again(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        """A client may start each of its utterances, as long as it is the same stream."""
        metadata = words.metadata_of(message)
        if read_text(metadata.get("sessionId"), 200) not in ("", self.session):
            return (Problem("CALL_RUNNING", "a socket carries one session: open another for the next", "second_start"),)
        if read_text(metadata.get("encoding"), 40).lower() not in ("", self._coding.encoding):
            said = f"the stream has begun with {self._coding.encoding}: say voice_start before the first audio"
            return (Problem("UNSUPPORTED_FORMAT", said, "bad_format"),)
        return ()

    def audio_data(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        payload = read_base64(message.get("data") or "")
        if payload is None:
            return (Problem("MALFORMED_MESSAGE", "data is base64", "not_base64"),)
        return self.packet(payload, read_count(words.metadata_of(message).get("sequence")))

    def release(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        """The turn is over; with `final` the call is."""
        if words.metadata_of(message).get("final") is True:
            began, self.state = self.state is State.OPEN, State.ENDED
            return (Wished("hang_up"),) if began else (Ended("stop"),)
        if self._ear is None:
            return (Ignored("before_start"),)
        self._ear.numbering.turn_ended()
        return (Released(),)

    def text(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        text = read_text(message.get("data")) or read_text(message.get("text"))
        return (Typed(text),) if text else (Problem("MALFORMED_MESSAGE", "text is empty", "empty_text"),)

    def first_text(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        """Words before any audio begin the stream as a start would."""
        typed = self.text(message)
        if not isinstance(typed[0], Typed):
            return typed
        said = self.start({})
        return (*said, *typed) if self.state is State.OPEN else said

    def barge_in(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Wished("interrupt"),)

    def pause(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Wished("pause"),)

    def resume(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Wished("resume"),)

    def vad(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        """The client's own detector is noted; whose turn it is, is ours to decide."""
        metadata = words.metadata_of(message)
        active = metadata.get("active", metadata.get("vadActive", message.get("active")))
        return (Figures({"vad_active": float(active)}),) if isinstance(active, bool) else (Ignored("malformed"),)

    def figures(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        metadata = words.metadata_of(message)
        return (Figures(read_figures({"latency_ms": metadata.get(_LATENCY), **metadata})),)

    def played(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return self._mouth.sent.played(words.metadata_of(message).get("sequence"))

    def pong(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        """With whatever the ping carried."""
        try:
            answer = self._mouth.say("pong", message.get("data", message.get("payload")))
        except (msgspec.MsgspecError, OverflowError, ValueError, RecursionError):
            answer = self._mouth.say("pong")
        return (Answer((answer,)),)

    def nothing(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return ()

    def too_early(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Ignored("before_start"),)

    def too_late(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Ignored("after_end"),)

    # ------------------------------------------------------------------ what is said

    def opened(self) -> tuple[Wire, ...]:
        """Once more, if the client's session is not the one it was told."""
        return () if self._told == self.session else (self._ready(),)

    def _ready(self) -> str:
        self._told = self.session
        return self._mouth.say("ready", sessionId=self.session)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return self._mouth.fact(fact)

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return (self._mouth.error(code, message, retry_after_ms),)

    def audio(self, payload: bytes) -> Wire:
        return self._mouth.packet(payload)

    def mark(self, name: str) -> None:
        """Remembered behind the packet's number: a client may say which it has played."""
        self._mouth.sent.mark(name)

    def clear(self) -> None:
        """`barge_in` says it."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)


_D = RawDialect
_Heed = Callable[[RawDialect, Mapping[str, Any]], tuple[Said, ...]]
_CALLS: Mapping[str, _Heed] = {  # in a call
    "voice_data": _D.audio_data,
    "text": _D.text,
    "barge_in": _D.barge_in,
    "pause": _D.pause,
    "resume": _D.resume,
}
_ALWAYS: Mapping[str, _Heed] = {
    "vad": _D.vad,
    "ping": _D.pong,
    "pong": _D.nothing,
    "metrics": _D.figures,
    "played": _D.played,
}
TABLE: Mapping[tuple[State, str], _Heed] = {
    **{(state, kind): heed for state in State for kind, heed in _ALWAYS.items()},
    **{(State.FRESH, kind): _D.too_early for kind in _CALLS},
    **{(State.OPEN, kind): heed for kind, heed in _CALLS.items()},
    **{(State.ENDED, kind): _D.too_late for kind in (*_CALLS, "voice_start", "voice_end")},
    (State.FRESH, "voice_start"): _D.start,
    (State.OPEN, "voice_start"): _D.start_again,
    (State.FRESH, "voice_data"): _D.audio_data,
    (State.FRESH, "text"): _D.first_text,
    (State.FRESH, "voice_end"): _D.release,
    (State.OPEN, "voice_end"): _D.release,
}
KINDS = ("voice_start", *_CALLS, "voice_end", *_ALWAYS)
__all__ = ["KINDS", "TABLE", "RawDialect", "State"]
