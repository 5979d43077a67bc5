"""The child that listens: one decoder, shared grammars, whole utterances decoded one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from schema.extras import install
from workers.engines.automaton import Automaton, compile_jsgf
from workers.engines.child import Message, serve
from workers.engines.telephone_band import Samples, is_narrow, widened

FRAME_S = 0.01
GARBAGE = "garbage"
FREE = "free"
# Measured on mu-law speech: without the lattice's best path, which gave sentences that break off in the middle; with
# beams much wider than the model's own, which the small automaton allows; with silence as the only filler, as noise
# fillers swallow whatever does not fit the grammar; and with the cepstral mean of the whole utterance, as it is there.
SEARCH = {"bestpath": False, "beam": 1e-80, "wbeam": 1e-56, "pbeam": 1e-80, "cmn": "batch"}
SILENCE_ONLY = str(Path(__file__).with_name("silence.dict"))
FAINT_DB = 35.0  # below the loudest frame: an utterance lies between its first and last frame above this
MARGIN_FRAMES = 15  # of silence around it
LOUD_DB = 20.0  # below the utterance's loudest frames: no silence
SAMPLE_RATE = 16000  # what the bundled model was trained on; it fails at 8000
LOUDEST = 32000.0  # of 16 bits
NOISE = 8.0  # standard deviation, of 16 bits
MAX_GRAMMARS = 64  # a profile change brings a new one; the oldest is dropped
# A sentence need not be finished. Without ends inside it the decoder invents one: words in no time at all. What ends
# in a pause is mostly whole, so an end inside costs much there; what does not is mostly broken off, may stop in the
# middle of a word (its first sounds, at least two: a single one is in everything), and is never worth a squeezed word.
PAUSED_INSIDE, BROKEN_INSIDE, BROKEN_WORD = 1e-19, 1e-7, 1e-9  # probabilities
FEWEST_SOUNDS = 2
PART = "~"  # before the sounds of a word that was broken off
SQUEEZED_FRAMES = 5.0  # a sound, of 10 ms; the model cannot go below 3, and spoken words take 6 or more


class Ear:
    """One decoder with the searches it was asked for."""

    def __init__(self) -> None:
        import pocketsphinx

        self._model = pocketsphinx.get_model_path()
        self._decoder: Any = pocketsphinx.Decoder(
            samprate=SAMPLE_RATE, lm=None, loglevel="FATAL", fdict=SILENCE_ONLY, **SEARCH
        )
        self._grammars: dict[str, Automaton] = {}
        self._loaded: set[str] = set()

    def load(self, name: str, grammar: str) -> None:
        """Get ready for this grammar before its first utterance comes."""
        self._search(name, grammar, broken=False)
        if grammar:
            self._load_garbage()

    def hear(
        self, pcm: bytes, name: str, grammar: str, *, broken: bool = False, guess: bool = False, narrow: bool = False
    ) -> Message:
        """The best words for one utterance (s16le, 16 kHz), their score, and what speaks against them.

        `narrow`: it came at less than 16 kHz. `broken`: it does not end in a pause. `garbage` is the score of any
        sounds at all; `passed_over` the share of loud frames taken for silence. A `guess` goes without both: it is for
        an utterance that still goes on.
        """
        search = self._search(name, grammar, broken)
        pcm, from_frame = trimmed(pcm)
        pcm = made_ready(pcm, narrow)
        score, sounds, frames = self._decode(search, pcm)
        words = [part for part in sounds if not part[0].startswith(PART)]
        complete = bool(grammar) and words == sounds and self._grammars[name].accepts(_text(words))
        if grammar and not complete:
            words = self._unsqueezed(words)
        found: Message = {"text": _text(words), "score": score, "frames": frames, "broken": broken}
        found["complete"] = complete and not guess
        if grammar and words and not guess:
            found["passed_over"] = passed_over(pcm, sounds)
            self._load_garbage()
            found["garbage"] = self._decode(GARBAGE, pcm)[0]
        found["words"] = [[word, start + from_frame, end + from_frame] for word, start, end in words]
        return found

    def _unsqueezed(self, words: list[list[Any]]) -> list[list[Any]]:
        """Without the last words that were said in no time: the grammar wanted them, the caller did not say them."""
        last = len(words)
        while last and words[last - 1][2] - words[last - 1][1] + 1 <= SQUEEZED_FRAMES * self._sounds(
            words[last - 1][0]
        ):
            last -= 1
        return words[:last]

    def _sounds(self, word: str) -> int:
        return len((self._decoder.lookup_word(word) or "").split())

    def _search(self, name: str, grammar: str, broken: bool) -> str:
        if not grammar:
            if FREE not in self._loaded:
                self._decoder.add_lm_file(FREE, f"{self._model}/en-us/en-us.lm.bin")
                self._loaded.add(FREE)
            return FREE
        if name not in self._grammars:
            while len(self._grammars) >= MAX_GRAMMARS:
                oldest = next(iter(self._grammars))
                self._decoder.remove_search(oldest)
                self._decoder.remove_search(_broken(oldest))
                del self._grammars[oldest]
            automaton = compile_jsgf(grammar)
            self._add(name, automaton, PAUSED_INSIDE, [])
            self._add(_broken(name), automaton, BROKEN_INSIDE, self._broken_words(automaton))
            self._grammars[name] = automaton
        return _broken(name) if broken else name

    def _add(self, name: str, automaton: Automaton, inside: float, broken: list[tuple[int, str]]) -> None:
        """A search for the automaton's sentences, and for their beginnings at the price of `inside`."""
        end = automaton.states  # one final state, where every end leads
        arcs: list[tuple[Any, ...]] = [(source, target, 1.0, word) for source, word, target in automaton.arcs]
        arcs += [(source, end, BROKEN_WORD, part) for source, part in broken]
        reached = {target for _, _, target in automaton.arcs} | automaton.finals
        arcs += [(state, end, 1.0 if state in automaton.finals else inside) for state in sorted(reached)]
        self._decoder.add_fsg(name, self._decoder.create_fsg(name, 0, end, arcs))

    def _broken_words(self, automaton: Automaton) -> list[tuple[int, str]]:
        """The beginnings of every word, where it may be said; the dictionary learns them."""
        found: dict[tuple[int, str], None] = {}
        for source, word, _ in automaton.arcs:
            sounds = (self._decoder.lookup_word(word) or "").split()
            for count in range(FEWEST_SOUNDS, len(sounds)):
                part = PART + "_".join(sounds[:count])
                if self._decoder.lookup_word(part) is None:
                    self._decoder.add_word(part, " ".join(sounds[:count]), False)
                found[source, part] = None
        return list(found)

    def _load_garbage(self) -> None:
        if GARBAGE not in self._loaded:
            self._decoder.add_allphone_file(GARBAGE, f"{self._model}/en-us/en-us-phone.lm.bin")
            self._loaded.add(GARBAGE)

    def _decode(self, search: str, pcm: bytes) -> tuple[float, list[list[Any]], int]:
        decoder = self._decoder
        decoder.activate_search(search)
        decoder.start_utt()
        decoder.process_raw(pcm, False, True)  # the whole utterance: its mean is taken out of the cepstra at once
        decoder.end_utt()
        best = decoder.hyp()
        if best is None or best.score <= 0:
            return -math.inf, [], decoder.n_frames()
        words = [[_plain(part.word), part.start_frame, part.end_frame] for part in decoder.seg() if _is_word(part.word)]
        return math.log(best.score), words, decoder.n_frames()


