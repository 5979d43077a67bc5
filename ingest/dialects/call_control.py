"""The call-control protocol: JSON messages, a call begun and ended by name, every mistake answered with an error."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from ingest.dialects.app import close_code, echo_of, read_base64, read_count, read_figures, read_object, read_text
from ingest.dialects.base import (
    Answer,
    Ended,
    Figures,
    Ignored,
    Problem,
    Released,
    Repeated,
    Said,
    Typed,
    Violation,
    Wire,
    Wished,
)
from ingest.dialects.call_messages import Asked, Unwanted, asked
from ingest.dialects.call_mouth import Mouth
from ingest.dialects.intake import Ear, Intake, Unpacking, WavIntake
from schema.envelope import AnyEvent

DOOR = "call"
ANOTHERS = "the tenant_id is not the token's"


class State(enum.Enum):
    FRESH = "fresh"
    OPEN = "open"
    ENDED = "ended"


class CallControlDialect:
    """One socket. `tenant` is the token's; `now`: ms since 1970, for timestamps; `new_session` names new calls."""

    door = DOOR

    def __init__(self, *, tenant: str, now: Callable[[], int], new_session: Callable[[], str]) -> None:
        self.state = State.FRESH
        self._tenant = tenant
        self._new_session = new_session
        self._ear: Ear | None = None
        self._mouth = Mouth(now)

    # ------------------------------------------------------------------ what comes

    def greet(self) -> tuple[Said, ...]:
        return (Answer((self._mouth.say("connected"),)),)

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        message = read_object(frame)
        if message is None:
            return (Problem("MALFORMED_MESSAGE", "a message is one JSON object", "not_json"),)
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in KINDS:
            return (Problem("UNKNOWN_MESSAGE", f"type is one of {', '.join(KINDS)}", "unknown_type"),)
        return TABLE[self.state, kind](self, message)

    def start(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        tenant = message.get("tenant_id")
        if tenant not in (None, "", self._tenant):
            return (Problem("FORBIDDEN", ANOTHERS, "other_tenant"), Violation(1008, "other_tenant", ANOTHERS))
        # A call may be named as the log names it.
        session = read_text(message.get("call_id"), 200).removeprefix(f"{self._tenant}~") or self._new_session()
        try:
            wanted = asked(session, message)
            self._ear = _ear_for(wanted)
        except ValueError as error:
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)
        self.state = State.OPEN
        self._mouth.begun(wanted, call=f"{self._tenant}~{session}")
        return (wanted.began,)

    def start_again(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        given = read_text(message.get("call_id"), 200).removeprefix(f"{self._tenant}~")
        if given in ("", self._mouth.session):
            return (Ignored("repeated_start"),)
        return (Problem("CALL_RUNNING", "a socket carries one call: open another for the next", "second_start"),)

    def audio_data(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        payload = read_base64(message.get("data") or "")
        if payload is None or self._ear is None:
            return (Problem("MALFORMED_MESSAGE", "data is base64", "not_base64"),)
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

    def text(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        text = read_text(message.get("text"))
        return (Typed(text),) if text else (Problem("MALFORMED_MESSAGE", "text is empty", "empty_text"),)

    def interrupt(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Wished("interrupt"),)

    def pause(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Wished("pause"),)

    def resume(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Wished("resume"),)

    def end(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        self.state = State.ENDED
        return (Wished("hang_up"),)  # what the log says to it is told as `call_ended`

    def end_nothing(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        self.state = State.ENDED
        return (Ended("stop"),)

    def pong(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Answer((self._mouth.say("pong", **echo_of(message)),)),)

    def nothing(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return ()

    def figures(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Figures(read_figures(message)),)

    def played(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return self._mouth.sent.played(message.get("sequence"))

    def too_early(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Problem("SESSION_NOT_FOUND", "no call was started: say start_call first", "before_start"),)

    def too_late(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        return (Ignored("after_end"),)

    # ------------------------------------------------------------------ what is said

    def opened(self) -> tuple[Wire, ...]:
        return (self._mouth.started(),)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return self._mouth.fact(fact)

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return (self._mouth.error(code, message, retry_after_ms),)

    def audio(self, payload: bytes) -> Wire:
        return self._mouth.audio(payload)

    def mark(self, name: str) -> None:
        """Remembered behind the audio's number: a client may say which it has played."""
        self._mouth.sent.mark(name)

    def clear(self) -> None:
        """The end of an interrupted `audio_response` says it."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)


def _ear_for(wanted: Asked) -> Ear:
    """Raises ValueError."""
    began = wanted.began
    if wanted.container == "webm":
        return Unpacking()
    kind = WavIntake if wanted.container == "wav" else Intake
    return kind(encoding=began.encoding, sample_rate=began.sample_rate, channels=began.channels)


_D = CallControlDialect
_Heed = Callable[[CallControlDialect, Mapping[str, Any]], tuple[Said, ...]]
_CALLS: Mapping[str, _Heed] = {  # in a call
    "audio": _D.audio_data,
    "text": _D.text,
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
    **{(State.FRESH, kind): _D.too_early for kind in _CALLS},
    **{(State.OPEN, kind): heed for kind, heed in _CALLS.items()},
    **{(State.ENDED, kind): _D.too_late for kind in (*_CALLS, "start_call", "end_call")},
    (State.FRESH, "start_call"): _D.start,
    (State.FRESH, "end_call"): _D.end_nothing,
    (State.OPEN, "start_call"): _D.start_again,
    (State.OPEN, "end_call"): _D.end,
}
KINDS = ("start_call", *_CALLS, "end_call", *_ALWAYS)
__all__ = ["KINDS", "TABLE", "CallControlDialect", "State", "Unwanted"]
