"""A caller whose stream is Opus in both directions: the playing half of a door is real, its socket is a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from audio.opus import OpusDecoder
from calltape import world
from clients import opus
from eventlog.port import Log
from ingest import beat, outbox
from ingest.config import IngestConfig
from ingest.desk import Desk
from ingest.dialects.base import Dialect, Wire
from ingest.gauge import Gauge
from ingest.lane import Line
from ingest.measure import Packets
from ingest.speaker import Speaker, Voice
from ingest.tally import Tally
from ingest.tape import Tape
from schema.call import CallStarted
from schema.envelope import AnyEvent
from schema.outbox import OutboxAudio, OutboxFact
from schema.stream import StreamClosed, StreamOpened
from schema.topics import EVENTS, MEDIA, mailbox_of, partition_of
from workers.engines.espeak import Espeak
from workers.engines.port import VoiceRequest

RATE = 48_000
PACKET_MS = 20
INSTANCE = "packets"


class PacketDialect:
    """One packet is one frame; it has no words for anything else, and no marks."""

    door = "packets"

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return ()

    def audio(self, payload: bytes) -> Wire:
        return payload

    def mark(self, name: str) -> Wire | None:
        return None

    def clear(self) -> Wire | None:
        return "clear"


class OpusCall:
    """Stands in the desk where a session would."""

    def __init__(self, desk: Desk, call_id: str) -> None:
        self.desk = desk
        self.frames: list[Wire] = []
        partition = partition_of(call_id, desk.partitions)
        self.line = Line(call_id=call_id, tenant_id="default", stream=f"OP-{call_id}", partition=partition)
        self._gauge = Gauge()
        self._speaker: Speaker | None = None
        self._spoken_ms = 0

    async def begin(self, **opened: Any) -> None:
        """The call starts with its stream."""
        desk, line = self.desk, self.line
        end = await desk.log.end(MEDIA.name, line.partition)
        desk.tape.say(desk.event(line, CallStarted, channel="packets"), line.partition)
        voice = Voice(cast("Dialect", PacketDialect()), self, Packets(), echoes=False)
        self._speaker = Speaker(desk, line, voice, gauge=self._gauge, shut=lambda reason, text: None, now=desk.clock())
        desk.sessions[line.stream] = cast("Any", self)
        fact = desk.event(
            line,
            StreamOpened,
            stream=line.stream,
            door="packets",
            mailbox=mailbox_of(INSTANCE),
            encoding="opus",
            sample_rate=RATE,
            media_end=end,
            **opened,
        )
        await desk.tape.tell(fact, line.partition)

    def say(self, pcm: bytes) -> None:
        """Mono s16le at RATE, all at once: whoever hears it counts the milliseconds of the audio."""
        for packet in opus.encode(pcm, RATE, packet_ms=PACKET_MS):
            now, ms = self.desk.clock(), self._spoken_ms
            self._gauge.note(size=len(packet), ms=ms, length_ms=PACKET_MS, lost=0, now=now)
            self.desk.tape.hear(self.line, ms, packet)
            self._spoken_ms += PACKET_MS

    def hang_up(self) -> None:
        assert self._speaker is not None
        self._speaker.stop(self.desk.clock())
        del self.desk.sessions[self.line.stream]
        self.desk.playing.discard(cast("Any", self))
        stream = self.line.stream

        def closed(line: Line) -> StreamClosed:
            last = line.media_sequence
            return self.desk.event(line, StreamClosed, stream=stream, reason="stop", last_sequence=last)

        self.desk.tape.close_line(self.line, closed)

    def heard(self) -> bytes:
        """Everything that was written to the socket, at 16 kHz."""
        decoder = OpusDecoder(16_000)
        return b"".join(decoder.decode(frame) for frame in self.frames if isinstance(frame, bytes))

    # What the desk asks of a session, and a speaker of its outlet

    def take(self, message: OutboxFact | OutboxAudio, now: int) -> None:
        assert self._speaker is not None
        self._speaker.take(message, now)

    def play(self, now: int) -> None:
        assert self._speaker is not None
        if self._speaker.play(now):
            self.desk.playing.add(cast("Any", self))
            self.desk.started_playing.set()
        else:
            self.desk.playing.discard(cast("Any", self))

    def put(self, frame: Wire) -> None:
        self.frames.append(frame)


@asynccontextmanager
async def packet_desk(log: Log) -> AsyncIterator[Desk]:
    """The parts of ingest that a stream needs once its socket is open."""
    config, tally = IngestConfig(instance=INSTANCE), Tally()
    tape = Tape(log, clock=world.now_ms, tally=tally, tick_ms=config.tick_ms)
    desk = Desk(
        config=config,
        log=log,
        tape=tape,
        tally=tally,
        now=world.now_ms,
        clock=world.now_ms,
        new_id=world.new_hex,
        partitions=await log.partitions(EVENTS.name),
    )
    mailbox = await outbox.open_mailbox(desk)
    async with tape:
        tasks = [asyncio.create_task(part) for part in (outbox.deliver(desk, mailbox), beat.pace(desk))]
        try:
            yield desk
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await mailbox.close()


async def speech(voice: Espeak, text: str, *, rate_wpm: int = 140) -> bytes:
    """A caller's words at RATE, and the silence after which they are over."""
    request = VoiceRequest(text, "en-us", "en-US", RATE, rate_wpm)
    spoken = b"".join([piece async for piece in voice.speak(request)])
    return spoken + bytes(RATE * 2 * 1500 // 1000)
