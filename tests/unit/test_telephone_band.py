"""What a telephone line took from speech is made up for, where a model looks for it."""

from __future__ import annotations

import numpy as np

from workers.engines import pocketsphinx_child
from workers.engines.telephone_band import SAMPLE_RATE, Samples, is_narrow, widened

SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def tone(*hz: float) -> Samples:
    return np.sum([3_000 * np.sin(2 * np.pi * one * SECOND) for one in hz], axis=0).astype(np.float32)


def power_above_the_line(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return float(spectrum[4_300:].sum() / spectrum.sum())


def test_only_what_has_nothing_above_the_line_came_over_one() -> None:
    assert is_narrow(tone(300, 3_600))
    assert not is_narrow(tone(300, 3_600, 5_000))
    assert not is_narrow(tone(300, 3_600) + 0.05 * tone(5_000)), "a dark vowel is wide-band speech, too"


def test_a_sibilant_gets_its_band_and_a_vowel_next_to_nothing() -> None:
    sibilant, vowel = power_above_the_line(widened(tone(3_700))), power_above_the_line(widened(tone(400, 900)))
    assert sibilant > 0.5
    assert vowel < 0.01


def test_the_same_speech_is_widened_in_the_same_way_however_loud_it_is() -> None:
    speech = tone(700, 3_500)
    assert np.array_equal(widened(speech), widened(speech))
    assert np.allclose(widened(speech * 0.25), widened(speech) * 0.25, rtol=1e-3, atol=1.0)


def test_what_is_quiet_behind_what_is_loud_gets_no_more_than_its_due() -> None:
    seconds = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    vowel = 8_000 * np.sin(2 * np.pi * 300 * seconds) * np.where(seconds < 3, 1.0, 0.03)
    speech = (vowel + 60 * np.sin(2 * np.pi * 3_700 * seconds)).astype(np.float32)
    made_up = (widened(speech) - speech)[-14_000:-2_000]
    assert np.sqrt((made_up**2).mean()) < 400


def test_what_is_made_up_reaches_the_model_and_nothing_is_clipped() -> None:
    pcm = tone(500, 3_700).astype("<i2").tobytes()
    ready = np.frombuffer(pocketsphinx_child.made_ready(pcm, narrow=True), "<i2").astype(np.float32)
    assert power_above_the_line(ready) > 0.5
    assert abs(ready).max() < 32_700


def test_silence_and_scraps_of_sound_are_harmless() -> None:
    for count in (0, 1, 100, 160, 161, SAMPLE_RATE - 3):
        for samples in (tone(500)[:count], np.zeros(count, np.float32)):
            pcm = samples.astype("<i2").tobytes()
            assert len(widened(samples)) == count
            assert not is_narrow(samples) or samples.any()
            assert len(pocketsphinx_child.made_ready(pcm, narrow=True)) == len(pcm)
            assert len(pocketsphinx_child.trimmed(pcm)[0]) <= len(pcm)
