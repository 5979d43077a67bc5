"""A small ingest: the real tape and the real playlist behind a socket that carries values instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from calltape.simulation import socket
from calltape.simulation.faulty_log import LogPort
from calltape.simulation.process import Process
from calltape.simulation.socket import Socket
from eventlog.port import LogUnavailable
from ingest import playing
from ingest.config import Pace
from ingest.playing import Playlist
from ingest.tally import Tally
from ingest.tape import Line, Tape
from schema.call import CallEnded, CallStarted, RequestMade
from schema.envelope import Event
from schema.outbox import OutboxAudio, OutboxMessage
from schema.registry import decode, unpack_outbox
from schema.stream import (
    DtmfPressed,
    PlaybackCleared,
    PlaybackMarked,
    PlaybackStarted,
    StreamClosed,
    StreamLost,
    StreamMeasured,
    StreamOpened,
    StreamSuperseded,
    TextTyped,
    TurnReleased,
)
from schema.topics import EVENTS, MEDIA, OUTBOX, partition_of

BEAT_S = 0.04
MEASURE_S = 5.0


class Door:
    """One ingest process: all its streams share a tape and a mailbox."""

    def __init__(
        self, process: Process, log: LogPort, *, mailbox: int, now: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self.process = process
        self.log = log
        self.mailbox = mailbox
        self.now = now
        self.new_id = new_id
        self.tape = Tape(log, clock=now, tally=Tally(), tick_ms=20)
        self.sessions: dict[str, Session] = {}
        self._arrived: asyncio.Queue[Socket] = asyncio.Queue(100)

    def connect(self, wire: Socket) -> None:
        """A caller's socket arrives."""
        self._arrived.put_nowait(wire)

    async def run(self) -> None:
        """Until it is cancelled or killed."""
        end = await self.log.end(OUTBOX.name, self.mailbox)
        async with self.tape, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(end))
            while True:
                wire = await self._arrived.get()
                session = Session(self, wire)
                self.sessions[wire.stream] = session
                tasks.create_task(session.run())

    async def _listen(self, position: int) -> None:
        reader = self.log.reader(OUTBOX.name, {self.mailbox: position})
        while True:
            try:
                records = await reader.read(wait_ms=5000)
            except LogUnavailable:
                continue
            for record in records:
                message = unpack_outbox(record.value)
                session = self.sessions.get(message.stream)
                if session is not None:
                    session.take(message)