def resample_whole(pcm: bytes, sample_rate: int) -> bytes:
    """To the model's rate, filtered: its images would sound like hissing, and the utterance is all here anyway."""
    if sample_rate == SAMPLE_RATE:
        return pcm
    return _pcm(soxr.resample(_samples(pcm), sample_rate, SAMPLE_RATE))


def made_ready(pcm: bytes, narrow: bool) -> bytes:
    """With the band a telephone line took, and no moment of it silent: digital silence has no spectrum a model was ever
    trained on. The same noise every time gives the same words."""
    samples = _samples(pcm)
    if narrow or is_narrow(samples):
        samples = widened(samples)
        # The mean is taken out of the cepstra, so loudness says nothing to the model; what is cut off does.
        samples *= min(1.0, LOUDEST / max(1.0, float(np.abs(samples).max(initial=0.0))))
    return _pcm(samples + np.random.default_rng(0).normal(0.0, NOISE, len(samples)))


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float32)


def _pcm(samples: npt.NDArray[Any]) -> bytes:
    return bytes(np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes())


def trimmed(pcm: bytes) -> tuple[bytes, int]:
    """The utterance with as much silence around it as every other one, and the frame it begins in.

    The cepstral mean is that of the whole utterance: more silence would change every sound in it.
    """
    power = _power(pcm)
    if not power.any():
        return pcm, 0
    loud = np.flatnonzero(power > power.max() / 10 ** (FAINT_DB / 10))
    begin = max(0, int(loud[0]) - MARGIN_FRAMES)
    end = min(len(power), int(loud[-1]) + 1 + MARGIN_FRAMES)
    frame_bytes = 2 * int(SAMPLE_RATE * FRAME_S)
    return pcm[begin * frame_bytes : end * frame_bytes], begin


