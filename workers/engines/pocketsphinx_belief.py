"""Whether what pocketsphinx heard is believed: a grammar finds some of its words in any sound. And what decided it."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path

from workers.engines.child import Message

# Natural log of the grammar's path against any sounds at all, times 1000 per frame of 10 ms; the share of loud sound
# that lies in no word; and the words themselves, of which a grammar finds many in long speech about something else.
# Fitted on telephone speech from espeak-ng (benchmarks/sentences/tune.yaml, nine voices): at even odds 87 of 100
# sentences of the grammar are understood, and 7 of 100 others, forced into it, are believed.
FITTING, SPREAD, PASSED_OVER_WEIGHT, WORD_WEIGHT = -2.2, 0.21, 11.0, 0.34
ACCEPTED = 0.5
# A beginning fits more sounds than a sentence, one that is broken off even more: neither is ever acted upon.
ACCEPTED_UNFINISHED, ACCEPTED_BROKEN = 0.8, 0.9
UNKNOWN = 0.6  # without a grammar: the bundled language model's own probabilities say little

# What the words depend on besides the request: dozens of figures, and the order in which they are used.
CODE = (
    *("automaton.py", "pocketsphinx.py", "pocketsphinx_belief.py", "pocketsphinx_child.py", "telephone_band.py"),
    "silence.dict",
)


def confidence_of(answer: Message) -> float:
    """0..1: how well the grammar's words explain the sound, against any sounds at all."""
    if not answer["text"]:
        return 0.0
    if "garbage" not in answer:
        return UNKNOWN
    distance = (answer["score"] - answer["garbage"]) * 1000 / max(answer["frames"], 1)
    exponent = (distance - FITTING) / SPREAD - answer["passed_over"] * PASSED_OVER_WEIGHT
    exponent -= len(answer["words"]) * WORD_WEIGHT
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, exponent))))


def believed(answer: Message, confidence: float) -> bool:
    """Whether the words are told as what was said."""
    if "garbage" not in answer or answer["complete"]:
        return confidence >= ACCEPTED
    return confidence >= (ACCEPTED_BROKEN if answer["broken"] else ACCEPTED_UNFINISHED)


@cache
def code() -> str:
    """The engine as it was: another one may hear other words in the same sound."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()