class Session:
    """One stream."""

    def __init__(self, door: Door, wire: Socket) -> None:
        self.door = door
        self.wire = wire
        self.playlist = Playlist(pace=Pace(), bytes_per_ms=8)
        partition = partition_of(wire.call_id, EVENTS.partitions)
        self.line = Line(call_id=wire.call_id, tenant_id="default", stream=wire.stream, partition=partition)
        self.frames = 0
        self._over = asyncio.Event()
        self._beats: asyncio.TimerHandle | None = None
        self._spoken_ms = 0

    async def run(self) -> None:
        """Open, measure, close."""
        wire, tape, now = self.wire, self.door.tape, self.door.now
        partition = await self._partition()
        if wire.begins:
            begun = CallStarted(id=self.door.new_id(), call_id=wire.call_id, channel="raw", source=wire.stream)
            await tape.tell(begun, partition)
        self.line.partition = partition
        end = await self.door.log.end(MEDIA.name, partition)
        opened = StreamOpened(
            **self._envelope(), stream=wire.stream, door="raw", mailbox=self.door.mailbox, media_end=end
        )
        await tape.tell(opened, partition)
        wire.at_door = self.receive
        while not self._over.is_set():
            try:
                async with asyncio.timeout(MEASURE_S):
                    await self._over.wait()
            except TimeoutError:
                self._measure(now())

    async def _partition(self) -> int:
        return partition_of(self.wire.call_id, await self.door.log.partitions(EVENTS.name))

    def take(self, message: OutboxMessage) -> None:
        """Something from the mailbox."""
        if self._over.is_set():
            return
        now = self.door.now()
        if isinstance(message, OutboxAudio):
            self.playlist.audio(message, now)
            self._beat()
            return
        event = decode(message.body)
        acts = self.playlist.fact(message.position, event, now)
        if acts is None and not isinstance(event, CallEnded):
            return
        self._do(acts or [])
        self._beat()
        if isinstance(event, StreamLost) and event.stream == self.wire.stream:
            self._close("lost")
        if isinstance(event, StreamSuperseded) and event.stream == self.wire.stream:
            self._close("superseded")
        if isinstance(event, CallEnded):
            self._close("ended")

    def receive(self, message: socket.Message) -> None:
        """Something from the caller."""
        if self._over.is_set():
            return
        match message:
            case socket.Frames(ms, payloads):
                for number, payload in enumerate(payloads):
                    self.door.tape.hear(self.line, ms + 20 * number, payload)
                self.frames += len(payloads)
            case socket.Key(digit):
                pressed = DtmfPressed(**self._envelope(), stream=self.wire.stream, digit=digit)
                self.door.tape.say(pressed, self.line.partition)
            case socket.Typed(text):
                self.door.tape.say(
                    TextTyped(**self._envelope(), stream=self.wire.stream, text=text), self.line.partition
                )
            case socket.Released():
                self.door.tape.say(TurnReleased(**self._envelope(), stream=self.wire.stream), self.line.partition)
            case socket.Wish(id_, kind, text):
                wished = RequestMade(
                    id=self.door.new_id(), call_id=self.wire.call_id, source=id_, kind=kind, by="somebody", text=text
                )
                self.door.tape.say(wished, self.line.partition)
            case socket.Mark(name):
                self._do(self.playlist.echoed(name, self.door.now()) or [])
                self._beat()
            case socket.Close(reason):
                self._close(reason)

    def _close(self, reason: str) -> None:
        self._over.set()
        now = self.door.now()
        if self._beats is not None:
            self._beats.cancel()
        self._do(self.playlist.lost(now))
        self.wire.to_caller(socket.Close(reason))
        self.door.tape.close_line(self.line, lambda line: self._closed(line, reason))

    def _closed(self, line: Line, reason: str) -> StreamClosed:
        return StreamClosed(**self._envelope(), stream=line.stream, reason=reason, last_sequence=line.media_sequence)

    def _beat(self) -> None:
        if self._beats is not None:
            self._beats.cancel()
            self._beats = None
        if self._over.is_set():
            return
        self._do(self.playlist.due(self.door.now()))
        if self.playlist.wants_beat:
            self._beats = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _do(self, acts: list[playing.Act]) -> None:
        for act in acts:
            self._do_one(act)

    def _do_one(self, act: playing.Act) -> None:
        match act:
            case playing.Write():
                self._write(act)
            case playing.Clear():
                self.wire.to_caller(socket.Clear())
            case playing.Started(reply, sentence, waited_ms, offset_ms):
                self._told(PlaybackStarted, reply, sentence, waited_ms=waited_ms, offset_ms=offset_ms)
            case playing.Marked(reply, sentence, heard_ms, last):
                self._told(PlaybackMarked, reply, sentence, heard_ms=heard_ms, last=last)
            case playing.Cleared(reply, sentence, heard_ms, estimated):
                self._told(PlaybackCleared, reply, sentence, heard_ms=heard_ms, estimated=estimated)

    def _write(self, act: playing.Write) -> None:
        self.door.tape.spoke(
            self.line,
            ms=self._spoken_ms,
            payload=act.payload,
            reply=act.reply,
            sentence=act.sentence,
            offset_ms=act.offset_ms,
        )
        self._spoken_ms += len(act.payload) // 8
        self.wire.to_caller(socket.Audio(act.payload))
        self.wire.to_caller(socket.Mark(act.mark))

    def _told(self, kind: Callable[..., Event], reply: str, sentence: int, **fields: Any) -> None:
        event = kind(**self._envelope(), stream=self.wire.stream, reply=reply, sentence=sentence, **fields)
        self.door.tape.say(event, self.line.partition)

    def _measure(self, now: int) -> None:
        measured = StreamMeasured(
            **self._envelope(),
            stream=self.wire.stream,
            frames=self.frames,
            buffered_ms=self.playlist.ahead_ms(now),
            outbox_through=self.playlist.through,
        )
        self.door.tape.say(measured, self.line.partition)

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self.door.new_id(),
            "call_id": self.wire.call_id,
            "source": self.wire.stream,
            "sequence": self.line.next_sequence(),
        }
