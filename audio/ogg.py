"""Opus packets out of Ogg pages as they come in, cut anywhere (RFC 3533, RFC 7845)."""

from __future__ import annotations

import struct
from itertools import accumulate

from audio.opus_toc import OpusError, OpusPacket, packet_samples

CAPTURE = b"OggS"
HEADER_BYTES = 27
_CONTINUED, _FIRST = 1, 2
_HEADERS = (b"OpusHead", b"OpusTags")
LARGEST_HEADER = 1024 * 1024  # comments may hold a picture


class OggError(ValueError):
    """The bytes are no Ogg with Opus in it; the message says what was seen. The next page may be understood again."""


class OggReader:
    """One stream of pages; other streams between them are passed over. Holds less than a page and a packet."""

    def __init__(self) -> None:
        self.skipped = 0  # pages and packets that were not what they should be
        self._carry = bytearray()
        self._serial: int | None = None
        self._sequence: int | None = None
        self._packet: bytearray | None = None  # begun on an earlier page
        self._headers = 0  # how many may still come
        self._samples = 0  # at 48 kHz, of all packets so far

    def feed(self, data: bytes) -> list[OpusPacket]:
        """The packets that are whole by now. Raises OggError if there are none; a bad page costs only itself."""
        self._carry += data
        packets: list[OpusPacket] = []
        wrong: OggError | None = None
        while True:
            try:
                page = self._page()
                if page is None:
                    break
                self._read(page, packets)
            except OggError as error:
                wrong = error
                self.skipped += 1
        if wrong is not None and not packets:
            raise wrong
        return packets

    def _page(self) -> bytes | None:
        """The next whole page, checked; None: more bytes are needed."""
        carry = self._carry
        if not CAPTURE.startswith(bytes(carry[:4])):
            seen = bytes(carry[:8])
            # On to what may be the next page.
            begins = carry.find(CAPTURE)
            del carry[: begins if begins >= 0 else len(carry)]
            raise OggError(f"an Ogg page begins with {CAPTURE!r}, this with {seen!r}")
        if len(carry) < HEADER_BYTES or len(carry) < HEADER_BYTES + carry[26]:
            return None
        begins = HEADER_BYTES + carry[26]
        size = begins + sum(carry[HEADER_BYTES:begins])
        if len(carry) < size:
            return None
        page = bytes(carry[:size])
        del carry[:size]
        if page[4] != 0:
            raise OggError(f"an Ogg page of version {page[4]}: only version 0 is known")
        if struct.unpack_from("<I", page, 22)[0] != crc(page[:22] + bytes(4) + page[26:]):
            raise OggError("the checksum of an Ogg page is wrong")
        return page

    def _read(self, page: bytes, packets: list[OpusPacket]) -> None:
        kind = page[5]
        serial, sequence = struct.unpack_from("<II", page, 14)
        if kind & _FIRST:
            if not _body(page).startswith(_HEADERS[0]):
                if self._serial is None:
                    raise OggError(f"there is no Opus in this Ogg: its stream begins with {_body(page)[:8]!r}")
                return
            self._serial, self._headers = serial, len(_HEADERS)
        elif self._serial is None:
            self._serial = serial  # a client that sends no header at all
        if serial != self._serial:
            return
        if self._sequence is not None and sequence != (self._sequence + 1) & 0xFFFFFFFF and not kind & _FIRST:
            self._packet = None  # its rest was on a page that never came
        self._sequence = sequence
        self._take(page, bool(kind & _CONTINUED), packets)

    def _take(self, page: bytes, continued: bool, packets: list[OpusPacket]) -> None:
        packet, self._packet = self._packet, None
        if not continued:
            packet = bytearray()
        # A page that goes on with a packet nobody began: what comes of it is dropped up to that packet's end.
        lacing = page[HEADER_BYTES : HEADER_BYTES + page[26]]
        at = HEADER_BYTES + len(lacing)
        for length, begins in zip(lacing, accumulate(lacing, initial=0), strict=False):
            if packet is not None:
                packet += page[at + begins : at + begins + length]
                if len(packet) > LARGEST_HEADER:
                    raise OggError(f"an Ogg packet has more than {LARGEST_HEADER} bytes")
            if length < 255:
                if packet is not None:
                    self._whole(bytes(packet), packets)
                packet = bytearray()
        if lacing and lacing[-1] == 255:
            self._packet = packet

    def _whole(self, packet: bytes, packets: list[OpusPacket]) -> None:
        if self._headers:
            self._headers -= 1
            if packet.startswith(_HEADERS):
                return
            self._headers = 0
        try:
            samples = packet_samples(packet)
        except OpusError:
            self.skipped += 1
            return
        packets.append(OpusPacket(self._samples // 48, packet))
        self._samples += samples


def _body(page: bytes) -> bytes:
    return page[HEADER_BYTES + page[26] :]


def crc(data: bytes) -> int:
    """Ogg's checksum: CRC-32 with the polynomial 04C11DB7, not reflected, begun with 0."""
    register = 0
    for byte in data:
        register = (register << 8) & 0xFFFFFFFF ^ _TABLE[register >> 24 ^ byte]
    return register


def _table() -> tuple[int, ...]:
    values = []
    for byte in range(256):
        register = byte << 24
        for _ in range(8):
            register = register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)
        values.append(register & 0xFFFFFFFF)
    return tuple(values)


_TABLE = _table()
