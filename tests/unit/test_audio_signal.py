"""Mu-law, formats, frames, rates and levels keep what they are given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio import mulaw
from audio.chunking import FrameCutter
from audio.formats import MULAW_8K, PCM16_16K, AudioFormat
from audio.levels import FLOOR_DBFS, LevelMeter, rms_dbfs
from audio.resample import Resampler, resample
from audio.vad import VoiceActivity


def tone(hz: float, ms: int, rate: int, amplitude: float = 8000) -> bytes:
    times = np.arange(rate * ms // 1000) / rate
    return (np.sin(2 * math.pi * hz * times) * amplitude).astype("<i2").tobytes()


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, offset = [], 0
    for size in sizes:
        pieces.append(data[offset : offset + size])
        offset += size
    return [*pieces, data[offset:]]


def test_twenty_milliseconds_of_telephone_audio_are_160_bytes() -> None:
    assert (MULAW_8K.bytes_of(20), MULAW_8K.ms_of(160)) == (160, 20)
    assert (PCM16_16K.bytes_of(20), PCM16_16K.ms_of(640)) == (640, 20)


def test_an_encoding_without_fixed_size_says_that_it_must_be_decoded() -> None:
    with pytest.raises(ValueError, match="opus has no fixed sample size"):
        AudioFormat("opus", 48000).bytes_of(20)


@given(st.binary(max_size=400))
def test_mulaw_survives_the_way_there_and_back(data: bytes) -> None:
    # 0x7f is negative zero; it comes back as zero.
    assert mulaw.encode(mulaw.decode(data)) == data.replace(b"\x7f", b"\xff")


def test_mulaw_silence_is_silent() -> None:
    assert mulaw.decode(mulaw.silence(20)) == bytes(320)


def test_half_a_sample_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="even offsets"):
        mulaw.encode(b"\x00\x00\x00")


@given(st.binary(max_size=300), st.lists(st.integers(0, 50)), st.integers(1, 40))
def test_frames_are_the_same_however_the_bytes_arrive(data: bytes, sizes: list[int], frame_bytes: int) -> None:
    cutter = FrameCutter(frame_bytes)
    frames = [frame for piece in split(data, sizes) for frame in cutter.frames(piece)]
    assert all(len(frame) == frame_bytes for frame in frames)
    held = cutter.held_bytes
    assert b"".join(frames) + cutter.flush()[:held] == data
    assert cutter.flush() == b""


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (16000, 8000), (22050, 8000), (8000, 8000)])
@given(sizes=st.lists(st.integers(0, 500), max_size=12))
def test_resampling_gives_the_same_however_the_audio_arrives(from_rate: int, to_rate: int, sizes: list[int]) -> None:
    pcm = tone(440, 100, from_rate)
    resampler = Resampler(from_rate, to_rate)
    streamed = b"".join(resampler.feed(piece) for piece in split(pcm, sizes)) + resampler.flush()
    # How the filter's floats round depends on where the pieces were cut.
    difference = np.frombuffer(streamed, "<i2") - np.frombuffer(resample(pcm, from_rate, to_rate), "<i2").astype(int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (16000, 8000), (24000, 8000), (22050, 16000)])
def test_resampling_keeps_length_and_loudness(from_rate: int, to_rate: int) -> None:
    converted = resample(tone(440, 1000, from_rate), from_rate, to_rate)
    assert abs(len(converted) - 2 * to_rate) <= 4
    assert rms_dbfs(converted) == pytest.approx(rms_dbfs(tone(440, 1000, to_rate)), abs=0.3)


def test_resampling_up_holds_nothing_back() -> None:
    resampler = Resampler(8000, 16000)
    assert [len(resampler.feed(tone(440, 20, 8000))) for _ in range(3)][1:] == [640, 640]


def test_resampling_down_does_not_alias() -> None:
    assert rms_dbfs(resample(tone(6000, 500, 16000), 16000, 8000)) < rms_dbfs(tone(6000, 500, 16000)) - 30


def test_a_flushed_resampler_begins_anew() -> None:
    resampler = Resampler(16000, 8000)
    first = resampler.feed(tone(440, 100, 16000)) + resampler.flush()
    assert resampler.feed(tone(440, 100, 16000)) + resampler.flush() == first


def test_levels_are_in_decibels_below_full_scale() -> None:
    assert rms_dbfs(tone(440, 1000, 8000, 32767)) == pytest.approx(-3.01, abs=0.05)
    assert rms_dbfs(bytes(320)) == rms_dbfs(b"") == FLOOR_DBFS


def test_signal_to_noise_compares_speech_with_the_gaps_between_it() -> None:
    meter = LevelMeter()
    assert meter.snr_db is None
    for _ in range(10):
        meter.add(tone(440, 20, 8000, 10000), voiced=True)
        meter.add(tone(300, 20, 8000, 100), voiced=False)
    assert meter.snr_db == pytest.approx(40, abs=0.5)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_silence_is_not_voice(rate: int) -> None:
    activity = VoiceActivity(2, rate)
    assert not any(activity.is_voiced(bytes(activity.frame_bytes)) for _ in range(50))


def test_a_frame_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="320 bytes"):
        VoiceActivity(2, 8000).is_voiced(bytes(160))
