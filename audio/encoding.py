"""One sentence's PCM to payloads in the format that goes out, each with its place in the sentence."""

from __future__ import annotations

import audioop
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from audio import mulaw
from audio.formats import AudioFormat
from audio.opus import BITRATE, PACKET_MS, OpusEncoder
from audio.pyav import CodecMissingError

PIECE_MS = 200


class EncodingError(ValueError):
    """Nothing here encodes that; the message says what is known."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a stream wants to be spoken to in. `packet_ms` is of Opus alone, 0: its usual length."""

    format: AudioFormat
    packet_ms: int = 0
    bitrate: int = BITRATE
    against_loss: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A payload as `schema.outbox` has it, `offset_ms` into the sentence. Only the last one may be empty."""

    offset_ms: int
    payload: bytes
    last: bool = False


class SentenceEncoder(Protocol):
    """A sentence from its beginning; pieces come from `from_ms` on, at the places they have in every take."""

    @property
    def duration_ms(self) -> int:
        """Of everything that was fed, as it is played."""

    def feed(self, pcm: bytes) -> Iterator[Piece]:
        """Mono s16le PCM at the format's own rate."""

    def finish(self) -> Iterator[Piece]:
        """No more comes: what is left. Exactly one piece of a sentence is the last."""


def sentence_encoder(spoken: Spoken, from_ms: int = 0) -> SentenceEncoder:
    """A fresh one. Opus begins with the whole packet in which `from_ms` lies. Raises EncodingError."""
    try:
        if spoken.format.encoding == "opus":
            return _Packets(spoken, from_ms)
        if spoken.format.encoding in ("mulaw", "pcm16"):
            return _Samples(spoken.format, from_ms)
    except (CodecMissingError, ValueError) as error:
        raise EncodingError(str(error)) from error
    raise EncodingError(f"nothing here encodes {spoken.format.encoding}: mulaw, pcm16 and opus are known")


class _Samples:
    """Cut wherever it suits: pieces of PIECE_MS."""

    def __init__(self, wire: AudioFormat, from_ms: int) -> None:
        if wire.channels not in (1, 2):
            raise ValueError(f"speech goes out in one or two channels, not {wire.channels}")
        self._wire = wire
        self._made = bytearray()
        self._sent = wire.bytes_of(from_ms)
        self._piece = wire.bytes_of(PIECE_MS)

    @property
    def duration_ms(self) -> int:
        return self._wire.ms_of(len(self._made))

    def feed(self, pcm: bytes) -> Iterator[Piece]:
        self._made += self._encoded(pcm)
        # Something is always kept for the last one.
        while len(self._made) - self._sent > self._piece:
            yield self._next(self._sent + self._piece)

    def finish(self) -> Iterator[Piece]:
        yield self._next(len(self._made), last=True)

    def _next(self, end: int, *, last: bool = False) -> Piece:
        piece = Piece(self._wire.ms_of(self._sent), bytes(self._made[self._sent : end]), last)
        self._sent = max(self._sent, end)
        return piece

    def _encoded(self, pcm: bytes) -> bytes:
        if self._wire.channels == 2:
            pcm = audioop.tostereo(pcm, 2, 1, 1)
        return mulaw.encode(pcm) if self._wire.encoding == "mulaw" else pcm


class _Packets:
    """Packets are played whole. One channel is coded whatever the stream declares: every decoder takes it."""

    def __init__(self, spoken: Spoken, from_ms: int) -> None:
        self._packet_ms = spoken.packet_ms or PACKET_MS
        self._opus = OpusEncoder(
            spoken.format.sample_rate,
            packet_ms=self._packet_ms,
            bitrate=spoken.bitrate,
            against_loss=spoken.against_loss,
        )
        self._first = from_ms // self._packet_ms
        self._packets = 0
        self._held: Piece | None = None  # the newest: it may be the last

    @property
    def duration_ms(self) -> int:
        return self._packets * self._packet_ms

    def feed(self, pcm: bytes) -> Iterator[Piece]:
        return self._take(self._opus.feed(pcm))

    def finish(self) -> Iterator[Piece]:
        yield from self._take(self._opus.flush())
        held = self._held or Piece(self.duration_ms, b"")
        yield Piece(held.offset_ms, held.payload, last=True)

    def _take(self, packets: list[bytes]) -> Iterator[Piece]:
        for packet in packets:
            offset_ms, number = self.duration_ms, self._packets
            self._packets += 1
            if number < self._first:
                continue
            held, self._held = self._held, Piece(offset_ms, packet)
            if held is not None:
                yield held
