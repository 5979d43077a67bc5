"""The peer's half of a socket: what it says becomes facts, its limits are kept, and its end is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from aiohttp import WSMessage, WSMsgType, web

from ingest import opening
from ingest.admission import Admitted, Refused
from ingest.deeds import Deed, put_down
from ingest.desk import Desk
from ingest.dialects import base
from ingest.ending import COME_BACK, FAREWELLS, RESTART_MS, code_of, objection, reason_of
from ingest.gauge import Bucket, Gauge
from ingest.lane import Line
from ingest.sending import Sender
from ingest.speaker import Speaker, Voice
from ingest.tokens import Term
from ingest.watch import Course, Watch
from schema.outbox import OutboxAudio, OutboxFact
from schema.stream import StreamClosed

_log = structlog.get_logger(__name__)
CLOSE_S = 3.0  # for the peer's half of the closing handshake


class Session:
    """One socket. `admit` judges the peer's beginning; nothing is put down before it was admitted."""

    def __init__(
        self,
        desk: Desk,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        dialect: base.Dialect,
        admit: Callable[[base.Began], Admitted | Refused],
        *,
        heartbeat_ms: int = 0,
        term: Term | None = None,
    ) -> None:
        """`heartbeat_ms` 0 sends no pings; `term` is how long the peer's token lasts."""
        now = desk.clock()
        self.dialect = dialect
        self.sender = Sender(ws, transport)
        self.line: Line | None = None
        self.speaker: Speaker | None = None
        self.stream = ""
        self.course = Course(began_at=now, heard_at=now)
        self._desk = desk
        self._ws = ws
        self._admit = admit
        self._tally = desk.tally.door(dialect.door)
        limits = self._limits = desk.config.limits
        self._bucket, self._beside = Bucket(limits, now), Bucket(limits, now)
        self._gauge = Gauge()
        slow_code = partial(dialect.close_code, "slow")
        self.watch = Watch(
            self, desk, self.sender, self._gauge, heartbeat_ms=heartbeat_ms, term=term, slow_code=slow_code, now=now
        )
        self._measure = opening.UNOPENED
        self._user_id = self._reason = ""
        self._has_hung_up = False

    # ------------------------------------------------------------------ the peer's side

    async def run(self) -> None:
        """Until the socket is gone; its `stream.closed` is said whatever happens."""
        self._desk.sockets.add(self)
        self._tally.connections += 1
        self._tally.active += 1
        sending = asyncio.create_task(self.sender.run())
        last: WSMessage | None = None
        try:
            for said in self.dialect.greet():
                await self._heed(said, self._desk.clock())
            last = await self._read()
            if self.sender.closing:
                await asyncio.wait([sending], timeout=CLOSE_S)
        finally:
            sending.cancel()
            self._end(last)
            await asyncio.gather(sending, return_exceptions=True)

    async def _read(self) -> WSMessage:
        """The hot loop: one await a message, nothing else that can wait unless facts must."""
        receive, clock, tally = self._ws.receive, self._desk.clock, self._tally
        parse, tape, course = self.dialect.receive, self._desk.tape, self.course
        while True:
            message = await receive()
            kind = message.type
            if kind is not WSMsgType.TEXT and kind is not WSMsgType.BINARY:
                if await self._control(message):
                    continue
                return message
            now = course.heard_at = clock()
            tally.received += 1
            if self.sender.closing:
                continue
            is_due = self._is_due(now)
            for said in parse(message.data, now):
                if type(said) is not base.Frame:
                    if is_due or base.is_cheap(said) or self._beside.take(now):
                        await self._heed(said, now)
                elif is_due:
                    self._hear(said, now)
                else:
                    self._gauge.drop(said.lost)
            if tape.full:
                await self._hold(tape.room())

    async def _control(self, message: WSMessage) -> bool:
        """Whether it was a ping or a pong, and not the end."""
        if message.type is WSMsgType.PING:
            await self._ws.pong(message.data)
        elif message.type is WSMsgType.PONG:
            self.watch.ponged(bytes(message.data), self._desk.clock())
        else:
            return False
        self._is_due(self._desk.clock())
        return True

    def _hear(self, frame: base.Frame, now: int) -> None:
        line = self.line
        if line is None:
            return
        size = len(frame.payload)
        self._tally.frames_in += 1
        self._tally.bytes_in += size
        self._gauge.note(size=size, ms=frame.ms, length_ms=self._measure.ms_of(frame.payload), lost=frame.lost, now=now)
        self.watch.loudness.note(frame.payload)
        self._desk.tape.hear(line, frame.ms, frame.payload)

    async def _hold(self, until: Awaitable[None]) -> None:
        """Wait for the log, reading nothing: what the peer says meanwhile is not its silence."""
        self.course.is_held = True
        await until
        self.course.is_held = False
        self.course.heard_at = self._desk.clock()

    async def _heed(self, said: base.Said, now: int) -> None:
        match said:
            case base.Began():
                await self._hold(self._open(said))
            case base.Named():
                self.course.has_begun = True
            case base.Frame():
                self._hear(said, now)
            case base.MarkEchoed(name):
                self._echo(name, now)
            case base.Ended(reason):
                self._stop(reason, now)
            case base.Repeated():
                self._gauge.repeated += 1
            case base.Ignored(kind):
                self.count(kind)
            case base.Problem(code, message, kind):
                self.count(kind)
                self.warn(code, message)
            case base.Violation(code, kind, reason):
                self.count(kind)
                self.shut("protocol" if code == 1002 else "limit", reason, code=code)
            case base.Answer(frames):
                self._put(frames)
            case base.Figures(values):
                self.course.figures.update(values)
            case base.Digit() | base.Typed() | base.Released() | base.Wished():
                self._do(said)

    def _do(self, deed: Deed) -> None:
        if self.line is None:
            self.count("not_begun")  # on a line that was refused
        elif deed != base.HANG_UP or not self._has_hung_up:
            self._has_hung_up |= deed == base.HANG_UP
            put_down(self._desk, self.line, deed, user_id=self._user_id)

    async def _open(self, began: base.Began) -> None:
        """R11: the end of media is read first, and no frame is read from the socket before the log has the opening."""
        self.course.has_begun = True
        admitted = self._admit(began)
        if isinstance(admitted, Refused):
            self.count(admitted.kind)
            self.warn(admitted.code, admitted.reason)
            self.shut("limit", admitted.reason, code=1008)
            return
        desk, door = self._desk, self.dialect.door
        line = opening.new_line(desk, admitted, began)
        media_end = await opening.end_of_media(desk, line.partition)
        self.course.opened_at = desk.clock()
        self.watch.begin(self.course.opened_at, began.encoding)
        self._measure, spoken = opening.measures(began)
        self.stream, self.line, self._user_id = line.stream, line, admitted.user_id
        voice = Voice(self.dialect, self.sender, spoken, echoes=admitted.echoes)
        self.speaker = Speaker(desk, line, voice, gauge=self._gauge, shut=self.shut, now=self.course.opened_at)
        desk.sessions[self.stream] = self
        if admitted.starts_call:
            desk.tape.say(opening.started(desk, line, door, admitted, began), line.partition)
        await desk.tape.tell(opening.opened(desk, line, door, admitted, began, media_end), line.partition)
        self._put(self.dialect.opened())
        _log.info("stream opened", call_id=line.call_id, stream=self.stream, door=door)

    def _echo(self, name: str, now: int) -> None:
        if self.speaker is None:
            return
        if self.speaker.echoed(name, now):
            self.play(now)
        else:
            self.count("unknown_mark")

    def _stop(self, reason: str, now: int) -> None:
        """The peer's own end: the fact must not wait for the socket to go."""
        self.course.stopped_at = now
        self.blame(reason)
        self._say_closed(0)

    def _is_due(self, now: int) -> bool:
        if self._bucket.take(now):
            return True
        self.count("over_rate")
        if self._bucket.over_ms(now) >= self._limits.over_rate_ms:
            self.shut("limit", f"more than {self._limits.frames_a_second} messages a second", code=1008)
        return False

    # ------------------------------------------------------------------ the log's side

    def take(self, message: OutboxFact | OutboxAudio, now: int) -> None:
        if self.speaker is not None:
            self.speaker.take(message, now)

    def play(self, now: int) -> None:
        """Cheap when there is nothing to play."""
        desk = self._desk
        if self.speaker is not None and not self.sender.closing and self.speaker.play(now):
            desk.playing.add(self)
            desk.started_playing.set()
        else:
            desk.playing.discard(self)

    # ------------------------------------------------------------------ time, and the end

    def is_quiet(self, now: int) -> bool:
        return self.speaker is None or self.speaker.is_quiet(now)

    def shut(self, reason: str, text: str, *, code: int = 0) -> None:
        """Close from our side; what was put before is sent first."""
        if not self.sender.closing:
            self.blame(reason)
            if reason in FAREWELLS:
                self.warn(FAREWELLS[reason], text, RESTART_MS if reason in COME_BACK else None)
            self.sender.close(code or self.dialect.close_code(reason), text)

    def blame(self, reason: str) -> None:
        """Why the stream will have closed, unless something was to blame before."""
        self._reason = self._reason or reason

    def warn(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        """Tell the peer of a problem, where its protocol has words for one."""
        self._put(self.dialect.problem(code, message, retry_after_ms))

    def _put(self, frames: tuple[base.Wire, ...]) -> None:
        for frame in frames:
            self._tally.sent += 1
            self.sender.put(frame)

    def _end(self, last: WSMessage | None) -> None:
        desk = self._desk
        desk.sockets.discard(self)
        desk.playing.discard(self)
        self._tally.active -= 1
        # Peers answer our close with a code of their own; what counts is whose close it was.
        code = self.sender.close_code or code_of(last, self._ws)
        if kind := objection(last):
            self.count(kind)
        if not self._reason:
            self._reason = reason_of(last, code)
        desk.tally.closed[self.dialect.door, self._reason, str(code)] += 1
        self._say_closed(code)

    def _say_closed(self, code: int) -> None:
        """Once: what playback is known to have reached, then the end, behind the last frame."""
        line = self.line
        self.watch.end()
        if line is None or self._desk.sessions.pop(self.stream, None) is None:
            return
        if self.speaker is not None:
            self.speaker.stop(self._desk.clock())
        ending = {"stream": self.stream, "reason": self._reason, "code": code}

        def closed(line: Line) -> StreamClosed:
            return self._desk.event(line, StreamClosed, last_sequence=line.media_sequence, **ending)

        self._desk.tape.close_line(line, closed)
        _log.info("stream closed", call_id=line.call_id, **ending)

    def count(self, kind: str) -> None:
        self._desk.tally.bad_input[self.dialect.door, kind] += 1
