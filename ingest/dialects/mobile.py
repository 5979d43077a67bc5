"""The mobile protocol: JSON in text or binary frames, audio in base64, every message with its session's id.

It answers errors only when the app must act: apps end their session on any error. What makes no sense is counted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from ingest.dialects import mobile_messages as words
from ingest.dialects.app import Status, close_code, echo_of, read_base64, read_count, read_figures
from ingest.dialects.app import read_text as text_of
from ingest.dialects.base import (
    Answer,
    Began,
    Ended,
    Figures,
    Ignored,
    Named,
    Problem,
    Released,
    Repeated,
    Said,
    Typed,
    Wire,
    Wished,
)
from ingest.dialects.intake import Ear, Intake, Unpacking
from ingest.dialects.mobile_mouth import Mouth
from ingest.dialects.undeclared import USUAL_RATE, Guess, Guessed
from schema.envelope import AnyEvent

DOOR = "mobile"


class State(enum.Enum):
    FRESH = "fresh"
    NAMED = "named"  # the session is known, the format of its audio is not
    OPEN = "open"
    ENDED = "ended"


class MobileDialect:
    """One socket. `now`: ms since 1970, for timestamps; `new_session` names a session whose app did not."""

    door = DOOR

    def __init__(self, *, now: Callable[[], int], new_session: Callable[[], str]) -> None:
        self.state = State.FRESH
        self.session = ""
        self._new_session = new_session
        self._start: Mapping[str, Any] = {}
        self._guess = Guess()
        self._held: list[tuple[bytes, int | None]] = []
        self._ear: Ear | None = None
        self._mouth = Mouth(now)
        self._listens = False  # the app was told so before it began

    # ------------------------------------------------------------------ what comes

    def greet(self) -> tuple[Said, ...]:
        return ()

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        found = words.read_message(frame)
        if found is None:
            return (Ignored("not_json"),)
        message, is_camel = found
        if self._mouth.is_camel is None:
            self._mouth.is_camel = is_camel
        kind, session = message.get("type"), message.get("session_id")
        heed = TABLE.get((self.state, kind)) if isinstance(kind, str) else None
        if heed is None:
            return (Ignored("unknown_type"),)
        if session is not None and not isinstance(session, str):
            return (Ignored("malformed"),)
        if session and self.state is not State.FRESH and session != self.session:
            return (Ignored("other_session"),)
        return heed(self, message, now_ms)

    def _name(self, message: Mapping[str, Any]) -> None:
        """From here on the session has a name."""
        self.session = message.get("session_id") or self.session or self._new_session()
        self._mouth.session = self.session
        self.state = State.NAMED

    def begin(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        """A start. One that says nothing of its audio begins with its first frame of it, or with any other message."""
        if words.declares(message):
            return self._declared(message)
        self._name(message)
        self._start, self._listens = message, True
        return (Named(), Answer((self._mouth.status(Status.LISTENING),)))

    def _declared(self, message: Mapping[str, Any]) -> tuple[Said, ...]:
        self._name(message)
        began = words.beginning(self.session, message)
        try:
            self._ear = Intake(encoding=began.encoding, sample_rate=began.sample_rate, channels=began.channels)
        except ValueError as error:
            self.state = State.FRESH
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)
        return self._open(began)

    def _open(self, began: Began) -> tuple[Said, ...]:
        self.state, self._mouth.began = State.OPEN, began
        return (began,)

    def start_again(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return (Ignored("repeated_start"),)

    def first_audio(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        """Audio whose format nobody declared: held until it shows."""
        payload = read_base64(message.get("audio_data") or "")
        if payload is None:
            return (Ignored("not_base64"),)
        is_final = message.get("is_final") is True
        if payload:
            self._name(message)
            self._held.append((payload, read_count(message.get("sequence"))))
            guessed = self._guess.watch(payload, now_ms)
        else:
            guessed = None
        guessed = guessed or (self._guess.best() if is_final else None)
        if guessed is None:
            return () if payload else (Ignored("empty_audio"),)
        return (*self._guessed(guessed), *self._hear_held(), *self._release(is_final))

    def _guessed(self, guessed: Guessed) -> tuple[Said, ...]:
        self._ear = (
            Unpacking()
            if guessed.container
            else Intake(encoding=guessed.encoding, sample_rate=guessed.sample_rate, channels=1)
        )
        return self._open(
            words.began(
                self.session, self._start, encoding=guessed.encoding, sample_rate=guessed.sample_rate, channels=1
            )
        )

    def _hear_held(self) -> tuple[Said, ...]:
        held, self._held = self._held, []
        assert self._ear is not None, "the format is known when frames are no longer held"
        return tuple(said for payload, sequence in held for said in self._ear.take(payload, sequence))

    def audio_input(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        ear = self._ear
        payload = read_base64(message.get("audio_data") or "")
        if payload is None or ear is None:
            return (Ignored("not_base64"),)
        is_final, sequence = message.get("is_final") is True, read_count(message.get("sequence"))
        if payload:
            if isinstance(ear, Intake) and ear.encoding == "opus" and payload.startswith(b"OggS"):
                ear = self._ear = _unpacking(ear)
            said = ear.take(payload, sequence)
        elif not is_final:
            return (Ignored("empty_audio"),)
        else:
            said = (Repeated(),) if ear.numbering.lost(sequence) is None else ()
        return said if said == (Repeated(),) else (*said, *self._release(is_final))

    def _release(self, is_final: bool) -> tuple[Said, ...]:
        if not is_final or self._ear is None:
            return ()
        self._ear.numbering.turn_ended()
        return (Released(),)

    def soon(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        """A deed before any audio: begins in the format that is taken for granted, then does it."""
        if not (self.session or message.get("session_id")):
            return (Ignored("before_start"),)
        self._name(message)
        guessed = self._guess.best() or Guessed("opus", USUAL_RATE)
        return (*self._guessed(guessed), *self._hear_held(), *_deed(message))

    def do(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        return _deed(message)

    def end(self, message: Mapping[str, Any], now_ms: int) -> tuple[Said, ...]:
        began = self.state is State.OPEN
        self.state = State.ENDED
        # The call's own end is told as `complete`; a session that never began has only its socket.
        return (Wished("hang_up"),) if began else (Ended("stop"),)

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
        return () if self._listens else (self._mouth.status(Status.LISTENING),)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return self._mouth.fact(fact)

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return (self._mouth.error(code, message, retry_after_ms),)

    def audio(self, payload: bytes) -> Wire:
        return self._mouth.audio(payload)

    def mark(self, name: str) -> None:
        """Remembered behind the audio's number: an app says which it has played."""
        self._mouth.sent.mark(name)

    def clear(self) -> None:
        """The status that an interruption changes says it."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)


def _deed(message: Mapping[str, Any]) -> tuple[Said, ...]:
    match message["type"]:
        case "text":
            text = text_of(message.get("text"))
            return (Typed(text),) if text else (Ignored("empty_text"),)
        case "interrupt" | "pause" | "resume" as kind:
            return (Wished(kind),)
        case _:
            return ()


def _unpacking(intake: Intake) -> Unpacking:
    """A client that said Opus and sends it in pages of Ogg."""
    unpacking = Unpacking()
    unpacking.numbering = intake.numbering
    return unpacking


_Heed = Callable[[MobileDialect, Mapping[str, Any], int], tuple[Said, ...]]
_D = MobileDialect
_DEEDS = ("text", "interrupt", "pause", "resume")
TABLE: Mapping[tuple[State, str], _Heed] = {
    **{(state, "ping"): _D.pong for state in State},
    **{(state, "pong"): _D.nothing for state in State},
    **{(state, "metrics"): _D.figures for state in State},
    **{(state, "played"): _D.played for state in State},
    **{(state, kind): _D.soon for state in (State.FRESH, State.NAMED) for kind in _DEEDS},
    **{(State.OPEN, kind): _D.do for kind in _DEEDS},
    **{(State.ENDED, kind): _D.too_late for kind in (*_DEEDS, "start_session", "audio_input", "end_session")},
    (State.FRESH, "start_session"): _D.begin,
    (State.NAMED, "start_session"): _D.start_again,
    (State.OPEN, "start_session"): _D.start_again,
    (State.FRESH, "audio_input"): _D.first_audio,
    (State.NAMED, "audio_input"): _D.first_audio,
    (State.OPEN, "audio_input"): _D.audio_input,
    (State.FRESH, "end_session"): _D.end,
    (State.NAMED, "end_session"): _D.end,
    (State.OPEN, "end_session"): _D.end,
}
