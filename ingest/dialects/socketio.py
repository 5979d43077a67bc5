"""The Socket.IO protocol of the namespace /voice: named events both ways, audio as bare bytes.

Here an event is a text frame `[name, data]`, and `voice:audio_data` or `voice:audio` of bytes alone is a binary one:
what carries them over Socket.IO turns one into the other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agents.website import Site
from ingest.dialects import socketio_messages as words
from ingest.dialects.app import NO_SITE, close_code, read_base64, read_count, read_figures, read_text
from ingest.dialects.base import (
    Ended,
    Figures,
    Ignored,
    Problem,
    Released,
    Repeated,
    Said,
    Typed,
    Wire,
    Wished,
)
from ingest.dialects.intake import Ear
from ingest.dialects.socketio_mouth import Mouth
from schema.envelope import AnyEvent

DOOR = "socketio"


class State(enum.Enum):
    FRESH = "fresh"
    OPEN = "open"
    ENDED = "ended"


class SocketioDialect:
    """One connection. `tenant` is the token's; `now`: ms since 1970; `new_session` names a session whose client did
    not; `site_of` finds a site by its id."""

    door = DOOR

    def __init__(
        self,
        *,
        tenant: str,
        now: Callable[[], int],
        new_session: Callable[[], str],
        site_of: Callable[[str], Site | None],
    ) -> None:
        self.state = State.FRESH
        self.mouth = Mouth(now, tenant=tenant)
        self._tenant = tenant
        self._new_session = new_session
        self._site_of = site_of
        self._ear: Ear | None = None

    # ------------------------------------------------------------------ what comes

    def greet(self) -> tuple[Said, ...]:
        return ()

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        if isinstance(frame, bytes):
            return TABLE[self.state, words.AUDIO](self, frame)
        event = words.read_event(frame)
        if event is None:
            return (Problem("MALFORMED_MESSAGE", "an event has a name and at most one value", "malformed"),)
        name, data = event
        if name not in KINDS:
            return (Problem("UNKNOWN_MESSAGE", f"events are {', '.join(KINDS)}", "unknown_type"),)
        return TABLE[self.state, name](self, data)

    def names_session(self, frame: Wire) -> str | None:
        """The session that a usable start on a fresh connection names, empty if it names none; None: it is no start."""
        event = words.read_event(frame) if isinstance(frame, str) and self.state is State.FRESH else None
        if event is None or event[0] != words.START:
            return None
        try:
            words.asked("", words.fields_of(event[1]), site=None)
        except ValueError:
            return None
        return read_text(words.fields_of(event[1]).get("sessionId"), 200)

    def start(self, data: Any) -> tuple[Said, ...]:
        message = words.fields_of(data)
        site_id = read_text(message.get("siteId"), 64)
        site = self._site_of(site_id) if site_id else None
        if site_id and (site is None or not site.belongs_to(self._tenant)):
            return NO_SITE
        session = read_text(message.get("sessionId"), 200).removeprefix(f"{self._tenant}~") or self._new_session()
        try:
            wanted = words.asked(session, message, site=site)
            self._ear = words.ear_for(wanted)
        except ValueError as error:
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)
        self.state, self.mouth.session = State.OPEN, session
        return (wanted.began,)

    def start_again(self, data: Any) -> tuple[Said, ...]:
        given = read_text(words.fields_of(data).get("sessionId"), 200).removeprefix(f"{self._tenant}~")
        if given in ("", self.mouth.session):
            return (Ignored("repeated_start"),)
        return (Problem("CALL_RUNNING", "a connection carries one session: connect again for another", "second_start"),)

    def audio_data(self, data: Any) -> tuple[Said, ...]:
        """Bytes alone, or with a number of the client's own and the end of its turn."""
        message = data if isinstance(data, dict) else {"data": data}
        payload = message.get("data") or b""
        payload = payload if isinstance(payload, bytes) else read_base64(payload)
        if payload is None or self._ear is None:
            return (Problem("MALFORMED_MESSAGE", "audio is binary, or base64 in `data`", "not_base64"),)
        is_final, sequence = message.get("is_final") is True, read_count(message.get("sequence"))
        if payload:
            said = self._ear.take(payload, sequence)
        elif is_final:
            said = (Repeated(),) if self._ear.numbering.lost(sequence) is None else ()
        else:
            return (Ignored("empty_audio"),)
        if not is_final or said == (Repeated(),):
            return said
        self._ear.numbering.turn_ended()
        return (*said, Released())

    def text(self, data: Any) -> tuple[Said, ...]:
        text = read_text(data) or read_text(words.fields_of(data).get("text"))
        return (Typed(text),) if text else (Problem("MALFORMED_MESSAGE", "text is empty", "empty_text"),)

    def interrupt(self, data: Any) -> tuple[Said, ...]:
        return (Wished("interrupt"),)

    def pause(self, data: Any) -> tuple[Said, ...]:
        return (Wished("pause"),)

    def resume(self, data: Any) -> tuple[Said, ...]:
        return (Wished("resume"),)

    def end(self, data: Any) -> tuple[Said, ...]:
        self.state = State.ENDED
        return (Wished("hang_up"),)  # what the log says to it is told as `voice:ended`

    def end_nothing(self, data: Any) -> tuple[Said, ...]:
        self.state = State.ENDED
        return (Ended("stop"),)

    def figures(self, data: Any) -> tuple[Said, ...]:
        return (Figures(read_figures(words.fields_of(data))),)

    def played(self, data: Any) -> tuple[Said, ...]:
        return self.mouth.sent.played(words.fields_of(data).get("sequence"))

    def too_early(self, data: Any) -> tuple[Said, ...]:
        return (Problem("SESSION_NOT_FOUND", "no session was started: say voice:start first", "before_start"),)

    def too_late(self, data: Any) -> tuple[Said, ...]:
        return (Ignored("after_end"),)

    # ------------------------------------------------------------------ what is said

    def opened(self) -> tuple[Wire, ...]:
        return (self.mouth.ready(),)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return self.mouth.fact(fact)

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return (self.mouth.error(code, message, retry_after_ms),)

    def audio(self, payload: bytes) -> Wire:
        self.mouth.sent.next()
        return payload

    def mark(self, name: str) -> None:
        """Remembered behind the number of the audio: a client may say which it has played."""
        self.mouth.sent.mark(name)

    def clear(self) -> None:
        """The status that an interruption changes says it."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)


_D = SocketioDialect
_Heed = Callable[[SocketioDialect, Any], tuple[Said, ...]]
_CALLS: Mapping[str, _Heed] = {  # in a session
    words.AUDIO: _D.audio_data,
    "voice:text": _D.text,
    "voice:interrupt": _D.interrupt,
    "voice:pause": _D.pause,
    "voice:resume": _D.resume,
}
_ALWAYS: Mapping[str, _Heed] = {"voice:metrics": _D.figures, "voice:played": _D.played}
TABLE: Mapping[tuple[State, str], _Heed] = {
    **{(state, name): heed for state in State for name, heed in _ALWAYS.items()},
    **{(State.FRESH, name): _D.too_early for name in _CALLS},
    **{(State.OPEN, name): heed for name, heed in _CALLS.items()},
    **{(State.ENDED, name): _D.too_late for name in (*_CALLS, words.START, "voice:end")},
    (State.FRESH, words.START): _D.start,
    (State.FRESH, "voice:end"): _D.end_nothing,
    (State.OPEN, words.START): _D.start_again,
    (State.OPEN, "voice:end"): _D.end,
}
KINDS = (words.START, *_CALLS, "voice:end", *_ALWAYS)


def event_of(frame: Wire) -> tuple[str, Any]:
    """What a frame of this dialect's is over Socket.IO: the event's name and its value."""
    if isinstance(frame, bytes):
        return "voice:audio", frame
    name, data = msgspec.json.decode(frame)
    return name, data
