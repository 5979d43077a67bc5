"""How long an Opus packet lasts, by the table of RFC 6716 and by what libopus itself decodes."""

from __future__ import annotations

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audio.opus_toc import LONGEST_PACKET_BYTES, OpusError, is_stereo, packet_ms

# First configuration of each mode, and the durations of one frame (RFC 6716, table 2).
MODES = [
    (0, (10, 20, 40, 60)),
    (4, (10, 20, 40, 60)),
    (8, (10, 20, 40, 60)),
    (12, (10, 20)),
    (14, (10, 20)),
    (16, (2.5, 5, 10, 20)),
    (20, (2.5, 5, 10, 20)),
    (24, (2.5, 5, 10, 20)),
    (28, (2.5, 5, 10, 20)),
]
CONFIGURATIONS = [(first + i, ms) for first, durations in MODES for i, ms in enumerate(durations)]


def toc(configuration: int, code: int, *, stereo: bool = False) -> bytes:
    return bytes([configuration << 3 | (4 if stereo else 0) | code])


def test_the_table_is_whole() -> None:
    assert [configuration for configuration, _ in CONFIGURATIONS] == list(range(32))


@pytest.mark.parametrize(("configuration", "ms"), CONFIGURATIONS)
def test_one_frame_lasts_what_its_configuration_says(configuration: int, ms: float) -> None:
    assert packet_ms(toc(configuration, 0) + b"abc") == ms
    assert packet_ms(toc(configuration, 0)) == ms, "a frame without bytes is one that was not sent (DTX)"
    assert packet_ms(toc(configuration, 1) + b"abcd") == 2 * ms
    assert packet_ms(toc(configuration, 2) + b"\x01abc") == 2 * ms


@pytest.mark.parametrize(
    ("configuration", "frames", "ms"), [(1, 6, 120), (3, 2, 120), (16, 48, 120), (16, 1, 2.5), (17, 3, 15), (0, 1, 10)]
)
def test_a_packet_of_many_frames_counts_them(configuration: int, frames: int, ms: float) -> None:
    assert packet_ms(toc(configuration, 3) + bytes([frames]) + b"x" * frames) == ms
    lengths = b"\x01" * (frames - 1)
    assert packet_ms(toc(configuration, 3) + bytes([0x80 | frames]) + lengths + b"x" * frames) == ms
    assert packet_ms(toc(configuration, 3) + bytes([0x40 | frames, 3]) + b"x" * frames + bytes(3)) == ms


def test_whole_milliseconds_are_integers() -> None:
    assert type(packet_ms(toc(19, 0))) is int
    assert packet_ms(toc(16, 0)) == 2.5


def test_the_first_byte_says_stereo() -> None:
    assert is_stereo(toc(31, 0, stereo=True)) and not is_stereo(toc(31, 0)) and not is_stereo(b"")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        toc(1, 0) + bytes(1276),  # R2: no frame above 1,275 bytes
        toc(1, 1) + bytes(3),  # R3: two frames of one length
        toc(1, 1) + bytes(2552),
        toc(1, 2),  # R4: a length, and room for that frame
        toc(1, 2) + b"\xfc",
        toc(1, 2) + b"\x05abcd",
        toc(1, 3),  # R6: a count
        toc(1, 3) + b"\x00",  # R5: at least one frame
        toc(1, 3) + b"\x07" + bytes(7),  # R5: at most 120 ms
        toc(3, 3) + b"\x03" + bytes(3),
        toc(16, 3) + b"\x31" + bytes(49),
        toc(1, 3) + b"\x02" + bytes(3),  # R6: so many frames of one length
        toc(1, 3) + b"\x41\x05" + bytes(4),  # padding that does not fit
        toc(1, 3) + b"\x41\xff",
        toc(1, 3) + b"\x82",  # R7: lengths, and room for their frames
        toc(1, 3) + b"\x82\x05abcd",
        toc(1, 3) + b"\x82\xfc",
        bytes([toc(1, 0)[0]]) + bytes(LONGEST_PACKET_BYTES),
    ],
)
def test_what_breaks_a_rule_is_no_packet(packet: bytes) -> None:
    with pytest.raises(OpusError):
        packet_ms(packet)


def _decoded_ms(packet: bytes) -> float | None:
    codec = av.CodecContext.create("libopus", "r")
    codec.sample_rate = 48000
    codec.layout = "mono"
    try:
        return sum(frame.samples for frame in codec.decode(av.Packet(packet))) / 48
    except av.error.InvalidDataError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=80))
@example(bytes.fromhex("0bc301020c") + bytes(24))
def test_it_agrees_with_libopus_on_any_bytes(packet: bytes) -> None:
    try:
        told: float | None = packet_ms(packet)
    except OpusError:
        told = None
    assert _decoded_ms(packet) == told
