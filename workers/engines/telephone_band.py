"""Speech off a telephone line for a model of wide-band speech: what the line took away above 4 kHz is made up for.

A sibilant is mostly sound above 4 kHz. Without it a model hears its neighbours instead: "boss" as "daughter", "six" as
"three". So noise is added up there, as loud as the top of what the line left, and much louder where that top outweighs
everything below it, as it does in sibilants alone. Gains and bands were fitted on benchmarks/sentences/tune.yaml; half
or twice of each makes little difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]

SAMPLE_RATE = 16000
LINE_HZ = 4000  # a telephone line carries less than this
# A signal with less than this share of its power above the line's band came from a line.
NARROW_HZ, NARROW = 4300, 1e-4
TOP_HZ, LOW_HZ = 3400, 2500  # a sibilant has its sound above the one, a vowel below the other
MADE_UP_HZ = (3800, 7600)
GAIN, SIBILANT_GAIN, MOST_SIBILANT = 1.0, 20.0, 3.0
WINDOW = 160  # samples, of 10 ms
FAINT = 0.005  # of the level: less is no sound to compare with
HISS = 0.025  # of the level, over the whole band: a line is never as clean as a computed voice


def is_narrow(samples: Samples) -> bool:
    """Whether 16 kHz speech came over a telephone line."""
    if not len(samples):
        return False
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = _frequencies(len(samples))
    return bool(power[hz > NARROW_HZ].sum() < NARROW * power.sum())


def widened(samples: Samples) -> Samples:
    """Float samples of one utterance at 16 kHz, with a band above 4 kHz. The same noise every time: the same words."""
    level = level_of(samples)
    if not level:
        return samples
    count, hz = len(samples), _frequencies(len(samples))
    spectrum = np.fft.rfft(samples)
    top = _envelope(np.fft.irfft(np.where((hz > TOP_HZ) & (hz < LINE_HZ), spectrum, 0), count))
    low = _envelope(np.fft.irfft(np.where(hz < LOW_HZ, spectrum, 0), count))
    sibilance = np.minimum(top / (low + FAINT * level), MOST_SIBILANT)
    chance = np.random.default_rng(0)
    made_up = (GAIN + SIBILANT_GAIN * sibilance) * top * _noise(chance, count)
    hiss = chance.normal(0.0, HISS * level, count)
    return (samples + made_up + hiss).astype(np.float32)


def level_of(samples: Samples) -> float:
    """Of its loud moments: the root mean square of the 95th of a hundred 10 ms frames."""
    frames = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return float(np.percentile(np.sqrt((frames**2).mean(axis=1)), 95)) if len(frames) else 0.0


def _noise(chance: np.random.Generator, count: int) -> Floats:
    """Of one, in the band that is made up."""
    hz = _frequencies(count)
    begin, end = MADE_UP_HZ
    spectrum = np.where((hz > begin) & (hz < end), np.fft.rfft(chance.normal(0.0, 1.0, count)), 0)
    noise = np.fft.irfft(spectrum, count)
    loudness = float(noise.std())
    return noise / loudness if loudness else noise


def _envelope(band: Floats) -> npt.NDArray[np.float64]:
    return np.sqrt(np.convolve(band**2, np.full(WINDOW, 1 / WINDOW), "same"))


def _frequencies(count: int) -> Floats:
    return np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
