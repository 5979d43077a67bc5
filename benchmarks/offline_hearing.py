"""How well the offline engines hear the notes profile: sentences nobody tuned on, over a telephone line.

python benchmarks/offline_hearing.py [--json] [--sentences FILE] [--voices N]: each sentence is spoken by espeak-ng
in three voices and at three rates, coded as mu-law, heard by pocketsphinx with the profile's grammar and understood
by the profile's patterns. The same sentences are also broken off after their middle, between two words and within one,
as by a caller who hangs up: what is heard then is to be what was said.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from audio import mulaw
from workers.engines.espeak import Espeak
from workers.engines.pocketsphinx import PocketSphinx
from workers.engines.port import Failed, Heard, HearingRequest, Settled
from workers.grammar import Grammar
from workers.profiles import Profile, load_profile

HELD_OUT = Path(__file__).parent / "sentences" / "held_out.yaml"
VOICES = ("en-us", "en-gb", "en-us+f3")
RATES_WPM = (130, 150, 170)
RATE = 8000  # Hz, as hearing hears a telephone line
FRAME_BYTES = 320  # 20 ms
LEAD_MS, TAIL_MS = 300, 1300  # silence around the sentence; the tail is longer than the longest endpoint
FAINT = 10**-1.75  # of the loudest frame: what lies below is the silence that espeak-ng ends with
FEWEST_WORDS = 4  # of a sentence that is broken off
WANTED_UNDERSTOOD, MOST_INVENTED = 0.80, 2


@dataclass
class Score:
    """What was understood of what was said."""

    said: Counter[str] = field(default_factory=Counter)
    understood: Counter[str] = field(default_factory=Counter)
    slots_said: int = 0
    slots_understood: int = 0
    outside: set[str] = field(default_factory=set)
    invented: dict[str, str] = field(default_factory=dict)
    outside_spoken: int = 0
    invented_spoken: int = 0
    misheard: list[dict[str, str]] = field(default_factory=list)
    broken_off: int = 0
    broken_off_heard: int = 0  # of which any words were heard
    broken_off_misheard: list[dict[str, str]] = field(default_factory=list)  # with words that were not said
    broken_off_completed: int = 0  # of those: all that was said, and then more
    broken_off_intents: int = 0  # became an intent that was not said

    @property
    def invented_of_20(self) -> float:
        """Of twenty outside sentences, each said once, how many became an intent."""
        return 20 * self.invented_spoken / self.outside_spoken if self.outside_spoken else 0.0

    def report(self) -> dict[str, Any]:
        total = sum(self.said.values())
        share = sum(self.understood.values()) / total if total else 0.0
        return {
            "ok": share >= WANTED_UNDERSTOOD and self.invented_of_20 <= MOST_INVENTED,
            "utterances": total,
            "intents_understood": round(share, 3),
            "slots_understood": round(self.slots_understood / self.slots_said, 3) if self.slots_said else None,
            "intents": {name: {"said": n, "understood": self.understood[name]} for name, n in self.said.items()},
            "outside": len(self.outside),
            "outside_that_became_an_intent": len(self.invented),
            "of_20_outside_became_an_intent": round(self.invented_of_20, 2),
            "outside_utterances": self.outside_spoken,
            "outside_utterances_that_became_an_intent": self.invented_spoken,
            "invented": self.invented,
            "misheard": self.misheard,
            "broken_off": self.broken_off,
            "broken_off_heard": self.broken_off_heard,
            "broken_off_with_words_not_said": len(self.broken_off_misheard),
            "broken_off_completed": self.broken_off_completed,
            "broken_off_that_became_an_intent": self.broken_off_intents,
            "broken_off_misheard": self.broken_off_misheard,
        }


async def speak(voice: Espeak, text: str, name: str, rate_wpm: int) -> bytes:
    """The sentence as a telephone brings it: s16le that went through mu-law."""
    line = mulaw.silence(LEAD_MS) + await voice.mulaw(text, name, rate_wpm) + mulaw.silence(TAIL_MS)
    return mulaw.decode(line)


@dataclass(frozen=True)
class BrokenOff:
    """The beginning of a sentence: the words that were begun, and whether the last of them was finished."""

    begun: tuple[str, ...]
    whole: bool
    pcm: bytes

    @property
    def said(self) -> tuple[str, ...]:
        return self.begun if self.whole else self.begun[:-1]


async def break_off(voice: Espeak, text: str, name: str, rate_wpm: int) -> tuple[BrokenOff, ...]:
    """The sentence up to the word after its middle, and up to the middle of the next word; no silence follows."""
    words = tuple(text.split())
    count = len(words) // 2 + 1
    if len(words) < FEWEST_WORDS:
        return ()
    lead = mulaw.decode(mulaw.silence(LEAD_MS))
    first, second = [
        _without_silence(mulaw.decode(await voice.mulaw(" ".join(words[:n]), name, rate_wpm)))
        for n in (count, count + 1)
    ]
    half = second[: (len(first) + len(second)) // 4 * 2]
    between = BrokenOff(words[:count], True, lead + first)
    return between, BrokenOff(words[: count + 1], False, lead + half)


def _without_silence(pcm: bytes) -> bytes:
    """s16le up to its last 10 ms that are not faint."""
    frames = np.frombuffer(pcm, "<i2").astype(np.float32)[: len(pcm) // 160 * 80].reshape(-1, 80)
    levels = np.sqrt((frames**2).mean(axis=1))
    last = int(np.flatnonzero(levels >= FAINT * levels.max())[-1])
    return pcm[: (last + 1) * 160]


async def hear(ear: PocketSphinx, profile: Profile, jsgf: str, pcm: bytes, *, broken: bool = False) -> str:
    """The settled words of one utterance: after a pause, or where it is broken off."""
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    request = HearingRequest(profile.language, RATE, phrases=profile.phrases, grammar=jsgf)
    stream, lead = ear.open(request, heard.put_nowait), LEAD_MS * RATE // 500
    try:
        stream.feed(pcm[:lead])
        stream.speech_started(LEAD_MS)
        for at in range(lead, len(pcm), FRAME_BYTES):
            stream.feed(pcm[at : at + FRAME_BYTES])
        if broken:
            stream.finish()
        else:
            stream.speech_paused(TAIL_MS)
        return await _settled(heard)
    finally:
        stream.close()


async def _settled(heard: asyncio.Queue[Heard]) -> str:
    while not isinstance(said := await heard.get(), Settled):
        if isinstance(said, Failed):
            raise said.error
    return said.text


async def measure(body: Mapping[str, Any], spoken: list[tuple[str, int]]) -> Score:
    profile = load_profile("notes")
    grammar, score = Grammar(profile), Score()
    jsgf = grammar.jsgf()
    async with Espeak() as voice, PocketSphinx() as ear:
        for sentence, (name, rate_wpm) in itertools.product(body["understood"], spoken):
            text = await hear(ear, profile, jsgf, await speak(voice, sentence["say"], name, rate_wpm))
            count_inside(score, grammar, sentence, text, f"{name} {rate_wpm}")
        for say, (name, rate_wpm) in itertools.product(body["outside"], spoken):
            text = await hear(ear, profile, jsgf, await speak(voice, say, name, rate_wpm))
            count_outside(score, grammar, say, text)
        for sentence, (name, rate_wpm) in itertools.product(body["understood"], spoken):
            for broken in await break_off(voice, sentence["say"], name, rate_wpm):
                count_broken_off(score, grammar, broken, await hear(ear, profile, jsgf, broken.pcm, broken=True))
    return score


def count_inside(score: Score, grammar: Grammar, sentence: Mapping[str, Any], text: str, voice: str) -> None:
    match, slots = grammar.understand(text), sentence.get("slots", {})
    right = match is not None and match.intent.name == sentence["intent"]
    score.said[sentence["intent"]] += 1
    score.understood[sentence["intent"]] += right
    score.slots_said += len(slots)
    score.slots_understood += sum(match.slots.get(key) == value for key, value in slots.items()) if match else 0
    if not right:
        score.misheard.append({"said": sentence["say"], "heard": text, "voice": voice})


def count_outside(score: Score, grammar: Grammar, say: str, text: str) -> None:
    match = grammar.understand(text)
    score.outside.add(say)
    score.outside_spoken += 1
    if match is not None:
        score.invented_spoken += 1
        score.invented[say] = match.intent.name


def count_broken_off(score: Score, grammar: Grammar, broken: BrokenOff, text: str) -> None:
    heard, said = tuple(text.split()), broken.said
    score.broken_off += 1
    score.broken_off_heard += bool(heard)
    if heard != broken.begun[: len(heard)]:
        score.broken_off_misheard.append({"said": " ".join(broken.begun), "heard": text})
        score.broken_off_completed += len(heard) > len(said) and heard[: len(said)] == said
    meant = [grammar.understand(" ".join(words)) for words in (said, broken.begun)]
    score.broken_off_intents += grammar.understand(text) not in (None, *meant)


def show(report: Mapping[str, Any]) -> None:
    for name, count in report["intents"].items():
        print(f"{name:14} {count['understood']:4} of {count['said']}")
    print(f"\nintents understood: {report['intents_understood']:.1%} of {report['utterances']} (wanted: 80 %)")
    print(f"slots understood:   {report['slots_understood']:.1%}")
    print(
        f"of 20 outside sentences became an intent: {report['of_20_outside_became_an_intent']} "
        f"(wanted: at most {MOST_INVENTED}; {report['outside_utterances_that_became_an_intent']} of "
        f"{report['outside_utterances']} utterances, {report['outside_that_became_an_intent']} of "
        f"{report['outside']} sentences in any of the voices)"
    )
    print(
        f"of {report['broken_off']} sentences broken off {report['broken_off_heard']} were heard in part, "
        f"{report['broken_off_with_words_not_said']} with words that were not said ({report['broken_off_completed']} "
        f"completed), {report['broken_off_that_became_an_intent']} became an intent that was not said"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sentences", type=Path, default=HELD_OUT)
    parser.add_argument("--voices", type=int, default=9, help="of the nine voice and rate pairs, use the first N")
    options = parser.parse_args()
    # The first three differ in voice and in rate, so that a short run sees all of them.
    every = [(VOICES[n % 3], RATES_WPM[(n + n // 3) % 3]) for n in range(9)]
    body = yaml.safe_load(options.sentences.read_text(encoding="utf-8"))
    report = asyncio.run(measure(body, every[: options.voices])).report()
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
