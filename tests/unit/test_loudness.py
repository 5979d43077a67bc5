"""How loud a stream is, from the frames alone."""

from __future__ import annotations

import pytest

from audio import mulaw
from ingest.loudness import Loudness

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


def test_too_few_frames_tell_nothing_and_opus_is_not_opened() -> None:
    assert told(Loudness("pcm16"), [LOUD] * 20) == (None, None)
    assert told(Loudness("opus"), [b"\xfc" * 40] * 200) == (None, None)


def test_a_frame_with_an_odd_byte_is_measured_without_it() -> None:
    assert told(Loudness("pcm16"), [LOUD + b"\x01"] * 100)[0] == pytest.approx(-18, abs=1)
