"""The Socket.IO protocol of the namespace /voice: named events both ways, audio as bare bytes.

Here an event is a text frame `[name, data]`, and `voice:audio_data` or `voice:audio` of bytes alone is a binary one:
what carries them over Socket.IO turns one into the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from agents.website import Site
from ingest.dialects import socketio_messages as words
from ingest.dialects.app import BAD_SESSION, NO_SITE, read_base64, read_session, read_text
from ingest.dialects.app_dialect import AppDialect, Message, State, by_state, kinds_of
from ingest.dialects.base import Ignored, Problem, Said, Wire
from ingest.dialects.socketio_mouth import Mouth

DOOR = "socketio"


class SocketioDialect(AppDialect[Mouth]):
    """One connection. `tenant` is the token's; `now`: ms since 1970; `new_session` names a session whose client did
    not; `site_of` finds a site by its id."""

    door = DOOR
    malformed = Problem("MALFORMED_MESSAGE", "an event has a name and at most one value", "malformed")
    not_base64 = Problem("MALFORMED_MESSAGE", "audio is binary, or base64 in `data`", "not_base64")
    kinds_are = "events are"

    def __init__(
        self,
        *,
        tenant: str,
        now: Callable[[], int],
        new_session: Callable[[], str],
        site_of: Callable[[str], Site | None],
    ) -> None:
        super().__init__(Mouth(now, tenant=tenant), State.FRESH, TABLE)
        self._tenant = tenant
        self._new_session = new_session
        self._site_of = site_of

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        event = (words.AUDIO, frame) if isinstance(frame, bytes) else words.read_event(frame)
        if event is None:
            return (self.malformed,)
        name, data = event
        return self.heed(name, words.message_of(name, data), now_ms)

    def names_session(self, frame: Wire) -> str | None:
        """The session that a usable start on a fresh connection names, empty if it names none; None: it is no start."""
        event = words.read_event(frame) if isinstance(frame, str) and self.state is State.FRESH else None
        if event is None or event[0] != words.START:
            return None
        message = words.message_of(*event)
        try:
            words.asked("", message, site=None)
        except ValueError:
            return None
        return read_session(message.get("sessionId")) or ""

    def too_early(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Problem("SESSION_NOT_FOUND", "no session was started: say voice:start first", "before_start"),)

    def start(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        site_id = read_text(message.get("siteId"), 64)
        site = self._site_of(site_id) if site_id else None
        if site_id and (site is None or not site.belongs_to(self._tenant)):
            return NO_SITE
        named = self._named(message)
        if named is None:
            return BAD_SESSION
        session = named or self._new_session()
        try:
            wanted = words.asked(session, message, site=site)
            self._ear = words.ear_for(wanted)
        except ValueError as error:
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)
        self.state, self.mouth.session = State.OPEN, session
        return (wanted.began,)

    def start_again(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        if self._named(message) in ("", self.mouth.session):
            return (Ignored("repeated_start"),)
        return (Problem("CALL_RUNNING", "a connection carries one session: connect again for another", "second_start"),)

    def _named(self, message: Message) -> str | None:
        """None: by no text."""
        named = read_session(message.get("sessionId"))
        return None if named is None else named.removeprefix(f"{self._tenant}~")

    def audio_data(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """Bytes alone, or with a number of the client's own and the end of its turn."""
        payload = message.get("data") or b""
        return self.hear(payload if isinstance(payload, bytes) else read_base64(payload), message, now_ms)

    def opened(self) -> tuple[Wire, ...]:
        return (self.mouth.ready(),)


_D = SocketioDialect
TABLE = by_state(
    (State.FRESH, State.OPEN, State.ENDED),
    {
        words.START: (_D.start, _D.start_again, _D.too_late),
        words.AUDIO: (_D.too_early, _D.audio_data, _D.too_late),
        "voice:text": (_D.too_early, _D.text, _D.too_late),
        "voice:interrupt": (_D.too_early, _D.interrupt, _D.too_late),
        "voice:pause": (_D.too_early, _D.pause, _D.too_late),
        "voice:resume": (_D.too_early, _D.resume, _D.too_late),
        "voice:end": (_D.end_nothing, _D.end, _D.too_late),
        "voice:metrics": (_D.figures, _D.figures, _D.figures),
        "voice:played": (_D.played, _D.played, _D.played),
    },
)
KINDS = kinds_of(TABLE)


def event_of(frame: Wire) -> tuple[str, Any]:
    """What a frame of this dialect's is over Socket.IO: the event's name and its value."""
    if isinstance(frame, bytes):
        return "voice:audio", frame
    name, data = msgspec.json.decode(frame)
    return name, data
