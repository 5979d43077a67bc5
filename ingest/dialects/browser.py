"""The browser protocol: WebM/Opus as MediaRecorder cuts it comes in, PCM for the Web Audio API goes out, all in JSON.

Both formats are fixed, so the stream opens with the socket: a page is greeted before it has said anything.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from agents.website import Site
from ingest.dialects.app import (
    NO_SITE,
    close_code,
    echo_of,
    read_base64,
    read_count,
    read_figures,
    read_object,
    read_text,
)
from ingest.dialects.base import Answer, Began, Figures, Ignored, Problem, Released, Repeated, Said, Typed, Wire, Wished
from ingest.dialects.browser_mouth import Mouth
from ingest.dialects.intake import Unpacking
from schema.envelope import AnyEvent

DOOR = "browser"
IN_RATE = 48_000  # Hz, of Opus's clock
OUT_RATE = 24_000
# A client's clock may stand anywhere; one that runs away by more than this was set, or counts no milliseconds.
MOST_DRIFT_MS = 60_000


class State(enum.Enum):
    OPEN = "open"
    ENDED = "ended"


class Drift:
    """How much later than the first chunk the others come, by the client's own clock: its clock's drift, and the
    wire's delay. Never used for order."""

    def __init__(self) -> None:
        self._first: float | None = None

    def of(self, timestamp: object, now_ms: int) -> tuple[Said, ...]:
        if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not abs(timestamp) < 1e15:
            return ()
        behind = now_ms - timestamp
        if self._first is None:
            self._first = behind
        drift = behind - self._first
        if abs(drift) > MOST_DRIFT_MS:
            self._first = behind
            return ()
        return (Figures({"drift_ms": round(drift, 1)}),)


class BrowserDialect:
    """One socket. `tenant` is the token's, `query` the request's; `now`: ms since 1970; `new_session` names a session
    whose page did not; `site_of` finds a site by its id."""

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
        self.state = State.OPEN
        self.session = query.get("session") or new_session()
        self._tenant = tenant
        self._query = query
        self._site_of = site_of
        self._ear = Unpacking()
        self._drift = Drift()
        self._mouth = Mouth(now)

    # ------------------------------------------------------------------ what comes

    def greet(self) -> tuple[Said, ...]:
        site_id = read_text(self._query.get("site"), 64)
        site = self._site_of(site_id) if site_id else None
        if site_id and (site is None or not site.belongs_to(self._tenant)):
            return NO_SITE
        return (
            Began(
                session=self.session,
                agent=read_text(self._query.get("agent"), 64) or (site.agent if site else ""),
                language=read_text(self._query.get("language"), 35) or (site.locale if site else ""),
                parameters={"site": site_id} if site_id else {},
                encoding="opus",
                sample_rate=IN_RATE,
                out_encoding="pcm16",
                out_sample_rate=OUT_RATE,
                out_channels=1,
            ),
        )

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        message = read_object(frame)
        if message is None:
            return (Problem("MALFORMED_MESSAGE", "a message is one JSON object", "not_json"),)
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in KINDS:
            return (Problem("UNKNOWN_MESSAGE", f"type is one of {', '.join(KINDS)}", "unknown_type"),)
        return TABLE[self.state, kind](self, message, now_ms)

    def audio_data(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        payload = read_base64(message.get("audio") or "")
        if payload is None:
            return (Problem("MALFORMED_MESSAGE", "audio is base64", "not_base64"),)
        is_final, sequence = message.get("is_final") is True, read_count(message.get("sequence"))
        if payload:
            said = self._ear.take(payload, sequence)
        elif is_final:
            said = (Repeated(),) if self._ear.numbering.lost(sequence) is None else ()
        else:
            return (Ignored("empty_audio"),)
        said = (*said, *self._drift.of(message.get("timestamp"), now_ms))
        if not is_final or said[:1] == (Repeated(),):
            return said
        self._ear.numbering.turn_ended()
        return (*said, Released())

    def text(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        text = read_text(message.get("text"))
        return (Typed(text),) if text else (Problem("MALFORMED_MESSAGE", "text is empty", "empty_text"),)

    def stop(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        self.state = State.ENDED
        return (Wished("hang_up"),)  # what the log says to it is told as `status complete`

    def interrupt(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Wished("interrupt"),)

    def pause(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Wished("pause"),)

    def resume(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Wished("resume"),)

    def pong(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Answer((self._mouth.say("pong", **echo_of(message)),)),)

    def nothing(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return ()

    def figures(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Figures(read_figures(message)),)

    def played(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return self._mouth.sent.played(message.get("sequence"))

    def too_late(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Ignored("after_end"),)

    # ------------------------------------------------------------------ what is said

    def opened(self) -> tuple[Wire, ...]:
        """First of all the name to come back with."""
        call = f"{self._tenant}~{self.session}"
        return (self._mouth.say("session", session_id=self.session, call=call, sample_rate=OUT_RATE),)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return self._mouth.fact(fact)

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return (self._mouth.error(code, message, retry_after_ms),)

    def audio(self, payload: bytes) -> Wire:
        return self._mouth.chunk(payload)

    def mark(self, name: str) -> None:
        """Remembered behind the chunk's number: a page may say which it has played."""
        self._mouth.sent.mark(name)

    def clear(self) -> None:
        """`interrupted` says it."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)


_D = BrowserDialect
_Heed = Callable[[BrowserDialect, Mapping[str, Any], int], tuple[Said, ...]]
_CALLS: Mapping[str, _Heed] = {  # until the page has said `stop`
    "audio_data": _D.audio_data,
    "text": _D.text,
    "stop": _D.stop,
    "interrupt": _D.interrupt,
    "pause": _D.pause,
    "resume": _D.resume,
}
_ALWAYS: Mapping[str, _Heed] = {
    "ping": _D.pong,
    "pong": _D.nothing,
    "metrics": _D.figures,
    "played": _D.played,
}
TABLE: Mapping[tuple[State, str], _Heed] = {
    **{(state, kind): heed for state in State for kind, heed in _ALWAYS.items()},
    **{(State.OPEN, kind): heed for kind, heed in _CALLS.items()},
    **{(State.ENDED, kind): _D.too_late for kind in _CALLS},
}
KINDS = (*_CALLS, *_ALWAYS)
__all__ = ["KINDS", "TABLE", "BrowserDialect", "State"]
