"""Speech off a telephone line for a model of wide-band speech: what the line took away above 4 kHz is made up for.

A sibilant is mostly sound above 4 kHz. Without it a model hears its neighbours instead: "boss" as "daughter", "six" as
"three". So noise is added up there, as loud as the top of what the line left, and much louder where that top outweighs
everything below it, as it does in sibilants alone. The figures were fitted on benchmarks/sentences/tune.yaml: half or
twice of a gain makes little difference, a top that begins at 2500 Hz costs four sentences of a hundred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]

SAMPLE_RATE = 16000
# Wide-band speech has some of its sound above the line's band; a line leaves less than this share of what is below.
ABOVE_HZ, BELOW_HZ, NARROW = (4300, 7000), (2500, 3900), 1e-3
TOP_HZ, LOW_HZ = (3400, 4000), (0, 2500)  # a sibilant has its sound in the one, a vowel in the other
MADE_UP_HZ = (3800, 7600)
GAIN, SIBILANT_GAIN, MOST_SIBILANT = 1.0, 20.0, 3.0
WINDOW = 160  # samples, of 10 ms
FAINT = 0.005  # of the level: less is no sound to compare with
HISS = 0.025  # of the level, over the whole band: a line is never as clean as a computed voice
ROUND = 8192  # samples; a transform of a length with a large prime factor takes many times as long


def is_narrow(samples: Samples) -> bool:
    """Whether 16 kHz speech came over a telephone line."""
    count = _round(len(samples))
    power = np.abs(np.fft.rfft(samples, count)) ** 2 if count else np.zeros(1)
    below = float(power[_band(count, BELOW_HZ)].sum())
    return below > 0 and float(power[_band(count, ABOVE_HZ)].sum()) < NARROW * below


def widened(samples: Samples) -> Samples:
    """Float samples of one utterance at 16 kHz, with a band above 4 kHz. The same noise every time: the same words."""
    level = level_of(samples)
    if not level:
        return samples
    count = _round(len(samples))
    spectrum = np.fft.rfft(samples, count)
    top = _envelope(_only(spectrum, TOP_HZ, count))[: len(samples)]
    low = _envelope(_only(spectrum, LOW_HZ, count))[: len(samples)]
    sibilance = np.minimum(top / (low + FAINT * level), MOST_SIBILANT)
    chance = np.random.default_rng(0)
    made_up = (GAIN + SIBILANT_GAIN * sibilance) * top * _noise(chance, count)[: len(samples)]
    hiss = chance.normal(0.0, HISS * level, len(samples))
    return (samples + made_up + hiss).astype(np.float32)


def level_of(samples: Samples) -> float:
    """Of its loud moments: the root mean square of the 95th of a hundred 10 ms frames."""
    frames = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return float(np.percentile(np.sqrt((frames**2).mean(axis=1)), 95)) if len(frames) else 0.0


def _noise(chance: np.random.Generator, count: int) -> Floats:
    """Of one, in the band that is made up."""
    noise = _only(np.fft.rfft(chance.normal(0.0, 1.0, count)), MADE_UP_HZ, count)
    return noise / float(noise.std())


def _only(spectrum: npt.NDArray[Any], hz: tuple[int, int], count: int) -> Floats:
    return np.fft.irfft(np.where(_band(count, hz), spectrum, 0), count)


def _band(count: int, hz: tuple[int, int]) -> npt.NDArray[np.bool_]:
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE) if count else np.zeros(1)
    return (frequencies >= hz[0]) & (frequencies < hz[1])


def _envelope(band: Floats) -> Floats:
    """The root mean square of the 10 ms around each sample."""
    padded = np.pad(band**2, (WINDOW // 2 + 1, WINDOW // 2))
    summed = np.cumsum(padded, dtype=np.float64)  # what is quiet behind what is loud is lost in fewer digits
    return np.sqrt(np.maximum(summed[WINDOW:] - summed[:-WINDOW], 0) / WINDOW)


def _round(count: int) -> int:
    return -(-count // ROUND) * ROUND
