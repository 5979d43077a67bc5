"""Events about one socket of a call, and what its peer does with what we play."""

from __future__ import annotations

from typing import NamedTuple

from schema.envelope import Count, Event, Milliseconds
from schema.private import Private


class SpokenIn(NamedTuple):
    """The format a stream is spoken to in; `packet_ms` 0: the encoding's usual length."""

    encoding: str
    sample_rate: int  # Hz
    channels: int
    packet_ms: int


class StreamOpened(Event, frozen=True, kw_only=True, tag="stream.opened"):
    """A socket speaks for the call. Its ordinal on the log is the stream's epoch; the latest wins."""

    stream: str
    door: str
    mailbox: Count  # partition of calls.outbox its process listens to
    encoding: str = "mulaw"  # mulaw, pcm16, opus: of what comes in
    sample_rate: Count = 8000  # Hz
    channels: Count = 1
    media_end: Count = 0  # end of the call's partition of calls.media before the first frame
    user_id: str = ""  # who opened it; void if the call is another user's
    out_encoding: str = ""  # of what goes out; empty: the same as in
    out_sample_rate: Count = 0  # Hz; 0: the same as in
    out_channels: Count = 0  # 0: one, however many come in
    out_packet_ms: Count = 0  # of one Opus packet: 20, 40 or 60; 0: 20

    @property
    def spoken(self) -> SpokenIn:
        """What goes out, with everything that is the same as in filled in."""
        encoding, sample_rate = self.out_encoding or self.encoding, self.out_sample_rate or self.sample_rate
        return SpokenIn(encoding, sample_rate, self.out_channels or 1, self.out_packet_ms)


class StreamReported(Event, frozen=True, kw_only=True, tag="stream.reported"):
    """The carrier's own word on a stream. `source` is StreamSid + event."""

    stream: str
    status: str
    error: str = ""


class StreamMeasured(Event, frozen=True, kw_only=True, tag="stream.measured"):
    """Every five seconds, frames or not: how the wire does."""

    stream: str
    frames: Count = 0  # since the stream opened
    bytes: Count = 0
    lost: Count = 0  # frames missing in the peer's numbering
    repeated: Count = 0
    dropped: Count = 0  # frames we threw away: over the rate limit or a full buffer
    largest_gap_ms: Milliseconds = 0  # since the last measurement
    jitter_ms: float = 0.0
    ping_ms: float | None = None
    level_dbfs: float | None = None
    snr_db: float | None = None
    buffered_ms: Milliseconds = 0  # audio waiting to be played
    outbox_through: Count = 0  # position of the last fact taken from the outbox
    client: dict[str, float] = {}  # the client's own figures


class StreamDegraded(Event, frozen=True, kw_only=True, tag="stream.degraded"):
    """Ping or loss stayed over the limit in two measurements."""

    stream: str
    ping_ms: float = 0.0
    loss: float = 0.0  # 0..1


class StreamSuperseded(Event, frozen=True, kw_only=True, tag="stream.superseded"):
    """A later stream took over; this one is told to close."""

    stream: str
    by: str


class StreamClosed(Event, frozen=True, kw_only=True, tag="stream.closed"):
    """The socket is gone. `last_sequence` is that of its last frame on calls.media (0: none)."""

    stream: str
    reason: str  # stop, peer_closed, peer_lost, protocol, limit, slow, superseded, lost, restart, ended, idle
    last_sequence: Count = 0
    code: Count = 0  # websocket close code


class StreamLost(Event, frozen=True, kw_only=True, tag="stream.lost"):
    """The process that held the socket is silent; conversation gave the stream up."""

    stream: str


class DtmfPressed(Event, frozen=True, kw_only=True, tag="dtmf.pressed"):
    """The caller pressed a key."""

    stream: str
    digit: Private[str]


class TextTyped(Event, frozen=True, kw_only=True, tag="text.typed"):
    """The caller wrote instead of speaking."""

    stream: str
    text: Private[str]


class TurnReleased(Event, frozen=True, kw_only=True, tag="turn.released"):
    """The client says its turn is over; no prompt until it sends audio again."""

    stream: str


class PlaybackStarted(Event, frozen=True, kw_only=True, tag="playback.started"):
    """The first audio of a sentence was written to the socket."""

    stream: str
    reply: str
    sentence: Count
    waited_ms: Milliseconds = 0  # between its arrival at the outbox and the write
    offset_ms: Milliseconds = 0  # where in the sentence this playback begins
    at_ms: Milliseconds = 0  # when, on the stream's own clock; 0: not told, the log's time has to do


class PlaybackMarked(Event, frozen=True, kw_only=True, tag="playback.marked"):
    """The peer played the sentence up to here."""

    stream: str
    reply: str
    sentence: Count
    heard_ms: Milliseconds  # from the sentence's beginning
    last: bool = False  # the whole sentence was heard
    estimated: bool = False  # by the clock: this peer does not say what it played
    at_ms: Milliseconds = 0  # when so much had been heard, on the stream's own clock; 0: not told


class PlaybackCleared(Event, frozen=True, kw_only=True, tag="playback.cleared"):
    """Playback was cut; the rest was never heard."""

    stream: str
    reply: str
    sentence: Count
    heard_ms: Milliseconds
    estimated: bool = False
    at_ms: Milliseconds = 0  # when so much had been heard, on the stream's own clock; 0: not told
