"""Visits one socket a few times a second: its limits, its heartbeat, its measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ingest.desk import Desk
from ingest.gauge import Gauge
from ingest.heartbeat import Heartbeat
from ingest.lane import Line
from ingest.loudness import Loudness
from ingest.quality import Quality
from ingest.sending import Sender
from ingest.speaker import Speaker
from ingest.tokens import Due, Term
from schema.stream import StreamDegraded, StreamMeasured


@dataclass(slots=True)
class Course:
    """How far a session has come, on the process's own clock; 0: not yet."""

    began_at: int
    heard_at: int  # any message
    has_begun: bool = False  # a start came, whatever the log says to it
    is_held: bool = False  # we read nothing: what the peer says meanwhile is not its silence
    opened_at: int = 0
    stopped_at: int = 0
    figures: dict[str, float] = field(default_factory=dict)  # the peer's own


class Watched(Protocol):
    """A session, as its watch sees it."""

    line: Line | None
    course: Course

    @property
    def speaker(self) -> Speaker | None: ...

    def shut(self, reason: str, text: str, *, code: int = 0) -> None: ...

    def blame(self, reason: str) -> None:
        """Why the stream will have closed, unless something was to blame before."""

    def count(self, kind: str) -> None: ...

    def warn(self, code: str, message: str, retry_after_ms: int | None = None) -> None: ...


class Watch:
    """One session's."""

    def __init__(
        self,
        session: Watched,
        desk: Desk,
        sender: Sender,
        gauge: Gauge,
        *,
        heartbeat_ms: int,
        term: Term | None,
        slow_code: Callable[[], int],
        now: int,
    ) -> None:
        self._session = session
        self._desk = desk
        self._limits = desk.config.limits
        self._sender = sender
        self._gauge = gauge
        self._slow_code = slow_code
        self._heartbeat = Heartbeat(every_ms=heartbeat_ms, now=now)
        self._quality = Quality()
        self.loudness = Loudness("opus")
        self._measure_at = 0
        self._cut_at = 0
        self._term = term

    def begin(self, now: int, encoding: str) -> None:
        """The stream is open: measure it."""
        self.loudness = Loudness(encoding)
        self._measure_at = now + self._desk.config.measure_ms

    def end(self) -> None:
        self._measure_at = 0

    def ponged(self, payload: bytes, now: int) -> None:
        self._heartbeat.ponged(payload, now)

    def look(self, now: int) -> None:
        """Limits first; a socket that is going away is left alone."""
        if self._cut_at:
            if now - self._cut_at >= self._limits.stalled_ms:
                self._sender.abort()
        elif (
            self._sender.unsent_bytes > self._limits.unsent_bytes
            or self._sender.stalled_ms(now) >= self._limits.stalled_ms
        ):
            self._cut_off(now)
        elif not self._sender.closing:
            self._keep_limits(now)
            if not self._session.course.is_held:  # the answers wait in a socket that is not read
                self._keep_heartbeat(now)
        if self._measure_at and now >= self._measure_at and not self._session.course.stopped_at:
            self._measure_at = now + self._desk.config.measure_ms
            self._measure(now)

    def _keep_limits(self, now: int) -> None:
        course, limits, shut = self._session.course, self._limits, self._session.shut
        if not course.has_begun and not course.stopped_at and now - course.began_at >= limits.start_ms:
            self._session.count("no_start")
            shut("limit", "no start came", code=1008)
        elif not course.is_held and now - course.heard_at >= limits.idle_ms:
            shut("limit", "idle", code=1008)
        elif course.opened_at and now - course.opened_at >= limits.call_ms:
            shut("limit", "the longest a call may be", code=1008)
        elif course.stopped_at and now - course.stopped_at >= limits.after_stop_ms:
            shut("stop", "")
        elif self._term is not None:
            self._keep_term(self._term.due(self._desk.now()))

    def _keep_term(self, due: Due) -> None:
        """Told first, so that a client may come back with a new token in good time."""
        if due is Due.TELL:
            self._session.warn("AUTH_EXPIRED", "the token has expired: connect again with a new one", 0)
        elif due is Due.CLOSE:
            self._session.shut("expired", "the token has expired")

    def _keep_heartbeat(self, now: int) -> None:
        payload = self._heartbeat.due(now, heard_at=self._session.course.heard_at)
        if payload is not None:
            self._sender.ping(payload)
        elif self._heartbeat.missed >= 2:
            self._session.count("no_pong")
            self._session.shut("peer_lost", "no answer to two pings")

    def _cut_off(self, now: int) -> None:
        self._cut_at = now
        self._session.count("slow_peer")
        self._session.blame("slow")
        self._sender.cut_off(self._slow_code())

    def _measure(self, now: int) -> None:
        gauge, line, speaker = self._gauge, self._session.line, self._session.speaker
        if line is None:
            return
        playlist = speaker.playlist if speaker is not None else None
        ping_ms = self._heartbeat.ping_ms
        level_dbfs, snr_db = self.loudness.take()
        self._desk.say(
            line,
            StreamMeasured,
            frames=gauge.frames,
            bytes=gauge.audio_bytes,
            lost=gauge.lost,
            repeated=gauge.repeated,
            dropped=gauge.dropped + line.dropped,
            largest_gap_ms=gauge.take_gap(now),
            jitter_ms=round(gauge.jitter, 1),
            ping_ms=ping_ms,
            level_dbfs=level_dbfs,
            snr_db=snr_db,
            buffered_ms=playlist.ahead_ms(now) if playlist else 0,
            outbox_through=playlist.through if playlist else 0,
            client=dict(self._session.course.figures),
        )
        loss = self._quality.note(frames=gauge.frames, lost=gauge.lost, ping_ms=ping_ms)
        if loss is not None:
            # A client may know better than we do: its own pings are answered where ours are not.
            known_ms = self._session.course.figures.get("ping_ms", 0.0) if ping_ms is None else ping_ms
            self._desk.say(line, StreamDegraded, ping_ms=known_ms, loss=round(loss, 4))
