"""How loud a stream is, from the frames alone."""

from __future__ import annotations

import pytest

from audio import mulaw
from audio.levels import rms_dbfs
from clients import opus
from ingest.loudness import Loudness
from tests.support.sound import tone

LOUD, QUIET = b"\x00\x10" * 160, b"\x10\x00" * 160  # s16le, about -18 and -66 dBFS


def told(loudness: Loudness, frames: list[bytes]) -> tuple[float | None, float | None]:
    for frame in frames:
        loudness.note(frame)
    return loudness.take()


@pytest.mark.parametrize("encoding", ["pcm16", "mulaw"])
def test_speech_between_pauses_stands_above_their_noise(encoding: str) -> None:
    frames = [LOUD] * 100 + [QUIET] * 100
    level, snr = told(Loudness(encoding), [mulaw.encode(f) if encoding == "mulaw" else f for f in frames])
    assert level == pytest.approx(-18, abs=1)
    assert snr is not None and snr > 30


def test_one_and_the_same_sound_has_a_level_and_no_distance() -> None:
    assert told(Loudness("pcm16"), [LOUD] * 100) == (pytest.approx(-18, abs=1), None)


def test_too_few_frames_and_packets_that_are_none_tell_nothing() -> None:
    assert told(Loudness("pcm16"), [LOUD] * 20) == (None, None)
    assert told(Loudness("opus"), [b"\x03"] * 300) == (None, None)


def test_some_packets_of_opus_are_opened() -> None:
    voice, noise = opus.encode(tone(2_500, 48_000), 48_000), opus.encode(bytes(48_000 * 5), 48_000)
    level, snr = told(Loudness("opus"), [*voice, *noise])
    assert level == pytest.approx(rms_dbfs(tone(1_000, 48_000)), abs=4)
    assert snr is not None and snr > 20


def test_a_frame_with_an_odd_byte_is_measured_without_it() -> None:
    assert told(Loudness("pcm16"), [LOUD + b"\x01"] * 100)[0] == pytest.approx(-18, abs=1)
