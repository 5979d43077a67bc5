"""The peer's half of a socket: what it says becomes facts, its limits are kept, and its end is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from eventlog.port import LogBroken, LogUnavailable
from ingest.admission import Admitted, Refused
from ingest.desk import Desk
from ingest.dialects import base
from ingest.gauge import Bucket, Gauge
from ingest.lane import Line
from ingest.sending import Sender
from ingest.speaker import Speaker, Voice
from ingest.tape import FIRST_RETRY_S, LAST_RETRY_S
from schema.call import CallStarted
from schema.outbox import OutboxAudio, OutboxFact
from schema.stream import DtmfPressed, StreamClosed, StreamMeasured, StreamOpened
from schema.topics import MEDIA, mailbox_of, partition_of

_log = structlog.get_logger(__name__)
CLOSE_S = 3.0  # for the peer's half of the closing handshake
# What of aiohttp's objections to a frame is counted as bad input; their answers are RFC 6455's.
_OBJECTIONS = {1002: "bad_frame", 1007: "not_utf8", 1009: "too_big"}


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
                await tape.room()

    def _hear(self, frame: base.Frame, now: int) -> None:
        line = self.line
        if line is None:
            return
        size = len(frame.payload)
        self._tally.frames_in += 1
        self._tally.bytes_in += size
        self._gauge.note(size=size, ms=frame.ms, length_ms=size // self._bytes_per_ms, lost=frame.lost, now=now)
        self._desk.tape.hear(line, frame.ms, frame.payload)

    async def _heed(self, said: base.Said, now: int) -> None:
        match said:
            case base.Began():
                await self._open(said)
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
        desk = self._desk
        partition = partition_of(admitted.call_id, desk.partitions)
        self._bytes_per_ms = began.sample_rate * began.channels * (1 if began.encoding == "mulaw" else 2) // 1000
        self.stream = desk.new_id()
        if began.peer_stream:
            # The peer's name stays readable; ours is unique even if the same start comes on two sockets.
            self.stream = f"{began.peer_stream}.{self.stream[-12:]}"
        line = Line(call_id=admitted.call_id, tenant_id=admitted.tenant_id, stream=self.stream, partition=partition)
        media_end = await self._media_end(partition)
        self._opened_at = desk.clock()
        self._measure_at = self._opened_at + desk.config.measure_ms
        self.line, self._speaker = line, self._new_speaker(line, echoes=not desk.config.dev or admitted.signed)
        desk.sessions[self.stream] = self
        if admitted.starts_call:
            desk.tape.say(self._started(line, admitted, began), partition)
        await desk.tape.tell(self._opening(line, began, media_end), partition)
        _log.info("stream opened", call_id=line.call_id, stream=self.stream, door=self.dialect.door)

    def _new_speaker(self, line: Line, *, echoes: bool) -> Speaker:
        voice = Voice(self.dialect, self.sender, self._bytes_per_ms, echoes)
        return Speaker(self._desk, line, voice, gauge=self._gauge, shut=self.shut, now=self._opened_at)

    def _opening(self, line: Line, began: base.Began, media_end: int) -> StreamOpened:
        return self._desk.event(
            line,
            StreamOpened,
            stream=line.stream,
            door=self.dialect.door,
            mailbox=mailbox_of(self._desk.config.instance),
            encoding=began.encoding,
            sample_rate=began.sample_rate,
            channels=began.channels,
            media_end=media_end,
        )

    def _started(self, line: Line, admitted: Admitted, began: base.Began) -> CallStarted:
        """R3: an unsigned development start begins its call itself."""
        return self._desk.event(
            line,
            CallStarted,
            channel=self.dialect.door,
            agent=admitted.agent,
            user_id=admitted.user_id,
            parameters={name: value for name, value in began.parameters.items() if name != "token"},
        )

    async def _media_end(self, partition: int) -> int:
        wait_s = FIRST_RETRY_S
        while True:
            try:
                return await self._desk.log.end(MEDIA.name, partition)
            except (LogUnavailable, LogBroken):
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_RETRY_S)

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
        elif now - self._heard_at >= limits.idle_ms:
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
        code = _code_of(last, self._ws)
        if last is not None and last.type is WSMsgType.ERROR and code in _OBJECTIONS:
            self._count(_OBJECTIONS[code])
        if not self._reason:
            self._reason = _reason_of(last, code)
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


def _code_of(last: WSMessage | None, ws: web.WebSocketResponse) -> int:
    """Our own objection to a frame outlives the peer's answer to it."""
    if last is not None and isinstance(last.data, WebSocketError):
        return int(last.data.code)
    return ws.close_code or 1006


def _reason_of(last: WSMessage | None, code: int) -> str:
    if code == 1009:
        return "limit"
    if last is not None and last.type is WSMsgType.ERROR:
        return "protocol" if code in (1002, 1007) else "peer_lost"
    return "peer_lost" if code == 1006 else "peer_closed"
