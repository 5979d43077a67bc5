"""The raw protocol: Opus packets in binary frames both ways, everything else in small JSON messages beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agents.website import Site
from ingest.dialects import raw_messages as words
from ingest.dialects.app import (
    BAD_SESSION,
    NO_SITE,
    SESSION_ID,
    read_base64,
    read_count,
    read_figures,
    read_session,
    read_text,
)
from ingest.dialects.app_dialect import AppDialect, Message, State, by_state, kinds_of
from ingest.dialects.base import Answer, Figures, Ignored, Problem, Released, Said, Typed, Wire
from ingest.dialects.intake import Patience
from ingest.dialects.raw_mouth import Mouth

DOOR = "raw"
_LATENCY = "latency"  # a client's figure goes by the name it has in our own metadata, too


class RawDialect(AppDialect[Mouth]):
    """One socket. `tenant` is the token's, `query` the request's; `now`: ms since 1970; `new_session` names a session
    whose client did not; `site_of` finds a site by its id."""

    door = DOOR
    malformed = Problem("MALFORMED_MESSAGE", "a text frame is one JSON object", "not_json")

    def __init__(
        self,
        *,
        tenant: str,
        query: Mapping[str, str],
        now: Callable[[], int],
        new_session: Callable[[], str],
        site_of: Callable[[str], Site | None],
    ) -> None:
        super().__init__(Mouth(now), State.FRESH, TABLE)
        self.session = query.get("sessionId") or new_session()
        self._told = ""  # the session the client knows of
        self._tenant = tenant
        self._query = query
        self._site_of = site_of
        self._coding = words.Coding("opus")
        self._patience = Patience("Opus packets of 20 ms")  # before the format is known

    # ------------------------------------------------------------------ beginning

    def greet(self) -> tuple[Said, ...]:
        return (Answer((self._ready(),)),) if SESSION_ID.fullmatch(self.session) else BAD_SESSION

    def opened(self) -> tuple[Wire, ...]:
        """Once more, if the client's session is not the one it was told."""
        return () if self._told == self.session else (self._ready(),)

    def _ready(self) -> str:
        self._told = self.session
        return self.mouth.say("ready", sessionId=self.session)

    def too_early(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Ignored("before_start"),)

    def start(self, message: Message, now_ms: int) -> tuple[Said, ...]:
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
        named = read_session(asked.get("sessionId"))
        if named is None:
            return BAD_SESSION
        self._ear = words.intake_for(coding)
        self.session = named or self.session
        self.state, self._coding = State.OPEN, coding
        language = read_text(asked.get("locale"), 35) or (site.locale if site else "")
        agent = read_text(asked.get("agentId"), 64) or (site.agent if site else "")
        return (words.began(self.session, coding, agent=agent, language=language, site=site_id),)

    def start_again(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """A client may start each of its utterances, as long as it is the same stream."""
        metadata = words.metadata_of(message)
        if read_session(metadata.get("sessionId")) not in ("", self.session):
            return (Problem("CALL_RUNNING", "a socket carries one session: open another for the next", "second_start"),)
        if read_text(metadata.get("encoding"), 40).lower() not in ("", self._coding.encoding):
            said = f"the stream has begun with {self._coding.encoding}: say voice_start before the first audio"
            return (Problem("UNSUPPORTED_FORMAT", said, "bad_format"),)
        return ()

    # ------------------------------------------------------------------ audio

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        return self._packet(frame, None) if isinstance(frame, bytes) else super().receive(frame, now_ms)

    def audio_data(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        payload = read_base64(message.get("data") or "")
        if payload is None:
            return (self.not_base64,)
        return self._packet(payload, read_count(words.metadata_of(message).get("sequence")))

    def _packet(self, payload: bytes, sequence: int | None) -> tuple[Said, ...]:
        """One frame of audio, binary or not. The first one of a client that declared nothing begins the stream."""
        if self.state is State.ENDED:
            return (Ignored("after_end"),)
        if not payload:
            return (Ignored("empty_audio"),)
        if self.state is State.OPEN:
            return self._take(payload, sequence)
        try:
            coding = words.declared(self._query) if "encoding" in self._query else words.undeclared(payload)
            said = self._begin(self._query, coding)
        except ValueError as error:
            return (self._patience.bad(str(error)),)
        return (*said, *self._take(payload, sequence))

    def _take(self, payload: bytes, sequence: int | None) -> tuple[Said, ...]:
        return self._ear.take(payload, sequence) if self._ear is not None else ()

    def release(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """The turn is over; with `final` the call is."""
        if words.metadata_of(message).get("final") is True:
            return self.end(message, now_ms) if self.state is State.OPEN else self.end_nothing(message, now_ms)
        if self._ear is None:
            return (Ignored("before_start"),)
        self._ear.numbering.turn_ended()
        return (Released(),)

    # ------------------------------------------------------------------ words and figures

    def text(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        text = read_text(message.get("data")) or read_text(message.get("text"))
        return (Typed(text),) if text else (self.empty_text,)

    def first_text(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """Words before any audio begin the stream as a start would."""
        typed = self.text(message, now_ms)
        if not isinstance(typed[0], Typed):
            return typed
        said = self.start({}, now_ms)
        return (*said, *typed) if self.state is State.OPEN else said

    def vad(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """The client's own detector is noted; whose turn it is, is ours to decide."""
        metadata = words.metadata_of(message)
        active = metadata.get("active", metadata.get("vadActive", message.get("active")))
        return (Figures({"vad_active": float(active)}),) if isinstance(active, bool) else (Ignored("malformed"),)

    def figures(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        metadata = words.metadata_of(message)
        return (Figures(read_figures({"latency_ms": metadata.get(_LATENCY), **metadata})),)

    def played(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return super().played(words.metadata_of(message), now_ms)

    def pong(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """With whatever the ping carried."""
        try:
            answer = self.mouth.say("pong", message.get("data", message.get("payload")))
        except (msgspec.MsgspecError, OverflowError, ValueError, RecursionError):
            answer = self.mouth.say("pong")
        return (Answer((answer,)),)


_D = RawDialect
TABLE = by_state(
    (State.FRESH, State.OPEN, State.ENDED),
    {
        "voice_start": (_D.start, _D.start_again, _D.too_late),
        "voice_data": (_D.audio_data, _D.audio_data, _D.too_late),
        "text": (_D.first_text, _D.text, _D.too_late),
        "barge_in": (_D.too_early, _D.interrupt, _D.too_late),
        "pause": (_D.too_early, _D.pause, _D.too_late),
        "resume": (_D.too_early, _D.resume, _D.too_late),
        "voice_end": (_D.release, _D.release, _D.too_late),
        "vad": (_D.vad, _D.vad, _D.vad),
        "ping": (_D.pong, _D.pong, _D.pong),
        "pong": (_D.nothing, _D.nothing, _D.nothing),
        "metrics": (_D.figures, _D.figures, _D.figures),
        "played": (_D.played, _D.played, _D.played),
    },
)
KINDS = kinds_of(TABLE)
