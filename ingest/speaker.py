"""The playing half of a session: what conversation sends becomes sound, and what became of it becomes facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.acts import Act, Clear, Cleared, Marked, Started, Write
from ingest.desk import Desk
from ingest.dialects.base import Dialect, Wire
from ingest.gauge import Gauge
from ingest.lane import Line
from ingest.measure import Measure
from ingest.playing import Playlist
from ingest.quiet import Quiet
from schema.call import CallEnded, CallTransferred
from schema.envelope import AnyEvent, Event
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import MalformedEvent, decode
from schema.stream import PlaybackCleared, PlaybackMarked, PlaybackStarted, StreamLost, StreamSuperseded

FINISH_MS = 15_000  # a goodbye that is not played by then never will be


class Outlet(Protocol):
    """Takes frames without waiting."""

    def put(self, frame: Wire) -> None: ...


@dataclass(frozen=True, slots=True)
class Voice:
    """What a speaker speaks through."""

    dialect: Dialect
    outlet: Outlet
    measure: Measure
    echoes: bool  # whether the peer returns marks


class Speaker:
    """One opened stream's. `shut` is called with a reason of `stream.closed` and a text for the peer."""

    def __init__(
        self, desk: Desk, line: Line, voice: Voice, *, gauge: Gauge, shut: Callable[[str, str], None], now: int
    ) -> None:
        self.playlist = Playlist(pace=desk.config.pace, measure=voice.measure, echoes=voice.echoes)
        self._desk = desk
        self._line = line
        self._voice = voice
        self._gauge = gauge
        self._shut = shut
        self._tally = desk.tally.door(voice.dialect.door)
        self._opened_at = now
        self._stopped = False
        self._finishing = ""
        self._finish_by = 0
        self._spoken_until_ms = 0
        self._quiet = Quiet(now)

    def take(self, message: OutboxFact | OutboxAudio, now: int) -> None:
        """What the outbox brought for this stream."""
        counts = self._desk.tally.outbox
        if isinstance(message, OutboxAudio):
            counts["audio", "taken" if self.playlist.audio(message, now) else "dropped"] += 1
            return
        try:
            event = decode(message.body)
        except MalformedEvent:
            counts["fact", "malformed"] += 1
            return
        acts = self.playlist.fact(message.position, event, now)
        counts["fact", "stale" if acts is None else "taken"] += 1
        if acts is not None:
            self._act(acts, now)
            self._obey(event, now)

    def play(self, now: int) -> bool:
        """Write what is due, and finish what is finished; whether time alone can make more due."""
        if not self._stopped:
            self._act(self.playlist.due(now), now)
        if self._finishing and (self._stopped or self.playlist.is_played(now) or now >= self._finish_by):
            self._shut(self._finishing, self._finishing)
        return self.playlist.wants_beat or bool(self._finishing)

    def echoed(self, name: str, now: int) -> bool:
        """A mark came back. False: it was not one of ours."""
        acts = self.playlist.echoed(name, now)
        self._act(acts or [], now)
        return acts is not None

    def stop(self, now: int) -> None:
        """The peer plays no more: says what is known of what it played."""
        self._stopped = True
        self._act(self.playlist.lost(now), now)

    def is_quiet(self, now: int) -> bool:
        """Neither side speaks, and the caller owes no answer: a good moment to go."""
        if self._quiet.agent_is_next:  # what waits to be played goes to the next stream
            return self.playlist.ahead_ms(now) == 0
        return self.playlist.is_quiet(now) and self._quiet.lasts(now)

    def _obey(self, event: AnyEvent, now: int) -> None:
        self._quiet.note(event, now)
        for frame in self._voice.dialect.send(event):
            self._put(frame)
        match event:
            case StreamSuperseded(stream=self._line.stream):
                self._shut("superseded", "another stream of this call took over")
            case StreamLost(stream=self._line.stream):
                # This process was silent for so long that the call was given up on it: the peer may connect anew.
                self._shut("lost", "this stream was given up; connect again")
            case CallEnded(reason="forbidden"):
                self._shut("forbidden", "the call is another user's")
            case CallEnded() | CallTransferred():
                self._finishing = "ended"
                self._finish_by = now + FINISH_MS

    def _act(self, acts: list[Act], now: int) -> None:
        for act in acts:
            match act:
                case Write():
                    self._write(act, now)
                case Clear():
                    clear = self._voice.dialect.clear()
                    if clear is not None:
                        self._put(clear)
                case Started() | Marked() | Cleared():
                    self._quiet.played(now)
                    self._tell(act, now)

    def _tell(self, act: Started | Marked | Cleared, now: int) -> None:
        # The log may be away for long: the fact itself says when it was one. A client that falls silent stops its
        # clock, but not what it hears; one that was held up while its stream opened is ahead of ours.
        ago_ms = 0 if isinstance(act, Started) else act.ago_ms
        at_ms = max(0, max(now - self._opened_at, self._clock_ms(now)) - ago_ms)
        match act:
            case Started(reply, sentence, waited_ms, offset_ms):
                self._say(PlaybackStarted, reply, sentence, at_ms, waited_ms=waited_ms, offset_ms=offset_ms)
            case Marked(reply, sentence, heard_ms, last, estimated):
                self._say(PlaybackMarked, reply, sentence, at_ms, heard_ms=heard_ms, last=last, estimated=estimated)
            case Cleared(reply, sentence, heard_ms, estimated):
                self._say(PlaybackCleared, reply, sentence, at_ms, heard_ms=heard_ms, estimated=estimated)

    def _say(self, kind: type[Event], reply: str, sentence: int, at_ms: int, **fields: Any) -> None:
        """Onto the log, and to the peer where its protocol has words for it: before the audio it speaks of."""
        line = self._line
        placed = {"stream": line.stream, "reply": reply, "sentence": sentence, "at_ms": at_ms}
        event = self._desk.event(line, kind, **placed, **fields)
        self._desk.tape.say(event, line.partition)
        for frame in self._voice.dialect.send(event):
            self._put(frame)

    def _write(self, write: Write, now: int) -> None:
        dialect, payload = self._voice.dialect, write.payload
        self._put(dialect.audio(payload))
        mark = dialect.mark(write.mark)
        if mark is not None:
            self._put(mark)
        self._tally.frames_out += 1
        self._tally.bytes_out += len(payload)
        # On the stream's own clock: behind what plays already, else where the caller is now.
        ms = self._spoken_until_ms if write.follows else self._clock_ms(now)
        self._spoken_until_ms = ms + self._voice.measure.ms_of(payload)
        self._desk.tape.spoke(
            self._line, ms=ms, payload=payload, reply=write.reply, sentence=write.sentence, offset_ms=write.offset_ms
        )

    def _clock_ms(self, now: int) -> int:
        gauge = self._gauge
        if not gauge.arrived_at:
            return now - self._opened_at
        return gauge.end_ms + max(0, now - gauge.arrived_at - (gauge.end_ms - gauge.ms))

    def _put(self, frame: Wire) -> None:
        self._tally.sent += 1
        self._voice.outlet.put(frame)
