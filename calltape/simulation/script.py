"""What a caller does, step by step: written down, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from calltape.simulation import voice
from calltape.simulation.socket import WishKind

WISHES: tuple[WishKind, ...] = ("say", "say", "pause", "transfer", "hang_up")

Deed = Literal["say", "cough", "key", "type", "release", "wish", "drop", "move", "stranger", "quiet", "mute", "hang_up"]


@dataclass(frozen=True, slots=True)
class Step:
    """One deed. `after`: the reply was heard, or so many ms later whatever is being said.

    `move`: a new socket, while things are still done on the old one for `ms`; `stranger`: somebody else's socket in
    this call for so long.
    """

    deed: Deed
    after: Literal["reply"] | int = "reply"
    words: tuple[int, ...] = ()
    ms: int = 0
    gap_ms: int = 0  # of silence between words, in the middle of them
    wish: WishKind = "say"


def drawn_script(seed: int) -> tuple[Step, ...]:
    """What this seed's caller does."""
    chance = Random(f"script-{seed}")
    word = iter(range(1, 9000))
    steps = [_drawn_step(chance, word) for _ in range(chance.randint(2, 6))]
    ending = chance.random()
    if ending < 0.5:
        steps.append(Step("say", words=(next(word), voice.GOODBYE)))
    elif ending < 0.85:
        # In mid-word, as often as not.
        steps.append(Step("say", words=tuple(next(word) for _ in range(3)), after=_moment(chance)))
        steps.append(Step("hang_up", after=chance.randint(0, 900)))
    else:
        steps.append(Step("quiet", ms=60_000))
    return tuple(steps)


def _drawn_step(chance: Random, word: Iterator[int]) -> Step:
    after = _moment(chance)
    draw = chance.random()
    if draw < 0.5:
        words = [next(word) for _ in range(chance.randint(1, 5))]
        if chance.random() < 0.25:
            words.append(chance.choice((voice.REMIND, voice.BOOK)))
        return Step("say", after, tuple(words), gap_ms=chance.choice((0, 0, 0, 400, 900)))
    if draw < 0.53:
        return Step("type", after, (next(word), next(word)))
    if draw < 0.56:
        return Step("release", after)
    if draw < 0.6:
        return Step("wish", after, (next(word),), wish=chance.choice(WISHES))
    if draw < 0.68:
        return Step("cough", after, ms=chance.choice((60, 200, 400, 800)))
    if draw < 0.76:
        return Step("key", after, words=tuple(chance.randint(0, 9) for _ in range(chance.randint(1, 3))))
    if draw < 0.85:
        return Step("drop", after, ms=chance.choice((300, 1500, 6000, 20_000)))
    if draw < 0.91:
        return Step("move", after, ms=chance.choice((500, 2000, 6000)))
    if draw < 0.94:
        return Step("stranger", after, ms=chance.choice((500, 4000)))
    if draw < 0.97:
        return Step("quiet", after, ms=chance.choice((3000, 9000)))
    return Step("mute", after, ms=chance.choice((2000, 10_000)))


def _moment(chance: Random) -> Literal["reply"] | int:
    return "reply" if chance.random() < 0.6 else chance.randint(0, 3000)
