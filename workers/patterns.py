"""The little language of what a caller can say: words, [optional], (this|that) and {slots}."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TOKEN = re.compile(r"\s*([\[\](){}|]|[^\s\[\](){}|]+)")
WORD = re.compile(r"[a-z]+(?:[.'-][a-z]+)*'?")
NAME = re.compile(r"[a-z_][a-z0-9_]*")
CLOSING = {"(": ")", "[": "]"}

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth"}


class PatternError(ValueError):
    """A pattern or template is not what it should be; the message names it and the place."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """Words out of a vocabulary, remembered under `name`."""

    name: str
    vocabulary: str


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several; an optional part is a choice whose last option is the empty sequence."""

    options: tuple[Node, ...]


Node = Word | Slot | Sequence | Choice
NOTHING = Sequence(())


def parse(text: str, where: str = "pattern") -> Node:
    """The pattern as a tree. Raises PatternError."""
    tokens = TOKEN.findall(text)
    node, rest = _choice(tokens, 0, text, where)
    if rest != len(tokens):
        raise PatternError(f"{where}: `{tokens[rest]}` closes nothing in {text!r}")
    return node


def _choice(tokens: list[str], at: int, text: str, where: str) -> tuple[Node, int]:
    options: list[Node] = []
    parts: list[Node] = []
    while at < len(tokens) and tokens[at] not in ")]}":
        token = tokens[at]
        if token == "|":
            options.append(_sequence(parts))
            parts, at = [], at + 1
        elif token in CLOSING:
            inner, at = _choice(tokens, at + 1, text, where)
            if at >= len(tokens) or tokens[at] != CLOSING[token]:
                raise PatternError(f"{where}: `{token}` is not closed by `{CLOSING[token]}` in {text!r}")
            parts.append(Choice((inner, NOTHING)) if token == "[" else inner)
            at += 1
        elif token == "{":
            parts.append(_slot(tokens[at : at + 3], text, where))
            at += 3
        else:
            parts.append(_word(token, text, where))
            at += 1
    options.append(_sequence(parts))
    return (options[0] if len(options) == 1 else Choice(tuple(options))), at


def _sequence(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Sequence(tuple(parts))


def _slot(tokens: list[str], text: str, where: str) -> Slot:
    name, _, vocabulary = tokens[1].partition(":") if len(tokens) == 3 else ("", "", "")
    if len(tokens) != 3 or tokens[2] != "}" or not NAME.fullmatch(name) or not NAME.fullmatch(vocabulary or name):
        raise PatternError(f"{where}: write a slot as {{vocabulary}} or {{slot:vocabulary}} in {text!r}")
    return Slot(name, vocabulary or name)


def _word(token: str, text: str, where: str) -> Word:
    if not WORD.fullmatch(token):
        raise PatternError(f"{where}: {token!r} in {text!r} is no spoken word: use lower case and write numbers out")
    return Word(token)


def check(node: Node, vocabularies: Mapping[str, Node], where: str, inside: tuple[str, ...] = ()) -> frozenset[str]:
    """Names of the pattern's own slots. Raises PatternError on unknown vocabularies and on one that contains itself."""
    if isinstance(node, Word):
        return frozenset()
    if isinstance(node, Sequence | Choice):
        children = node.parts if isinstance(node, Sequence) else node.options
        return frozenset(slot for child in children for slot in check(child, vocabularies, where, inside))
    if node.vocabulary not in vocabularies:
        raise PatternError(f"{where}: no vocabulary {node.vocabulary!r}: known are {sorted(vocabularies)}")
    if node.vocabulary in inside:
        raise PatternError(f"{where}: vocabulary {node.vocabulary!r} contains itself")
    check(vocabularies[node.vocabulary], vocabularies, where, (*inside, node.vocabulary))
    return frozenset((node.name,))


def words_of(node: Node) -> frozenset[str]:
    """Every word that stands in the tree itself (not in its slots' vocabularies)."""
    if isinstance(node, Word):
        return frozenset((node.text,))
    if isinstance(node, Slot):
        return frozenset()
    children = node.parts if isinstance(node, Sequence) else node.options
    return frozenset(word for child in children for word in words_of(child))


def sample(node: Node, vocabularies: Mapping[str, Node], pick: Callable[[int], int]) -> list[str]:
    """One sentence the pattern stands for; `pick(n)` chooses one of `n` options, from 0."""
    if isinstance(node, Word):
        return [node.text]
    if isinstance(node, Slot):
        return sample(vocabularies[node.vocabulary], vocabularies, pick)
    if isinstance(node, Choice):
        return sample(node.options[pick(len(node.options))], vocabularies, pick)
    return [word for part in node.parts for word in sample(part, vocabularies, pick)]


def number_words(number: int, *, ordinal: bool = False) -> str:
    """0 to 999 in words: 42 is "forty two", as ordinal "forty second"."""
    if not 0 <= number < 1000:
        raise PatternError(f"numbers in vocabularies go from 0 to 999, not {number}")
    hundreds, rest = divmod(number, 100)
    words = [ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        words += [TENS[rest // 10]] + ([ONES[rest % 10]] if rest % 10 else [])
    elif rest or not hundreds:
        words.append(ONES[rest])
    if ordinal:
        words[-1] = _ordinal(words[-1])
    return " ".join(words)


def _ordinal(word: str) -> str:
    return ORDINALS.get(word) or (word.removesuffix("y") + "ieth" if word.endswith("y") else word + "th")


SLOT_IN_TEXT = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
OPTIONAL_IN_TEXT = re.compile(r"\[([^\[\]]*)\]")


def template_slots(template: str) -> frozenset[str]:
    """Names a template uses."""
    return frozenset(SLOT_IN_TEXT.findall(template))


def fill(template: str, slots: Mapping[str, str]) -> str:
    """The template with its slots; a part in [brackets] with an empty slot is left out."""

    def optional(part: re.Match[str]) -> str:
        return part[1] if all(slots.get(name) for name in template_slots(part[1])) else ""

    filled = SLOT_IN_TEXT.sub(lambda slot: slots.get(slot[1], ""), OPTIONAL_IN_TEXT.sub(optional, template))
    return re.sub(r"\s+([.,!?])", r"\1", re.sub(r"\s{2,}", " ", filled)).strip()
