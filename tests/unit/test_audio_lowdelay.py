"""Live sound at another rate: hardly late, and never a sample more or less."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.lowdelay import LowDelayResampler
from tests.support.sound import likeness, samples, sweep, tone

RATES = (8000, 16000, 24000, 44100, 48000)
PAIRS = [(a, b) for a in RATES for b in RATES if a != b]


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_it_sounds_the_same_and_no_later_than_it_says(from_rate: int, to_rate: int) -> None:
    resampler = LowDelayResampler(from_rate, to_rate)
    heard = resampler.feed(sweep(500, from_rate))
    alike, late_ms = likeness(sweep(500, to_rate), heard, to_rate, most_ms=3)
    assert alike > 0.99
    assert late_ms <= resampler.delay_ms + 1000 / to_rate
    assert resampler.delay_ms < 1.6


@given(st.sampled_from(PAIRS), st.lists(st.integers(0, 1200), max_size=12))
def test_its_length_is_exact_however_it_is_cut(pair: tuple[int, int], cuts: list[int]) -> None:
    from_rate, to_rate = pair
    pcm = sweep(100, from_rate)[: sum(cuts) // 2 * 2]
    pieces, whole = LowDelayResampler(from_rate, to_rate), LowDelayResampler(from_rate, to_rate)
    heard, at = b"", 0
    for cut in cuts:
        heard += pieces.feed(pcm[at : at + cut])
        at += cut
    expected = whole.feed(pcm[:at])
    assert len(heard) == len(expected) == 2 * math.ceil(len(pcm[:at]) // 2 * to_rate / from_rate)
    apart = np.abs(samples(heard) - samples(expected))
    assert not len(apart) or apart.max() <= 1, "rounding alone"


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48000, 16000), (48000, 8000), (44100, 16000), (16000, 8000)])
def test_what_the_lower_rate_cannot_carry_is_filtered_out(from_rate: int, to_rate: int) -> None:
    high = tone(300, from_rate, hertz=to_rate / 2 * 1.25)
    heard = samples(LowDelayResampler(from_rate, to_rate).feed(high))[to_rate // 100 :]
    assert np.sqrt(np.mean(heard**2)) < 9000 / math.sqrt(2) / 1000, "60 dB below"


def test_stereo_is_mixed_down() -> None:
    left, right = samples(tone(100, 48000)), np.zeros(4800)
    both = np.column_stack((left, right)).astype("<i2").tobytes()
    mono = LowDelayResampler(48000, 16000).feed((left / 2).astype("<i2").tobytes())
    apart = samples(LowDelayResampler(48000, 16000, channels=2).feed(both)) - samples(mono)
    assert np.abs(apart).max() <= 2


def test_nothing_is_done_where_nothing_is_to_do() -> None:
    resampler = LowDelayResampler(8000, 8000)
    assert resampler.feed(b"abc") + resampler.feed(b"d") == b"abcd"
    assert resampler.delay_ms == 0


@pytest.mark.parametrize("wrong", [(0, 8000, 1), (8000, -1, 1), (8000, 8000, 3)])
def test_what_cannot_be_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"rates|channels"):
        LowDelayResampler(*wrong)
