"""What an agent profile can hear and understand: one set of patterns as a JSGF grammar and as a matcher."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workers import patterns
from workers.patterns import Choice, Node, Sequence, Slot, Word
from workers.profiles import Intent, Profile, vocabulary_patterns

NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
CLOCK = re.compile(r"\b(\d{1,2})[:.](\d{2})\b")
NUMBER_WORD = "|".join([*patterns.ONES[1:], *patterns.TENS[2:]])
MERIDIEM = re.compile(rf"(\d|\b(?:{NUMBER_WORD}))\s*([ap])\.?\s?m\b\.?")  # "9am", "nine p.m."
ORDINAL = re.compile(r"\b(\d{1,3})(?:st|nd|rd|th)\b")
WORDS = re.compile(r"[a-z]+(?:'[a-z]+)*")
# How recognisers and people write what the patterns spell otherwise.
SPELLINGS = {"e-mail": "email", "to-do": "todo", "to do list": "todo list", "ok": "okay", "o.k.": "okay"}
SPELLED = re.compile(r"\b(" + "|".join(map(re.escape, SPELLINGS)) + r")(?!\w)")
MAX_WORDS = 60  # of one utterance; more is no command, and matching stays cheap


@dataclass(frozen=True, slots=True)
class Match:
    """An intent and what its slots were filled with."""

    intent: Intent
    slots: Mapping[str, str]


def tokens(text: str) -> tuple[str, ...]:
    """The words of a text as a recogniser would say them: lower case, numbers written out, no punctuation."""
    text = SPELLED.sub(lambda m: SPELLINGS[m[1]], text.lower().replace("\u2019", "'"))
    text = ORDINAL.sub(lambda m: f" {patterns.number_words(int(m[1]), ordinal=True)} ", text)
    text = CLOCK.sub(lambda m: f" {int(m[1])} {_minutes(m[2])} ", text)
    text = MERIDIEM.sub(lambda m: f"{m[1]} {m[2]} m ", text)
    text = NUMBER.sub(lambda m: f" {_spoken_number(m[0])} ", text)
    return tuple(WORDS.findall(text))


def _minutes(digits: str) -> str:
    if digits == "00":
        return ""
    return ("oh " if digits.startswith("0") else "") + str(int(digits))


def _spoken_number(digits: str) -> str:
    """Up to 999 as a number, longer ones digit by digit as telephone numbers are read."""
    digits = digits.replace(",", "")
    if len(digits) <= 3:
        return patterns.number_words(int(digits))
    return " ".join(patterns.ONES[int(digit)] for digit in digits)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One utterance being matched; remembers which vocabularies end where."""

    words: tuple[str, ...]
    vocabularies: Mapping[str, Node]
    seen: dict[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)

    def ends(self, node: Node, at: int) -> dict[int, dict[str, str]]:
        """Where the node can end when it begins at `at`, with the slots filled; the first way to an end wins."""
        if isinstance(node, Word):
            return {at + 1: {}} if at < len(self.words) and self.words[at] == node.text else {}
        if isinstance(node, Slot):
            return {end: {node.name: " ".join(self.words[at:end])} for end in self._vocabulary(node.vocabulary, at)}
        if isinstance(node, Choice):
            found: dict[int, dict[str, str]] = {}
            for option in node.options:
                for end, slots in self.ends(option, at).items():
                    found.setdefault(end, slots)
            return found
        return self._sequence(node, at)

    def _sequence(self, node: Sequence, at: int) -> dict[int, dict[str, str]]:
        reached: dict[int, dict[str, str]] = {at: {}}
        for part in node.parts:
            further: dict[int, dict[str, str]] = {}
            for start, slots in reached.items():
                for end, more in self.ends(part, start).items():
                    further.setdefault(end, {**slots, **more})
            reached = further
        return reached

    def _vocabulary(self, name: str, at: int) -> tuple[int, ...]:
        if (name, at) not in self.seen:
            # An empty slot is no slot.
            self.seen[name, at] = tuple(end for end in self.ends(self.vocabularies[name], at) if end > at)
        return self.seen[name, at]


