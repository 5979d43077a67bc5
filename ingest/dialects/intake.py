"""Audio as apps send it: each message checked, its numbering followed, its milliseconds counted."""

from __future__ import annotations

from typing import Protocol

from audio.gaps import Gaps
from audio.ogg import OggReader
from audio.opus_toc import OpusPacket, packet_ms
from audio.webm import FIRST_BYTES, WebmReader
from ingest.dialects.base import Frame, Ignored, Problem, Repeated, Said
from ingest.dialects.wav_pieces import WavPieces

BAD_IN_A_ROW = 5  # frames that do not decode as declared, until the client is told
LONGEST_MS = 1_000  # of one chunk
SAMPLE_RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
LEAP = 10_000  # frames; a counter that leaps further was started anew
OGG_FIRST_BYTES = b"OggS"
WAV_FRAME_MS = 100  # a file may hold many seconds; frames on the log are short


class Numbering:
    """The client's own numbers of its frames: a repeated one is dropped, a gap counts as loss."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._turn_is_over = False

    def lost(self, sequence: int | None) -> int | None:
        """How many frames are missing before this one; None: it came before."""
        if sequence is None:
            return 0
        last = self._last
        if self._turn_is_over and sequence <= 1:
            last = None  # a recorder that was stopped counts anew
        if last is not None and last - LEAP < sequence <= last:
            return None
        self._last, self._turn_is_over = sequence, False
        return sequence - last - 1 if last is not None and 0 < sequence - last <= LEAP else 0

    def turn_ended(self) -> None:
        """The client's turn is over: its next recording may begin at 0 or 1 again."""
        self._turn_is_over = True


class Patience:
    """With frames that are not what they should be: the client is told once, after BAD_IN_A_ROW of them."""

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._bad = 0
        self._told = False

    def good(self) -> None:
        self._bad, self._told = 0, False

    def bad(self, why: str) -> Said:
        self._bad += 1
        if self._bad < BAD_IN_A_ROW or self._told:
            return Ignored("undecodable_audio")
        self._told = True
        what = f"{self._bad} frames in a row are no {self._expected}: {why}"
        return Problem("UNSUPPORTED_FORMAT", what, "bad_format")


class Ear(Protocol):
    """Takes a stream's audio as the client sends it."""

    numbering: Numbering

    def take(self, payload: bytes, sequence: int | None = None) -> tuple[Said, ...]:
        """One message's audio, never empty. `sequence` is the client's own number, where it has one."""


class Intake:
    """Audio without a container: each message is samples, or exactly one Opus packet. Counts its milliseconds."""

    def __init__(self, *, encoding: str, sample_rate: int, channels: int) -> None:
        """`encoding` is mulaw, pcm16 or opus. Raises ValueError for what no stream can have."""
        if encoding not in ("mulaw", "pcm16", "opus"):
            raise ValueError(f"audio format {encoding[:40]!r} is not one of opus, pcm16, mulaw")
        if encoding != "opus" and sample_rate not in SAMPLE_RATES:
            raise ValueError(f"{encoding} is taken at {', '.join(map(str, SAMPLE_RATES))} Hz, not at {sample_rate}")
        if channels not in (1, 2):
            raise ValueError(f"audio has 1 or 2 channels, not {channels}")
        self.encoding = encoding
        self.sample_rate = sample_rate
        self.channels = channels
        self.numbering = Numbering()
        self._patience = Patience(encoding)
        self._gaps = Gaps()
        self._clock = 0.0  # ms at the next frame's first sample
        self._length = 20.0  # of the last frame

    def take(self, payload: bytes, sequence: int | None = None) -> tuple[Said, ...]:
        try:
            length = self._length_of(payload)
        except ValueError as error:
            return (self._patience.bad(str(error)),)
        lost = self.numbering.lost(sequence)
        if lost is None:
            return (Repeated(),)
        self._patience.good()
        self._clock += self._gaps.silence(lost * self._length)
        self._gaps.sound(length)
        ms, self._clock, self._length = int(self._clock), self._clock + length, length
        return (Frame(payload, ms, lost),)

    def _length_of(self, payload: bytes) -> float:
        if self.encoding == "opus":
            return float(packet_ms(payload))
        width = self.channels * (1 if self.encoding == "mulaw" else 2)
        length = len(payload) / width / self.sample_rate * 1000
        if not payload or len(payload) % width or length > LONGEST_MS:
            raise ValueError(f"{len(payload)} bytes are no {self.encoding} of at most {LONGEST_MS} ms")
        return length


class Unpacking:
    """Opus in WebM or Ogg, cut into messages anywhere: its packets become frames."""

    def __init__(self) -> None:
        self.numbering = Numbering()
        self._patience = Patience("Opus in WebM or Ogg")
        self._gaps = Gaps()  # of the stream, however often its recording begins again
        self._reader: WebmReader | OggReader = WebmReader(self._gaps)
        self._begins_ms = 0  # of the reader, on the stream's clock
        self._ms = 0  # of the last frame

    def take(self, payload: bytes, sequence: int | None = None) -> tuple[Said, ...]:
        lost = self.numbering.lost(sequence)
        if lost is None:
            return (Repeated(),)
        self._choose(payload)
        try:
            packets = self._reader.feed(payload)
        except ValueError as error:
            return (self._patience.bad(str(error)),)
        self._patience.good()
        return tuple(self._frame(packet, 0 if number else lost) for number, packet in enumerate(packets))

    def _choose(self, payload: bytes) -> None:
        """A first page or header says what follows."""
        if payload.startswith(OGG_FIRST_BYTES) and not isinstance(self._reader, OggReader):
            self._reader, self._begins_ms = OggReader(), self._ms
        elif payload.startswith(FIRST_BYTES) and not isinstance(self._reader, WebmReader):
            self._reader, self._begins_ms = WebmReader(self._gaps), self._ms

    def _frame(self, packet: OpusPacket, lost: int) -> Frame:
        self._ms = max(self._ms, self._begins_ms + packet.ms)
        return Frame(packet.payload, self._ms, lost)


class WavIntake(Intake):
    """Samples in WAV files, cut into messages anywhere."""

    def __init__(self, *, encoding: str, sample_rate: int, channels: int) -> None:
        super().__init__(encoding=encoding, sample_rate=sample_rate, channels=channels)
        self._pieces = WavPieces(sample_rate=sample_rate, channels=channels)
        self._frame_bytes = sample_rate * WAV_FRAME_MS // 1000 * 2 * channels

    def take(self, payload: bytes, sequence: int | None = None) -> tuple[Said, ...]:
        lost = self.numbering.lost(sequence)
        if lost is None:
            return (Repeated(),)
        try:
            pcm = self._pieces.feed(payload)
        except ValueError as error:
            return (self._patience.bad(str(error)),)
        pieces = [pcm[at : at + self._frame_bytes] for at in range(0, len(pcm), self._frame_bytes)]
        return tuple(said for piece in pieces for said in super(WavIntake, self).take(piece))
