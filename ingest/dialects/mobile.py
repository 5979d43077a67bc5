"""The mobile protocol: JSON in text or binary frames, audio in base64, every message with its session's id.

It answers errors only when the app must act: apps end their session on any error. What makes no sense is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from ingest.dialects import mobile_messages as words
from ingest.dialects.app import BAD_SESSION, Status, read_base64, read_count
from ingest.dialects.app_dialect import AppDialect, Message, State, by_state
from ingest.dialects.base import Answer, Began, Ignored, Named, Problem, Said, Wire
from ingest.dialects.intake import Intake, Unpacking
from ingest.dialects.mobile_mouth import Mouth
from ingest.dialects.undeclared import USUAL_RATE, Guess, Guessed

DOOR = "mobile"


class MobileDialect(AppDialect[Mouth]):
    """One socket. `now`: ms since 1970, for timestamps; `new_session` names a session whose app did not."""

    door = DOOR
    not_base64 = Ignored("not_base64")
    empty_text = Ignored("empty_text")

    def __init__(self, *, now: Callable[[], int], new_session: Callable[[], str]) -> None:
        super().__init__(Mouth(now), State.FRESH, TABLE)
        self.session = ""
        self._new_session = new_session
        self._start: Message = {}
        self._guess = Guess()
        self._held: list[tuple[bytes, int | None]] = []
        self._listens = False  # the app was told so before it began

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        found = words.read_message(frame)
        if found is None:
            return (Ignored("not_json"),)
        message, is_camel = found
        if self.mouth.is_camel is None:
            self.mouth.is_camel = is_camel
        kind, session = message.get("type"), message.get("session_id")
        heed = TABLE.get((self.state, kind)) if isinstance(kind, str) else None
        if heed is None:
            return (Ignored("unknown_type"),)
        if session is not None and not isinstance(session, str):
            return BAD_SESSION if heed in BEGINNINGS and self.state is State.FRESH else (Ignored("malformed"),)
        if session and self.state is not State.FRESH and session != self.session:
            return (Ignored("other_session"),)
        return heed(self, message, now_ms)

    def _name(self, message: Message) -> None:
        """From here on the session has a name."""
        self.session = message.get("session_id") or self.session or self._new_session()
        self.mouth.session = self.session
        self.state = State.NAMED

    def begin(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """A start. One that says nothing of its audio begins with its first frame of it, or with any other message."""
        if words.declares(message):
            return self._declared(message)
        self._name(message)
        self._start, self._listens = message, True
        return (Named(), Answer((self.mouth.status(Status.LISTENING),)))

    def _declared(self, message: Message) -> tuple[Said, ...]:
        self._name(message)
        began = words.beginning(self.session, message)
        try:
            self._ear = Intake(encoding=began.encoding, sample_rate=began.sample_rate, channels=began.channels)
        except ValueError as error:
            self.state = State.FRESH
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)
        return self._open(began)

    def _open(self, began: Began) -> tuple[Said, ...]:
        self.state, self.mouth.began = State.OPEN, began
        return (began,)

    def start_again(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Ignored("repeated_start"),)

    def first_audio(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """Audio whose format nobody declared: held until it shows."""
        payload = read_base64(message.get("audio_data") or "")
        if payload is None:
            return (self.not_base64,)
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
        return (*self._guessed(guessed), *self._hear_held(), *self.released(message))

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

    def audio_input(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        ear, payload = self._ear, read_base64(message.get("audio_data") or "")
        if payload and isinstance(ear, Intake) and ear.encoding == "opus" and payload.startswith(b"OggS"):
            self._ear = _unpacking(ear)
        return self.hear(payload, message, now_ms)

    def soon(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """A deed before any audio: begins in the format that is taken for granted, then does it."""
        if not (self.session or message.get("session_id")):
            return (Ignored("before_start"),)
        self._name(message)
        guessed = self._guess.best() or Guessed("opus", USUAL_RATE)
        return (*self._guessed(guessed), *self._hear_held(), *self.heed(message["type"], message, now_ms))

    def opened(self) -> tuple[Wire, ...]:
        return () if self._listens else (self.mouth.status(Status.LISTENING),)


def _unpacking(intake: Intake) -> Unpacking:
    """A client that said Opus and sends it in pages of Ogg."""
    unpacking = Unpacking()
    unpacking.numbering = intake.numbering
    return unpacking


_D = MobileDialect
TABLE = by_state(
    (State.FRESH, State.NAMED, State.OPEN, State.ENDED),
    {
        "start_session": (_D.begin, _D.start_again, _D.start_again, _D.too_late),
        "audio_input": (_D.first_audio, _D.first_audio, _D.audio_input, _D.too_late),
        "text": (_D.soon, _D.soon, _D.text, _D.too_late),
        "interrupt": (_D.soon, _D.soon, _D.interrupt, _D.too_late),
        "pause": (_D.soon, _D.soon, _D.pause, _D.too_late),
        "resume": (_D.soon, _D.soon, _D.resume, _D.too_late),
        "end_session": (_D.end_nothing, _D.end_nothing, _D.end, _D.too_late),
        "ping": (_D.pong, _D.pong, _D.pong, _D.pong),
        "pong": (_D.nothing, _D.nothing, _D.nothing, _D.nothing),
        "metrics": (_D.figures, _D.figures, _D.figures, _D.figures),
        "played": (_D.played, _D.played, _D.played, _D.played),
    },
)
BEGINNINGS = (_D.begin, _D.first_audio, _D.soon)  # what names a session
