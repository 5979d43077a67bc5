"""What an Opus packet says of itself: how long it lasts, read from its first bytes (RFC 6716, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

# Every Opus duration is a whole number of samples at 48 kHz, whatever rate the sound was recorded at.
CLOCK_RATE = 48_000
LONGEST_SAMPLES = 120 * 48  # R5: a packet holds at most 120 ms
LONGEST_FRAME_BYTES = 1275  # R2
# The largest packet of the largest frames: 48 of them, two bytes of length each, before padding.
LONGEST_PACKET_BYTES = 48 * (LONGEST_FRAME_BYTES + 2) + 2
_SILK = (480, 960, 1920, 2880)  # 10, 20, 40, 60 ms
_CELT = (120, 240, 480, 960)  # 2.5, 5, 10, 20 ms
# Samples of one frame by the configuration in the first five bits: SILK, hybrid (10 and 20 ms only), CELT.
FRAME_SAMPLES = (*_SILK * 3, *(480, 960) * 2, *_CELT * 4)


class OpusError(ValueError):
    """The bytes are no Opus packet; the message says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class OpusPacket:
    """One packet on its stream's own clock: `ms` at its first sample."""

    ms: int
    payload: bytes


def packet_ms(packet: bytes) -> float | int:
    """How long the packet lasts: 2.5 to 120 ms, an int where it is whole. Raises OpusError."""
    samples = packet_samples(packet)
    return samples // 48 if samples % 48 == 0 else samples / 48


def packet_samples(packet: bytes) -> int:
    """The same in samples at 48 kHz, 120 to 5,760. Raises OpusError."""
    if not packet:
        raise OpusError("an Opus packet has at least one byte")
    if len(packet) > LONGEST_PACKET_BYTES:
        raise OpusError(f"{len(packet)} bytes are no Opus packet: it has at most {LONGEST_PACKET_BYTES}")
    frames = _FRAMES[packet[0] & 3](packet)
    samples = frames * FRAME_SAMPLES[packet[0] >> 3]
    if samples > LONGEST_SAMPLES:
        raise OpusError(f"{samples / 48:g} ms are too long for an Opus packet: it has at most 120 ms")
    return samples


def is_stereo(packet: bytes) -> bool:
    """Whether two channels are coded in it."""
    return bool(packet and packet[0] & 4)


def _one_frame(packet: bytes) -> int:
    _check_frame(len(packet) - 1)
    return 1


def _two_equal_frames(packet: bytes) -> int:
    if len(packet) % 2 == 0:
        raise OpusError(f"{len(packet) - 1} bytes cannot be two Opus frames of one length")
    _check_frame((len(packet) - 1) // 2)
    return 2


def _two_frames(packet: bytes) -> int:
    length, begins = _length(packet, 1)
    if begins + length > len(packet):
        raise OpusError(f"the first Opus frame of {length} bytes does not fit into a packet of {len(packet)}")
    _check_frame(length)
    _check_frame(len(packet) - begins - length)
    return 2


def _many_frames(packet: bytes) -> int:
    if len(packet) < 2:
        raise OpusError("an Opus packet of many frames has at least two bytes")
    frames, padded, varying = packet[1] & 0x3F, packet[1] & 0x40, packet[1] & 0x80
    if not frames:
        raise OpusError("an Opus packet holds at least one frame")
    begins, end = _without_padding(packet) if padded else (2, len(packet))
    if not varying:
        if (end - begins) % frames:
            raise OpusError(f"{end - begins} bytes cannot be {frames} Opus frames of one length")
        _check_frame((end - begins) // frames)
        return frames
    total = 0
    for _ in range(frames - 1):
        length, begins = _length(packet, begins)
        _check_frame(length)
        total += length
    if begins + total > end:
        raise OpusError(f"{frames} Opus frames do not fit into a packet of {len(packet)} bytes")
    _check_frame(end - begins - total)
    return frames


def _without_padding(packet: bytes) -> tuple[int, int]:
    """Where the frames begin and end. Each 255 stands for 254 bytes of padding and another length byte."""
    at, padding = 2, 0
    while True:
        if at >= len(packet):
            raise OpusError("the padding of an Opus packet is cut off")
        more = packet[at]
        at += 1
        padding += 254 if more == 255 else more
        if more != 255:
            break
    if at + padding > len(packet):
        raise OpusError(f"{padding} bytes of padding do not fit into an Opus packet of {len(packet)}")
    return at, len(packet) - padding


def _length(packet: bytes, at: int) -> tuple[int, int]:
    """A frame's length of one or two bytes (section 3.2.1), and where it ends."""
    if at >= len(packet):
        raise OpusError("the length of an Opus frame is cut off")
    first = packet[at]
    if first < 252:
        return first, at + 1
    if at + 1 >= len(packet):
        raise OpusError("the length of an Opus frame is cut off")
    return packet[at + 1] * 4 + first, at + 2


def _check_frame(length: int) -> None:
    if length > LONGEST_FRAME_BYTES:
        raise OpusError(f"an Opus frame has at most {LONGEST_FRAME_BYTES} bytes, not {length}")


_FRAMES = (_one_frame, _two_equal_frames, _two_frames, _many_frames)
