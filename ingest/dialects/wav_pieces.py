"""A WAV file as it is recorded, cut into messages anywhere, or one small file a message: the samples in it."""

from __future__ import annotations

import struct

from audio.chunking import FrameCutter

FIRST_BYTES = b"RIFF"
PCM, EXTENSIBLE = 0x0001, 0xFFFE
LARGEST_HEADER = 64 * 1024
# What a program writes that does not know the length yet.
_UNKNOWN = (0, 0x7FFFFFFF, 0xFFFFFFFF)


class WavPieces:
    """One stream's. It was declared as 16-bit samples at `sample_rate`, and a header that says otherwise is refused."""

    def __init__(self, *, sample_rate: int, channels: int) -> None:
        self._declared = (sample_rate, channels)
        self._cutter = FrameCutter(2 * channels)
        self._carry = bytearray()
        self._left: int | None = 0  # bytes of samples still to come; None: no end is known
        self._in_header = False

    def feed(self, data: bytes) -> bytes:
        """The samples that came, whole moments. Raises ValueError."""
        if data.startswith(FIRST_BYTES) and not self._in_header:
            self._begin()
        if not self._in_header:
            return self._samples(data)
        self._carry += data
        try:
            begins = self._read_header()
        except ValueError:
            self._begin(expected=False)
            raise
        if begins is None:
            return b""
        data, self._in_header = bytes(self._carry[begins:]), False
        self._carry.clear()
        return self._samples(data)

    def _begin(self, *, expected: bool = True) -> None:
        self._in_header, self._left = expected, 0
        self._carry.clear()
        self._cutter.flush()

    def _samples(self, data: bytes) -> bytes:
        if self._left is not None:
            if not self._left:
                raise ValueError(f"a WAV file begins with {FIRST_BYTES!r}, this with {data[:8]!r}")
            data = data[: self._left]  # what follows are titles and the like
            self._left -= len(data)
        return self._cutter.feed(data)

    def _read_header(self) -> int | None:
        """Where the samples begin; None: it is not whole yet."""
        carry, at, is_known = self._carry, 12, False
        if len(carry) >= 12 and carry[8:12] != b"WAVE":
            raise ValueError(f"a RIFF file of {bytes(carry[8:12])!r} is no WAV")
        while len(carry) >= at + 8:
            name, size = struct.unpack_from("<4sI", carry, at)
            if name == b"data":
                if not is_known:
                    raise ValueError("the WAV has its data before its format")
                self._left = None if size in _UNKNOWN else size
                return at + 8
            if len(carry) < at + 8 + size:
                break
            if name == b"fmt ":
                self._check(bytes(carry[at + 8 : at + 8 + size]))
                is_known = True
            at += 8 + size + size % 2  # chunks begin at even offsets
        if len(carry) > LARGEST_HEADER:
            raise ValueError(f"the header of a WAV has at most {LARGEST_HEADER} bytes")
        return None

    def _check(self, body: bytes) -> None:
        if len(body) < 16:
            raise ValueError(f"a WAV's format takes {len(body)} bytes, at least 16 expected")
        code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
        if code == EXTENSIBLE and len(body) >= 26:
            (code,) = struct.unpack_from("<H", body, 24)
        if (code, bits) != (PCM, 16):
            raise ValueError(f"WAV format {code} of {bits} bits is not taken live: send 16-bit PCM")
        if (rate, channels) != self._declared:
            declared = "{} Hz with {} channels".format(*self._declared)
            raise ValueError(
                f"the WAV has {rate} Hz with {channels} channels, declared were {declared}: say so at start"
            )
