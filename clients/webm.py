"""Opus packets in the containers apps send them in: WebM as a browser records it, and Ogg pages."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

_UNKNOWN = b"\x01" + b"\xff" * 7  # a size of eight bytes, all ones: the element goes on until the next
CLUSTER_MS = 10_000  # a block's time within its cluster has 16 bits


class WebmWriter:
    """One recording as MediaRecorder writes it: segment and clusters of unknown size, one block a packet."""

    def __init__(self, *, sample_rate: int = 48_000, channels: int = 1) -> None:
        self._sample_rate = sample_rate
        self._channels = channels
        self._cluster_ms: int | None = None

    def header(self) -> bytes:
        """What the first chunk begins with."""
        ebml = _element(0x4286, b"\x01") + _element(0x42F7, b"\x01") + _element(0x42F2, b"\x04")
        ebml += _element(0x42F3, b"\x08") + _element(0x4282, b"webm") + _element(0x4287, b"\x04")
        ebml += _element(0x4285, b"\x02")
        info = _element(0x2AD7B1, (1_000_000).to_bytes(3, "big")) + _element(0x4D80, b"calltape")
        audio = _element(0xB5, struct.pack(">f", self._sample_rate)) + _element(0x9F, bytes([self._channels]))
        track = _element(0xD7, b"\x01") + _element(0x73C5, b"\x01") + _element(0x83, b"\x02")
        track += _element(0x86, b"A_OPUS") + _element(0x63A2, opus_head(self._sample_rate, self._channels))
        track += _element(0xE1, audio)
        tracks = _element(0x1654AE6B, _element(0xAE, track))
        return _element(0x1A45DFA3, ebml) + _id(0x18538067) + _UNKNOWN + _element(0x1549A966, info) + tracks

    def block(self, packet: bytes, ms: int) -> bytes:
        """One packet that begins at `ms` of the recording."""
        began = b""
        if self._cluster_ms is None or ms - self._cluster_ms >= CLUSTER_MS:
            self._cluster_ms = ms
            began = _id(0x1F43B675) + _UNKNOWN + _element(0xE7, ms.to_bytes(8, "big"))
        return began + _element(0xA3, b"\x81" + struct.pack(">hB", ms - self._cluster_ms, 0x80) + packet)


class OggWriter:
    """One stream of Ogg pages (RFC 3533, RFC 7845)."""

    def __init__(self, *, sample_rate: int = 48_000, channels: int = 1, serial: int = 1) -> None:
        self._sample_rate = sample_rate
        self._channels = channels
        self._serial = serial
        self._sequence = 0
        self._granule = 0

    def header(self) -> bytes:
        """The two pages that come first."""
        tags = b"OpusTags" + struct.pack("<I", 8) + b"calltape" + struct.pack("<I", 0)
        return self._page([opus_head(self._sample_rate, self._channels)], 2) + self._page([tags], 0)

    def page(self, packets: Sequence[bytes], ms: int, *, last: bool = False) -> bytes:
        """Some packets that together last `ms`; at most 255 pieces of 255 bytes fit."""
        self._granule += ms * 48
        return self._page(packets, 4 if last else 0)

    def _page(self, packets: Sequence[bytes], kind: int) -> bytes:
        lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
        if len(lacing) > 255:
            raise ValueError(f"{len(lacing)} pieces do not fit into one Ogg page of 255")
        place = struct.pack("<qII", self._granule, self._serial, self._sequence)
        self._sequence += 1
        before, after = b"OggS\x00" + bytes([kind]) + place, bytes([len(lacing)]) + lacing + b"".join(packets)
        return before + struct.pack("<I", _crc(before + bytes(4) + after)) + after


def chunks(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut at any byte, as recorders and networks do: these sizes, over and over."""
    at = turn = 0
    while at < len(data):
        size = max(1, sizes[turn % len(sizes)])
        yield data[at : at + size]
        at, turn = at + size, turn + 1


def opus_head(sample_rate: int, channels: int) -> bytes:
    """RFC 7845, 5.1, with the 6.5 ms an encoder looks ahead as pre-skip."""
    return b"OpusHead" + struct.pack("<BBHIhB", 1, channels, 312, sample_rate, 0, 0)


def _element(name: int, body: bytes) -> bytes:
    size = len(body)
    length = next(length for length in range(1, 9) if size < (1 << 7 * length) - 1)
    return _id(name) + (size | 1 << 7 * length).to_bytes(length, "big") + body


def _id(name: int) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8, "big")


def _crc(data: bytes) -> int:
    """CRC-32 with the polynomial 04C11DB7, not reflected, begun with 0."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
    return register