class Grammar:
    """A profile's patterns, parsed once. Equal profiles give equal grammars."""

    def __init__(self, profile: Profile) -> None:
        self.name = profile.name
        self.vocabularies = vocabulary_patterns(profile)
        self.fillers = frozenset(profile.fillers)
        self.intents = tuple((intent, _whole(intent, profile)) for intent in profile.intents)
        self.slots = {
            intent.name: frozenset(
                slot for node in nodes for slot in patterns.check(node, self.vocabularies, "intents")
            )
            for intent, nodes in self.intents
        }

    def matches(self, text: str) -> tuple[Match, ...]:
        """Every reading of the whole text, in the order of the profile's patterns; empty when there is none."""
        words = tuple(word for word in tokens(text) if word not in self.fillers)
        if not words or len(words) > MAX_WORDS:
            return ()
        reading = _Reading(words, self.vocabularies)
        every = ((intent, node) for intent, nodes in self.intents for node in nodes)
        found = ((intent, reading.ends(node, 0).get(len(words))) for intent, node in every)
        return tuple(Match(intent, slots) for intent, slots in found if slots is not None)

    def understand(self, text: str) -> Match | None:
        """The first reading of the whole text."""
        return next(iter(self.matches(text)), None)

    def jsgf(self) -> str:
        """The grammar for a recogniser: the same sentences as `matches`, with common endings written once.

        A recogniser copies a rule into every place that names it, and its cost grows with the copies: forty
        patterns that end in `{when}` must name it a few times, not forty.
        """
        rules = [f"<{name}> = {_jsgf(node)};" for name, node in self._used_vocabularies()]
        said = [(intent.weight / len(nodes), _parts(node)) for intent, nodes in self.intents for node in nodes]
        return "\n".join(
            ["#JSGF V1.0;", f"grammar {_name(self.name)};", f"public <said> = {_shared(said)};", *rules, ""]
        )

    def words(self) -> frozenset[str]:
        """Every word the grammar can hear."""
        nodes = [node for _, node in self._used_vocabularies()] + [node for _, nodes in self.intents for node in nodes]
        return frozenset(word for node in nodes for word in patterns.words_of(node))

    def _used_vocabularies(self) -> list[tuple[str, Node]]:
        used: set[str] = set()
        for _, nodes in self.intents:
            _collect(Choice(nodes), self.vocabularies, used)
        return [(name, node) for name, node in self.vocabularies.items() if name in used]


def _whole(intent: Intent, profile: Profile) -> tuple[Node, ...]:
    """Each pattern of the intent with what may stand around it."""
    before, after = patterns.parse(profile.prefix, "prefix"), patterns.parse(profile.suffix, "suffix")
    said = (patterns.parse(text, f"intents.{intent.name}") for text in intent.patterns)
    return tuple(Sequence((before, node, after)) if profile.prefix or profile.suffix else node for node in said)


def _collect(node: Node, vocabularies: Mapping[str, Node], used: set[str]) -> None:
    if isinstance(node, Slot) and node.vocabulary not in used:
        used.add(node.vocabulary)
        _collect(vocabularies[node.vocabulary], vocabularies, used)
    elif isinstance(node, Sequence | Choice):
        for child in node.parts if isinstance(node, Sequence) else node.options:
            _collect(child, vocabularies, used)


def _parts(node: Node) -> tuple[Node, ...]:
    if not isinstance(node, Sequence):
        return (node,)
    return tuple(inner for part in node.parts for inner in _parts(part))


def _shared(said: list[tuple[float, tuple[Node, ...]]]) -> str:
    """Weighted sequences as alternatives, those with the same last part as one."""
    groups: dict[Node | None, list[tuple[float, tuple[Node, ...]]]] = {}
    for weight, parts in said:
        groups.setdefault(parts[-1] if parts else None, []).append((weight, parts[:-1]))
    alternatives = [
        (sum(weight for weight, _ in group), _alternative(last, group)) for last, group in groups.items() if last
    ]
    if len(alternatives) == 1:
        spoken = alternatives[0][1]
    else:
        spoken = " | ".join(f"/{weight:.3f}/ {text}" for weight, text in alternatives)
    return spoken


def _alternative(last: Node, group: list[tuple[float, tuple[Node, ...]]]) -> str:
    """What comes before `last`, then `last`; nothing comes before it in some of the group."""
    before = [(weight, parts) for weight, parts in group if parts]
    if not before:
        return _jsgf(last)
    shared = _shared(before)
    if len(before) < len(group):
        return f"[{shared}] {_jsgf(last)}"
    return f"({shared}) {_jsgf(last)}" if " | " in shared else f"{shared} {_jsgf(last)}"


def _jsgf(node: Node) -> str:
    if isinstance(node, Word):
        return node.text
    if isinstance(node, Slot):
        return f"<{node.vocabulary}>"
    if isinstance(node, Sequence):
        return " ".join(filter(None, (_jsgf(part) for part in node.parts)))
    spoken = [part for option in node.options if (part := _jsgf(option))]
    if len(spoken) < len(node.options):
        return f"[{_joined(spoken)}]" if spoken else ""
    return f"({_joined(spoken)})" if len(spoken) > 1 else spoken[0]


def _joined(options: Iterable[str]) -> str:
    return " | ".join(options)


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name) or "profile"
