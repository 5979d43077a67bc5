"""Opus in and out: packets of exactly their length, and bad ones that harm no other."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.opus import DEGRADED_BITRATE, PACKETS_MS, RATES, OpusDecoder, OpusEncoder
from audio.opus_toc import OpusError, packet_ms
from audio.pyav import CodecMissingError
from tests.support.sound import likeness, samples, sweep

LOOKAHEAD_MS = 6.5


def encoded(ms: int = 500, sample_rate: int = 16000, **given: int) -> list[bytes]:
    encoder = OpusEncoder(sample_rate, **given)
    return encoder.feed(sweep(ms, sample_rate)) + encoder.flush()


@pytest.mark.parametrize("packet_length", PACKETS_MS)
@pytest.mark.parametrize("sample_rate", RATES)
def test_packets_are_as_long_as_asked_for_and_sound_the_same(sample_rate: int, packet_length: int) -> None:
    packets = encoded(600, sample_rate, packet_ms=packet_length)
    assert [packet_ms(packet) for packet in packets] == [packet_length] * (600 // packet_length)
    decoder = OpusDecoder(16000)
    heard = [decoder.decode(packet) for packet in packets]
    assert {len(pcm) for pcm in heard} == {packet_length * 32}
    alike, late_ms = likeness(sweep(600, 16000), b"".join(heard), 16000)
    assert alike > 0.9
    assert late_ms <= LOOKAHEAD_MS + 1.5


def test_the_rest_is_made_whole_with_silence() -> None:
    encoder = OpusEncoder(16000)
    assert encoder.feed(sweep(30, 16000)[:-1]) != []
    assert len(encoder.flush()) == 1
    assert encoder.flush() == []


def test_a_degraded_line_gets_fewer_bits_from_the_next_packet_on() -> None:
    encoder = OpusEncoder(16000)
    before = encoder.feed(sweep(1000, 16000))
    encoder.set_bitrate(DEGRADED_BITRATE, against_loss=True)
    after = encoder.feed(sweep(1000, 16000))
    assert len(before) == len(after) == 50
    assert sum(map(len, after)) < 0.7 * sum(map(len, before))
    decoder = OpusDecoder(16000)
    assert all(len(decoder.decode(packet)) == 640 for packet in before + after)


@pytest.mark.parametrize(
    "bad", [b"", b"\xff", b"\x03", b"\x4b\x07" + bytes(7), bytes(1920), b"\xfc" + b"a" * 1500], ids=range(6)
)
def test_a_bad_packet_harms_no_other(bad: bytes) -> None:
    decoder, alone = OpusDecoder(16000), OpusDecoder(16000)
    for packet in encoded():
        with pytest.raises(OpusError):
            decoder.decode(bad)
        assert decoder.decode(packet) == alone.decode(packet)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(encoded(200))), max_size=10))
def test_whatever_comes_is_as_long_as_it_says_or_an_error(packets: list[bytes]) -> None:
    decoder = OpusDecoder(16000)
    for packet in packets:
        try:
            pcm = decoder.decode(packet)
        except OpusError:
            continue
        assert len(pcm) == packet_ms(packet) * 32


def test_stereo_packets_are_mixed_down() -> None:
    import av

    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 48000, "stereo", "s16", 64000
    codec.open()
    tone = samples(sweep(400, 48000))
    both = np.column_stack((tone, tone)).astype("<i2").reshape(1, -1)
    decoder, heard = OpusDecoder(48000), b""
    for number in range(20):
        frame = av.AudioFrame.from_ndarray(both[:, number * 1920 : (number + 1) * 1920], format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, number * 960
        for packet in codec.encode(frame):
            heard += decoder.decode(bytes(packet))
    assert len(heard) == 400 * 96
    assert likeness(sweep(400, 48000), heard, 48000)[0] > 0.9


@pytest.mark.parametrize(("sample_rate", "given"), [(44100, {}), (16000, {"packet_ms": 30})])
def test_what_opus_cannot_do_is_refused(sample_rate: int, given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"Opus is encoded|packets are"):
        OpusEncoder(sample_rate, **given)


def test_without_pyav_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(CodecMissingError, match=r"pip install -e '\.\[apps\]'"):
        OpusDecoder(16000)
