"""Opus packets out of WebM as it streams in, cut anywhere: what a browser's MediaRecorder sends.

EBML elements are an id, a size and a body (RFC 8794). Those that only hold others (segment, cluster, block group)
are walked through, so that their sizes may be unknown; few others are read; the rest is passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from audio.gaps import Gaps
from audio.opus_toc import OpusError, OpusPacket, packet_samples

EBML, SEGMENT, CLUSTER, BLOCK_GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
INFO, TRACKS, TIMESTAMP, SIMPLE_BLOCK, BLOCK = 0x1549A966, 0x1654AE6B, 0xE7, 0xA3, 0xA1
TIMESTAMP_SCALE, TRACK_ENTRY, TRACK_NUMBER, CODEC_ID, CODEC_PRIVATE = 0x2AD7B1, 0xAE, 0xD7, 0x86, 0x63A2
_HOLDERS = frozenset({SEGMENT, CLUSTER, BLOCK_GROUP})
_ENDLESS = frozenset({SEGMENT, CLUSTER})  # may be of unknown size while they are being recorded
LARGEST_READ = 64 * 1024  # bytes of an element that is read; an Opus block has at most some hundred
LARGEST_PASSED = 1024 * 1024  # bytes of one that is passed over
# A recorder's clock trembles by some ms; packets follow each other as long as it does not stray further than this.
STRAY_MS = 100
FIRST_BYTES = bytes.fromhex("1a45dfa3")


class WebmError(ValueError):
    """The bytes are no WebM with Opus in it; the message says what was seen. The next header begins anew."""


@dataclass(frozen=True, slots=True)
class OpusTrack:
    """What the header says of the sound, for information: packets say it themselves."""

    number: int
    sample_rate: int = 48000  # of the original, Hz
    channels: int = 1


class WebmReader:
    """One recording, or several behind each other: `ms` counts on. Holds less than LARGEST_READ bytes of carry."""

    def __init__(self, gaps: Gaps | None = None) -> None:
        """`gaps` are the stream's, where the recording is but a part of it."""
        self._gaps = gaps or Gaps()
        self.track: OpusTrack | None = None
        self.skipped = 0  # blocks whose bytes were no Opus
        self._ended = 0  # of the last packet, in samples at 48 kHz on our own clock
        self._begin()

    def _begin(self) -> None:
        self.track = None
        self._carry = bytearray()
        self._to_pass = 0
        self._has_header = False
        self._scale_ns = 1_000_000
        self._cluster = 0
        self._offset_ms: float | None = None  # from the recording's clock to ours

    def feed(self, data: bytes) -> list[OpusPacket]:
        """The packets that are whole by now. Raises WebmError if there are none."""
        self._carry += data
        packets: list[OpusPacket] = []
        try:
            while self._step(packets):
                pass
        except WebmError:
            self._begin()
            if not packets:
                raise
        return packets

    def _step(self, packets: list[OpusPacket]) -> bool:
        """One element. False: it is not whole yet."""
        if self._to_pass:
            passed = min(self._to_pass, len(self._carry))
            del self._carry[:passed]
            self._to_pass -= passed
            return not self._to_pass
        if not self._has_header and not FIRST_BYTES.startswith(bytes(self._carry[:4])):
            raise WebmError(f"WebM begins with {FIRST_BYTES.hex(' ')}, this with {bytes(self._carry[:8]).hex(' ')}")
        header = _element(self._carry, 0)
        if header is None:
            return False
        name, size, begins = header
        if name in _HOLDERS:
            if size is None and name not in _ENDLESS:
                raise WebmError(f"WebM element {name:X} has no size")
            del self._carry[:begins]
            return True
        if size is None:
            raise WebmError(f"WebM element {name:X} has no size")
        read = self._READ.get(name)
        if size > (LARGEST_READ if read else LARGEST_PASSED):
            raise WebmError(f"WebM element {name:X} is said to have {size} bytes: too many")
        if read is None:
            del self._carry[:begins]
            self._to_pass = size
            return True
        if len(self._carry) < begins + size:
            return False
        body = bytes(self._carry[begins : begins + size])
        del self._carry[: begins + size]
        read(self, body, packets)
        return True

    def _header(self, body: bytes, packets: list[OpusPacket]) -> None:
        carry = self._carry
        self._begin()
        self._carry = carry
        self._has_header = True

    def _info(self, body: bytes, packets: list[OpusPacket]) -> None:
        for name, value in _elements(body):
            if name == TIMESTAMP_SCALE:
                self._scale_ns = max(1, int.from_bytes(value[:8], "big"))

    def _tracks(self, body: bytes, packets: list[OpusPacket]) -> None:
        codecs = []
        for name, entry in _elements(body):
            if name != TRACK_ENTRY:
                continue
            fields = dict(_elements(entry))
            codec = fields.get(CODEC_ID, b"").rstrip(b"\x00").decode("ascii", "replace")
            codecs.append(codec or "none")
            if codec == "A_OPUS":
                number = int.from_bytes(fields.get(TRACK_NUMBER, b""), "big")
                self.track = _opus_track(number, fields.get(CODEC_PRIVATE, b""))
                return
        raise WebmError(f"there is no Opus in this WebM, but {', '.join(codecs) or 'nothing'}")

    def _timestamp(self, body: bytes, packets: list[OpusPacket]) -> None:
        self._cluster = int.from_bytes(body[:8], "big")

    def _block(self, body: bytes, packets: list[OpusPacket]) -> None:
        if self.track is None:
            raise WebmError("this WebM has sound before it says which codec it is in")
        number = _vint(body, 0, 8)
        if number is None or len(body) < number[1] + 3:
            raise WebmError("a WebM block is too short for its own header")
        track, begins = number
        if track != self.track.number:
            return
        relative, flags = struct.unpack_from(">hB", body, begins)
        if flags & 0x06:
            raise WebmError("blocks that lace several frames together are not understood")
        payload = body[begins + 3 :]
        try:
            samples = packet_samples(payload)
        except OpusError:
            self.skipped += 1
            return
        self._place((self._cluster + relative) * self._scale_ns / 1_000_000)
        packets.append(OpusPacket(self._ended // 48, payload))
        self._ended += samples
        self._gaps.sound(samples / 48)

    def _place(self, recorded_ms: float) -> None:
        """Move our clock to where the packet begins: right behind the last one, or behind a gap."""
        if self._offset_ms is None:
            self._offset_ms = self._ended / 48 - recorded_ms
        gap_ms = recorded_ms + self._offset_ms - self._ended / 48
        if abs(gap_ms) > STRAY_MS:
            silence_ms = round(self._gaps.silence(gap_ms))
            self._ended += silence_ms * 48
            self._offset_ms -= gap_ms - silence_ms

    _READ: dict[int, Callable[[WebmReader, bytes, list[OpusPacket]], None]] = {
        EBML: _header,
        INFO: _info,
        TRACKS: _tracks,
        TIMESTAMP: _timestamp,
        SIMPLE_BLOCK: _block,
        BLOCK: _block,
    }


def _opus_track(number: int, private: bytes) -> OpusTrack:
    """From an OpusHead (RFC 7845, 5.1), where the recorder wrote one."""
    if private[:8] != b"OpusHead" or len(private) < 16:
        return OpusTrack(number)
    return OpusTrack(number, struct.unpack_from("<I", private, 12)[0] or 48000, private[9])


def _elements(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, body) of what a whole element holds; what is cut off is left out."""
    at = 0
    while (header := _element(body, at)) is not None:
        name, size, begins = header
        if size is None or begins + size > len(body):
            return
        yield name, bytes(body[begins : begins + size])
        at = begins + size


def _element(data: bytes | bytearray, at: int) -> tuple[int, int | None, int] | None:
    """Id, size (None: unknown) and where the body begins; None: more bytes are needed."""
    if at >= len(data):
        return None
    length = 9 - data[at].bit_length()
    if length > 4:
        raise WebmError(f"no WebM element begins with the byte {data[at]:02x}")
    if at + length >= len(data):
        return None
    size = _vint(data, at + length, 8)
    if size is None:
        return None
    unknown = (1 << 7 * (size[1] - at - length)) - 1
    return int.from_bytes(data[at : at + length], "big"), None if size[0] == unknown else size[0], size[1]


def _vint(data: bytes | bytearray, at: int, longest: int) -> tuple[int, int] | None:
    """A number of variable length and where it ends; None: more bytes are needed. Raises WebmError."""
    if at >= len(data):
        return None
    length = 9 - data[at].bit_length()
    if length > longest:
        raise WebmError(f"no number in WebM begins with the byte {data[at]:02x}")
    if at + length > len(data):
        return None
    value = int.from_bytes(data[at : at + length], "big")
    return value & ((1 << 7 * length) - 1), at + length