def _power(pcm: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of each whole 10 ms frame."""
    samples = _samples(pcm)
    frame = int(SAMPLE_RATE * FRAME_S)
    power: np.ndarray[Any, np.dtype[np.float32]] = (
        samples[: len(samples) // frame * frame].reshape(-1, frame) ** 2
    ).mean(axis=1)
    return power


def passed_over(pcm: bytes, words: list[list[Any]]) -> float:
    """The share 0..1 of loud 10 ms frames that lie in no word."""
    power = _power(pcm)
    if not len(power):
        return 0.0
    loud = power > np.percentile(power, 95) / 10 ** (LOUD_DB / 10)
    silent = np.ones(len(power), dtype=bool)
    for _, start, end in words:
        silent[start : end + 1] = False
    return float((loud & silent).sum() / max(int(loud.sum()), 1))


def _is_word(name: str) -> bool:
    return not name.startswith(("<", "[", "(", "+"))


def _broken(name: str) -> str:
    return f"{name} broken off"


def _text(words: list[list[Any]]) -> str:
    return " ".join(word for word, _, _ in words)


def _plain(name: str) -> str:
    return name.partition("(")[0]  # "the(2)" is a second pronunciation


def _hear(ear: Ear, message: Message, reply: Callable[[Message], None]) -> None:
    answer = {"id": message["id"], "utterance": message["utterance"]}
    try:
        pcm = resample_whole(message["pcm"], message["sample_rate"])
        how = {"broken": message["broken"], "guess": message["guess"], "narrow": message["sample_rate"] < SAMPLE_RATE}
        reply({**answer, **ear.hear(pcm, message["name"], message["grammar"], **how)})
    except (RuntimeError, ValueError) as problem:
        reply({**answer, "error": f"the grammar or the audio was refused: {problem}"})


def _main() -> None:
    ear: Ear | None = None

    def handle(message: Message, reply: Callable[[Message], None]) -> None:
        nonlocal ear
        if message["do"] == "start":
            try:
                ear = Ear()
            except (ImportError, OSError, RuntimeError) as problem:
                reply({"ready": False, "error": f"pocketsphinx cannot run ({problem}): {install('demo')}"})
            else:
                reply({"ready": True})
        elif ear is not None and message["do"] == "load":
            with suppress(RuntimeError, ValueError):  # said to whoever asks for words in it
                ear.load(message["name"], message["grammar"])
        elif ear is not None:
            _hear(ear, message, reply)

    serve(handle)


if __name__ == "__main__":
    _main()
