"""The peer's half of a socket: what it says becomes facts, its limits are kept, and its end is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import WSMessage, WSMsgType, web

from ingest import opening
from ingest.admission import Admitted, Refused
from ingest.desk import Desk
from ingest.dialects import base
from ingest.ending import code_of, objection, reason_of
from ingest.gauge import Bucket, Gauge
from ingest.lane import Line
from ingest.sending import Sender
from ingest.speaker import Speaker, Voice
from schema.outbox import OutboxAudio, OutboxFact
from schema.stream import DtmfPressed, StreamClosed, StreamMeasured

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
    ) -> None:
        self.dialect = dialect
        self.sender = Sender(ws, transport)
        self.line: Line | None = None
        self._speaker: Speaker | None = None
        self.stream = ""
        self._desk = desk
        self._ws = ws
        self._admit = admit
        self._tally = desk.tally.door(dialect.door)
        now = desk.clock()
        limits = desk.config.limits
        self._limits = limits
        self._bucket = Bucket(per_second=limits.frames_a_second, size=limits.frames_bucket, now=now)
        self._gauge = Gauge()
        self._bytes_per_ms = 8
        self._has_begun = False  # a start came, whatever the log says to it
        self._is_held = False
        self._began_at = now
        self._opened_at = 0
        self._heard_at = now  # any message
        self._measure_at = 0
        self._stopped_at = 0
        self._cut_at = 0
        self._reason = ""

    # ------------------------------------------------------------------ the peer's side

    async def run(self) -> None:
        """Until the socket is gone; its `stream.closed` is said whatever happens."""
        self._desk.sockets.add(self)
        self._tally.connections += 1
        self._tally.active += 1
        sending = asyncio.create_task(self.sender.run())
        last: WSMessage | None = None
        try:
            last = await self._read()
            if self.sender.closing:
                await asyncio.wait([sending], timeout=CLOSE_S)
        finally:
            sending.cancel()
            self._end(last)
            await asyncio.gather(sending, return_exceptions=True)

    async def _read(self) -> WSMessage:
        """The hot loop: one await a message, nothing else that can wait unless facts must."""
        receive, take, clock, tally = self._ws.receive, self._bucket.take, self._desk.clock, self._tally
        parse, tape = self.dialect.receive, self._desk.tape
        while True:
            message = await receive()
            kind = message.type
            if kind is not WSMsgType.TEXT and kind is not WSMsgType.BINARY:
                return message
            now = self._heard_at = clock()
            tally.received += 1
            if self.sender.closing:
                continue
            if not take(now):
                self._too_fast(now)
                continue
            for said in parse(message.data, now):
                if type(said) is base.Frame:
                    self._hear(said, now)
                else:
                    await self._heed(said, now)
            if tape.full:
                await self._hold(tape.room())

    def _hear(self, frame: base.Frame, now: int) -> None:
        line = self.line
        if line is None:
            return
        size = len(frame.payload)
        self._tally.frames_in += 1
        self._tally.bytes_in += size
        self._gauge.note(size=size, ms=frame.ms, length_ms=size // self._bytes_per_ms, lost=frame.lost, now=now)
        self._desk.tape.hear(line, frame.ms, frame.payload)

    async def _hold(self, until: Awaitable[None]) -> None:
        """Wait for the log, reading nothing: what the peer says meanwhile is not its silence."""
        self._is_held = True
        await until
        self._is_held = False
        self._heard_at = self._desk.clock()

    async def _heed(self, said: base.Said, now: int) -> None:
        match said:
            case base.Began():
                await self._hold(self._open(said))
            case base.MarkEchoed(name):
                self._echo(name, now)
            case base.Digit(digit):
                self._desk.say(self._line(), DtmfPressed, digit=digit)
            case base.Ended(reason):
                self._stop(reason, now)
            case base.Repeated():
                self._gauge.repeated += 1
            case base.Ignored(kind):
                self._count(kind)
            case base.Violation(code, kind, reason):
                self._count(kind)
                self.shut("protocol" if code == 1002 else "limit", reason, code=code)
            case base.Frame():
                self._hear(said, now)

    async def _open(self, began: base.Began) -> None:
        """R11: the end of media is read first, and no frame is read from the socket before the log has the opening."""
        self._has_begun = True
        admitted = self._admit(began)
        if isinstance(admitted, Refused):
            self._count(admitted.kind)
            self.shut("limit", admitted.reason, code=1008)
            return
        desk, door = self._desk, self.dialect.door
        line = opening.new_line(desk, admitted, began)
        media_end = await opening.end_of_media(desk, line.partition)
        self._opened_at = desk.clock()
        self._measure_at = self._opened_at + desk.config.measure_ms
        self._bytes_per_ms = opening.bytes_per_ms(began)
        self.stream, self.line = line.stream, line
        self._speaker = self._new_speaker(line, echoes=not desk.config.dev or admitted.signed)
        desk.sessions[self.stream] = self
        if admitted.starts_call:
            desk.tape.say(opening.started(desk, line, door, admitted, began), line.partition)
        await desk.tape.tell(opening.opened(desk, line, door, began, media_end), line.partition)
        _log.info("stream opened", call_id=line.call_id, stream=self.stream, door=door)

    def _new_speaker(self, line: Line, *, echoes: bool) -> Speaker:
        voice = Voice(self.dialect, self.sender, self._bytes_per_ms, echoes)
        return Speaker(self._desk, line, voice, gauge=self._gauge, shut=self.shut, now=self._opened_at)

    def _echo(self, name: str, now: int) -> None:
        if self._speaker is None:
            return
        if self._speaker.echoed(name, now):
            self.play(now)
        else:
            self._count("unknown_mark")

    def _stop(self, reason: str, now: int) -> None:
        """The peer's own end: the fact must not wait for the socket to go."""
        self._stopped_at = now
        self._reason = self._reason or reason
        self._say_closed(0)

    def _too_fast(self, now: int) -> None:
        self._gauge.dropped += 1
        self._count("over_rate")
        if self._bucket.over_ms(now) >= self._limits.over_rate_ms:
            self.shut("limit", f"more than {self._limits.frames_a_second} messages a second", code=1008)

    # ------------------------------------------------------------------ the log's side

    def take(self, message: OutboxFact | OutboxAudio, now: int) -> None:
        """What the outbox brought for this stream."""
        if self._speaker is not None:
            self._speaker.take(message, now)

    def play(self, now: int) -> None:
        """Cheap when there is nothing to play."""
        desk = self._desk
        if self._speaker is not None and not self.sender.closing and self._speaker.play(now):
            desk.playing.add(self)
            desk.started_playing.set()
        else:
            desk.playing.discard(self)

    # ------------------------------------------------------------------ time, and the end

    def look_after(self, now: int) -> None:
        """Limits and measurements; visited a few times a second."""
        limits = self._limits
        if self._cut_at:
            if now - self._cut_at >= limits.stalled_ms:
                self.sender.abort()
        elif self.sender.unsent_bytes > limits.unsent_bytes or self.sender.stalled_ms(now) >= limits.stalled_ms:
            self._cut_off(now)
        elif self.sender.closing:
            return
        elif not self._has_begun and not self._stopped_at and now - self._began_at >= limits.start_ms:
            self._count("no_start")
            self.shut("limit", "no start came", code=1008)
        elif not self._is_held and now - self._heard_at >= limits.idle_ms:
            self.shut("limit", "idle", code=1008)
        elif self._opened_at and now - self._opened_at >= limits.call_ms:
            self.shut("limit", "the longest a call may be", code=1008)
        elif self._stopped_at and now - self._stopped_at >= limits.after_stop_ms:
            self.shut("stop", "")
        if self._measure_at and now >= self._measure_at and not self._stopped_at:
            self._measure_at = now + self._desk.config.measure_ms
            self._measure(now)

    def is_quiet(self, now: int) -> bool:
        """Neither side speaks: a good moment to go."""
        return self._speaker is None or self._speaker.is_quiet(now)

    def shut(self, reason: str, text: str, *, code: int = 0) -> None:
        """Close from our side; what was put before is sent first."""
        if not self.sender.closing:
            self._reason = self._reason or reason
            self.sender.close(code or self.dialect.close_code(reason), text)

    def _cut_off(self, now: int) -> None:
        self._cut_at = now
        self._count("slow_peer")
        self._reason = self._reason or "slow"
        self.sender.cut_off(self.dialect.close_code("slow"))

    def _measure(self, now: int) -> None:
        gauge, line = self._gauge, self._line()
        playlist = self._speaker.playlist if self._speaker else None
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
            buffered_ms=playlist.ahead_ms(now) if playlist else 0,
            outbox_through=playlist.through if playlist else 0,
        )

    def _end(self, last: WSMessage | None) -> None:
        desk = self._desk
        desk.sockets.discard(self)
        desk.playing.discard(self)
        self._tally.active -= 1
        # Peers answer our close with a code of their own; what counts is whose close it was.
        code = self.sender.close_code or code_of(last, self._ws)
        if kind := objection(last):
            self._count(kind)
        if not self._reason:
            self._reason = reason_of(last, code)
        desk.tally.closed[self.dialect.door, self._reason, str(code)] += 1
        self._say_closed(code)

    def _say_closed(self, code: int) -> None:
        """Once: what playback is known to have reached, then the end, behind the last frame."""
        line, self._measure_at = self.line, 0
        if line is None or self._desk.sessions.pop(self.stream, None) is None:
            return
        if self._speaker is not None:
            self._speaker.stop(self._desk.clock())
        reason, stream = self._reason, self.stream

        def closed(line: Line) -> StreamClosed:
            last = line.media_sequence
            return self._desk.event(line, StreamClosed, stream=stream, reason=reason, last_sequence=last, code=code)

        self._desk.tape.close_line(line, closed)
        _log.info("stream closed", call_id=line.call_id, stream=stream, reason=reason, code=code)

    def _line(self) -> Line:
        assert self.line is not None, "a session speaks only after it was opened"
        return self.line

    def _count(self, kind: str) -> None:
        self._desk.tally.bad_input[self.dialect.door, kind] += 1
