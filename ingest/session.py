"""One socket, one dialect and the log: what the peer says becomes facts, what conversation says becomes sound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from eventlog.port import Log, LogBroken, LogUnavailable
from ingest.admission import Admitted, Refused
from ingest.config import IngestConfig
from ingest.dialects import base
from ingest.gauge import Bucket, Gauge
from ingest.playing import Act, Clear, Cleared, Marked, Playlist, Started, Write
from ingest.sending import Sender
from ingest.tally import Tally
from ingest.tape import FIRST_RETRY_S, LAST_RETRY_S, Line, Tape
from schema.call import CallEnded, CallStarted, CallTransferred
from schema.envelope import AnyEvent, Event
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import MalformedEvent, decode
from schema.speech import SpeechStarted, SpeechStopped
from schema.stream import (
    DtmfPressed,
    PlaybackCleared,
    PlaybackMarked,
    PlaybackStarted,
    StreamClosed,
    StreamMeasured,
    StreamOpened,
    StreamSuperseded,
)
from schema.topics import MEDIA, mailbox_of, partition_of

_log = structlog.get_logger(__name__)
E = TypeVar("E", bound=Event)

FINISH_MS = 15_000  # a goodbye that is not played by then never will be
CLOSE_S = 3.0  # for the peer's half of the closing handshake


@dataclass(slots=True)
class Desk:
    """What all sessions of a process share."""

    config: IngestConfig
    log: Log
    tape: Tape
    tally: Tally
    now: Callable[[], int]  # ms since 1970
    clock: Callable[[], int]  # ms, only grows
    new_id: Callable[[], str]
    partitions: int
    sessions: dict[str, Session] = field(default_factory=dict)  # by stream, opened ones
    sockets: set[Session] = field(default_factory=set)
    playing: set[Session] = field(default_factory=set)  # those that time must visit
    started_playing: asyncio.Event = field(default_factory=asyncio.Event)


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
        self.playlist: Playlist | None = None
        self.line: Line | None = None
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
        self._began_at = now
        self._opened_at = 0
        self._heard_at = now  # any message
        self._measure_at = 0
        self._stopped_at = 0
        self._cut_at = 0
        self._reason = ""
        self._finishing = ""
        self._finish_by = 0
        self._spoken_until_ms = 0
        self._caller_speaks = False

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
                self._say(DtmfPressed, digit=digit)
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
        self.line = line
        self.playlist = Playlist(
            pace=desk.config.pace, bytes_per_ms=self._bytes_per_ms, echoes=not desk.config.dev or admitted.signed
        )
        desk.sessions[self.stream] = self
        self._opened_at = desk.clock()
        self._measure_at = self._opened_at + desk.config.measure_ms
        if admitted.starts_call:
            self._say_started(admitted, began)
        await desk.tape.tell(self._opening(began, media_end), partition)
        _log.info("stream opened", call_id=line.call_id, stream=self.stream, door=self.dialect.door)

    def _opening(self, began: base.Began, media_end: int) -> StreamOpened:
        return self._event(
            StreamOpened,
            door=self.dialect.door,
            mailbox=mailbox_of(self._desk.config.instance),
            encoding=began.encoding,
            sample_rate=began.sample_rate,
            channels=began.channels,
            media_end=media_end,
        )

    def _say_started(self, admitted: Admitted, began: base.Began) -> None:
        """R3: an unsigned development start begins its call itself."""
        line = self._line()
        self._desk.tape.say(
            CallStarted(
                id=self._desk.new_id(),
                call_id=line.call_id,
                tenant_id=line.tenant_id,
                source=self.stream,
                sequence=line.next_sequence(),
                channel=self.dialect.door,
                agent=admitted.agent,
                user_id=admitted.user_id,
                parameters={name: value for name, value in began.parameters.items() if name != "token"},
            ),
            line.partition,
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
        if self.playlist is None:
            return
        acts = self.playlist.echoed(name, now)
        if acts is None:
            self._count("unknown_mark")
            return
        self._act(acts, now)
        self.play(now)

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
        if self.playlist is None:
            return
        if isinstance(message, OutboxAudio):
            taken = self.playlist.audio(message, now)
            self._desk.tally.outbox["audio", "taken" if taken else "dropped"] += 1
            return
        try:
            event = decode(message.body)
        except MalformedEvent:
            self._desk.tally.outbox["fact", "malformed"] += 1
            return
        acts = self.playlist.fact(message.position, event, now)
        self._desk.tally.outbox["fact", "stale" if acts is None else "taken"] += 1
        if acts is not None:
            self._act(acts, now)
            self._obey(event, now)

    def play(self, now: int) -> None:
        """Write what is due, and finish what is finished. Cheap when there is nothing."""
        playlist = self.playlist
        if playlist is None or self.sender.closing:
            self._desk.playing.discard(self)
            return
        if not self._stopped_at:
            self._act(playlist.due(now), now)
        if self._finishing and (playlist.is_played(now) or self._stopped_at or now >= self._finish_by):
            self.shut(self._finishing, self._finishing)
        if playlist.wants_beat or self._finishing:
            self._desk.playing.add(self)
            self._desk.started_playing.set()
        else:
            self._desk.playing.discard(self)

    def _obey(self, event: AnyEvent, now: int) -> None:
        for frame in self.dialect.send(event):
            self._put(frame)
        match event:
            case StreamSuperseded(stream=self.stream):
                self.shut("superseded", "another stream of this call took over")
            case CallEnded() | CallTransferred():
                self._finishing = "ended"
                self._finish_by = now + FINISH_MS
            case SpeechStarted():
                self._caller_speaks = True
            case SpeechStopped():
                self._caller_speaks = False
            case _:
                pass

    def _act(self, acts: list[Act], now: int) -> None:
        for act in acts:
            match act:
                case Write():
                    self._write(act, now)
                case Clear():
                    clear = self.dialect.clear()
                    if clear is not None:
                        self._put(clear)
                case Started(reply, sentence, waited_ms, offset_ms):
                    self._say(PlaybackStarted, reply=reply, sentence=sentence, waited_ms=waited_ms, offset_ms=offset_ms)
                case Marked(reply, sentence, heard_ms, last):
                    self._say(PlaybackMarked, reply=reply, sentence=sentence, heard_ms=heard_ms, last=last)
                case Cleared(reply, sentence, heard_ms, estimated):
                    self._say(PlaybackCleared, reply=reply, sentence=sentence, heard_ms=heard_ms, estimated=estimated)

    def _write(self, write: Write, now: int) -> None:
        self._put(self.dialect.audio(write.payload))
        mark = self.dialect.mark(write.mark)
        if mark is not None:
            self._put(mark)
        self._tally.frames_out += 1
        self._tally.bytes_out += len(write.payload)
        # On the stream's own clock: behind what plays already, else where the caller is now.
        ms = self._spoken_until_ms if write.follows else self._clock_ms(now)
        self._spoken_until_ms = ms + len(write.payload) // self._bytes_per_ms
        self._desk.tape.spoke(
            self._line(),
            ms=ms,
            payload=write.payload,
            reply=write.reply,
            sentence=write.sentence,
            offset_ms=write.offset_ms,
        )

    def _clock_ms(self, now: int) -> int:
        gauge = self._gauge
        if not gauge.arrived_at:
            return now - self._opened_at
        return gauge.end_ms + max(0, now - gauge.arrived_at - (gauge.end_ms - gauge.ms))

    def _put(self, frame: base.Wire) -> None:
        self._tally.sent += 1
        self.sender.put(frame)

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
        elif not self.line and now - self._began_at >= limits.start_ms:
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
        return not self._caller_speaks and (self.playlist is None or self.playlist.is_quiet(now))

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
        gauge, playlist, line = self._gauge, self.playlist, self._line()
        self._say(
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
        if code == 1009:
            self._count("too_big")
        if not self._reason:
            self._reason = _reason_of(last, code)
        desk.tally.closed[self.dialect.door, self._reason, str(code)] += 1
        self._say_closed(code)

    def _say_closed(self, code: int) -> None:
        """Once: what playback is known to have reached, then the end, behind the last frame."""
        line, self._measure_at = self.line, 0
        if line is None or self._desk.sessions.pop(self.stream, None) is None:
            return
        if self.playlist is not None:
            self._act(self.playlist.lost(self._desk.clock()), self._desk.clock())
        reason = self._reason

        def closed(line: Line) -> StreamClosed:
            return self._event(StreamClosed, reason=reason, last_sequence=line.media_sequence, code=code)

        self._desk.tape.close_line(line, closed)
        _log.info("stream closed", call_id=line.call_id, stream=self.stream, reason=reason, code=code)

    def _line(self) -> Line:
        assert self.line is not None, "a session speaks only after it was opened"
        return self.line

    def _event(self, kind: type[E], **fields: Any) -> E:
        line = self._line()
        return kind(
            id=self._desk.new_id(),
            call_id=line.call_id,
            tenant_id=line.tenant_id,
            source=line.stream,
            sequence=line.next_sequence(),
            **{"stream": line.stream, **fields},
        )

    def _say(self, kind: type[Event], **fields: Any) -> None:
        if self.line is not None:
            self._desk.tape.say(self._event(kind, **fields), self.line.partition)

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
