"""The browser protocol: WebM/Opus as MediaRecorder cuts it comes in, PCM for the Web Audio API goes out, all in JSON.

Both formats are fixed, so the stream opens with the socket: a page is greeted before it has said anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.website import Site
from ingest.dialects.app import NO_SITE, read_base64, read_text
from ingest.dialects.app_dialect import AppDialect, Message, State, by_state, kinds_of
from ingest.dialects.base import Began, Figures, Problem, Said, Wire
from ingest.dialects.browser_mouth import Mouth
from ingest.dialects.intake import Unpacking

DOOR = "browser"
IN_RATE = 48_000  # Hz, of Opus's clock
OUT_RATE = 24_000
# A client's clock may stand anywhere; one that runs away by more than this was set, or counts no milliseconds.
MOST_DRIFT_MS = 60_000


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


class BrowserDialect(AppDialect[Mouth]):
    """One socket. `tenant` is the token's, `query` the request's; `now`: ms since 1970; `new_session` names a session
    whose page did not; `site_of` finds a site by its id."""

    door = DOOR
    not_base64 = Problem("MALFORMED_MESSAGE", "audio is base64", "not_base64")

    def __init__(
        self,
        *,
        tenant: str,
        query: Mapping[str, str],
        now: Callable[[], int],
        new_session: Callable[[], str],
        site_of: Callable[[str], Site | None],
    ) -> None:
        super().__init__(Mouth(now), State.OPEN, TABLE)
        self.session = query.get("session") or new_session()
        self._tenant = tenant
        self._query = query
        self._site_of = site_of
        self._ear = Unpacking()
        self._drift = Drift()

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

    def audio_data(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return self.hear(read_base64(message.get("audio") or ""), message, now_ms)

    def measured(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return self._drift.of(message.get("timestamp"), now_ms)

    def opened(self) -> tuple[Wire, ...]:
        """First of all the name to come back with."""
        call = f"{self._tenant}~{self.session}"
        return (self.mouth.say("session", session_id=self.session, call=call, sample_rate=OUT_RATE),)


_D = BrowserDialect
TABLE = by_state(
    (State.OPEN, State.ENDED),
    {
        "audio_data": (_D.audio_data, _D.too_late),
        "text": (_D.text, _D.too_late),
        "stop": (_D.end, _D.too_late),
        "interrupt": (_D.interrupt, _D.too_late),
        "pause": (_D.pause, _D.too_late),
        "resume": (_D.resume, _D.too_late),
        "ping": (_D.pong, _D.pong),
        "pong": (_D.nothing, _D.nothing),
        "metrics": (_D.figures, _D.figures),
        "played": (_D.played, _D.played),
    },
)
KINDS = kinds_of(TABLE)
