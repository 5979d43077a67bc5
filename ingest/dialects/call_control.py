"""The call-control protocol: JSON messages, a call begun and ended by name, every mistake answered with an error."""

from __future__ import annotations

from collections.abc import Callable

from ingest.dialects.app import BAD_SESSION, read_base64, read_session
from ingest.dialects.app_dialect import AppDialect, Message, State, by_state, kinds_of
from ingest.dialects.base import Answer, Ignored, Problem, Said, Violation, Wire
from ingest.dialects.call_messages import Asked, asked
from ingest.dialects.call_mouth import Mouth
from ingest.dialects.intake import Ear, Intake, Unpacking, WavIntake

DOOR = "call"
ANOTHERS = "the tenant_id is not the token's"


class CallControlDialect(AppDialect[Mouth]):
    """One socket. `tenant` is the token's; `now`: ms since 1970, for timestamps; `new_session` names new calls."""

    door = DOOR

    def __init__(self, *, tenant: str, now: Callable[[], int], new_session: Callable[[], str]) -> None:
        super().__init__(Mouth(now), State.FRESH, TABLE)
        self._tenant = tenant
        self._new_session = new_session

    def greet(self) -> tuple[Said, ...]:
        return (Answer((self.mouth.say("connected"),)),)

    def too_early(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Problem("SESSION_NOT_FOUND", "no call was started: say start_call first", "before_start"),)

    def start(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        tenant = message.get("tenant_id")
        if tenant not in (None, "", self._tenant):
            return (Problem("FORBIDDEN", ANOTHERS, "other_tenant"), Violation(1008, "other_tenant", ANOTHERS))
        named = self._named(message)
        if named is None:
            return BAD_SESSION
        session = named or self._new_session()
        try:
            wanted = asked(session, message)
            self._ear = _ear_for(wanted)
        except ValueError as error:
            return (Problem("UNSUPPORTED_FORMAT", str(error), "bad_format"),)
        self.state = State.OPEN
        self.mouth.begun(wanted, call=f"{self._tenant}~{session}")
        return (wanted.began,)

    def start_again(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        if self._named(message) in ("", self.mouth.session):
            return (Ignored("repeated_start"),)
        return (Problem("CALL_RUNNING", "a socket carries one call: open another for the next", "second_start"),)

    def _named(self, message: Message) -> str | None:
        """A call may be named as the log names it; None: by no text."""
        named = read_session(message.get("call_id"))
        return None if named is None else named.removeprefix(f"{self._tenant}~")

    def audio_data(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return self.hear(read_base64(message.get("data") or ""), message, now_ms)

    def opened(self) -> tuple[Wire, ...]:
        return (self.mouth.started(),)


def _ear_for(wanted: Asked) -> Ear:
    """Raises ValueError."""
    began = wanted.began
    if wanted.container == "webm":
        return Unpacking()
    kind = WavIntake if wanted.container == "wav" else Intake
    return kind(encoding=began.encoding, sample_rate=began.sample_rate, channels=began.channels)


_D = CallControlDialect
TABLE = by_state(
    (State.FRESH, State.OPEN, State.ENDED),
    {
        "start_call": (_D.start, _D.start_again, _D.too_late),
        "audio": (_D.too_early, _D.audio_data, _D.too_late),
        "text": (_D.too_early, _D.text, _D.too_late),
        "interrupt": (_D.too_early, _D.interrupt, _D.too_late),
        "pause": (_D.too_early, _D.pause, _D.too_late),
        "resume": (_D.too_early, _D.resume, _D.too_late),
        "end_call": (_D.end_nothing, _D.end, _D.too_late),
        "ping": (_D.pong, _D.pong, _D.pong),
        "pong": (_D.nothing, _D.nothing, _D.nothing),
        "metrics": (_D.figures, _D.figures, _D.figures),
        "played": (_D.played, _D.played, _D.played),
    },
)
KINDS = kinds_of(TABLE)
