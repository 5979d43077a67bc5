"""Compiles a JSGF grammar into the smallest automaton that accepts the same sentences.

A recogniser expands every use of a rule anew and joins the copies with null transitions; for a grammar of some
hundred words that is tens of thousands of states, and decoding takes as long as the speech. The minimal
deterministic automaton of the same grammar has hundreds. Weights are dropped: an automaton has one path a sentence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

TOKEN = re.compile(r"/[\d.]+/|<[^>]+>|[()\[\]|;=*+]|[^\s()\[\]|;=*+<>]+")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\{[^}]*\}", re.DOTALL)
HEADER = re.compile(r"#JSGF[^;]*;|\bgrammar\s[^;]*;", re.DOTALL)


class GrammarError(ValueError):
    """Not a grammar this compiler understands; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """Deterministic and minimal. State 0 begins; `arcs` are (from, word, to)."""

    states: int
    arcs: tuple[tuple[int, str, int], ...]
    finals: frozenset[int]

    def accepts(self, text: str) -> bool:
        """Whether the words are a sentence of the grammar."""
        table = {(source, word): target for source, word, target in self.arcs}
        state = 0
        for word in text.split():
            following = table.get((state, word))
            if following is None:
                return False
            state = following
        return state in self.finals


class _Builder:
    """A non-deterministic automaton with null transitions, from a recursive descent over the tokens."""

    def __init__(self, rules: dict[str, list[str]]) -> None:
        self._rules = rules
        self._open: list[str] = []
        self.nulls: dict[int, set[int]] = defaultdict(set)
        self.words: dict[int, list[tuple[str, int]]] = defaultdict(list)
        self.count = 0

    def state(self) -> int:
        self.count += 1
        return self.count - 1

    def rule(self, name: str, source: int) -> int:
        """The rule's sentences from `source` on; returns the state they end in."""
        if name not in self._rules:
            raise GrammarError(f"the grammar uses <{name}> and does not define it")
        if name in self._open:
            raise GrammarError(f"<{name}> contains itself: recursion is no finite grammar")
        self._open.append(name)
        end, rest = self._choice(self._rules[name], 0, source)
        if rest != len(self._rules[name]):
            raise GrammarError(f"<{name}>: unexpected {self._rules[name][rest]!r}")
        self._open.pop()
        return end

    def _choice(self, tokens: list[str], at: int, source: int) -> tuple[int, int]:
        end = self.state()
        while True:
            begin = self.state()
            self.nulls[source].add(begin)
            last, at = self._sequence(tokens, at, begin)
            self.nulls[last].add(end)
            if at >= len(tokens) or tokens[at] != "|":
                return end, at
            at += 1

    def _sequence(self, tokens: list[str], at: int, source: int) -> tuple[int, int]:
        while at < len(tokens) and tokens[at] not in "|)]":
            source, at = self._part(tokens, at, source)
        return source, at

    def _part(self, tokens: list[str], at: int, source: int) -> tuple[int, int]:
        token = tokens[at]
        if token in "([":
            begin = self.state()
            self.nulls[source].add(begin)
            end, at = self._choice(tokens, at + 1, begin)
            if at >= len(tokens) or tokens[at] != {"(": ")", "[": "]"}[token]:
                raise GrammarError(f"{token} is not closed")
            if token == "[":
                self.nulls[begin].add(end)
            return end, at + 1
        if token.startswith("<"):
            return self.rule(token[1:-1], source), at + 1
        if token.startswith("/"):
            return source, at + 1
        if token in "*+=":
            raise GrammarError(f"{token} is not supported: spell the repetition out")
        end = self.state()
        self.words[source].append((token, end))
        return end, at + 1


def compile_jsgf(text: str) -> Automaton:
    """The minimal automaton of the grammar's public rule. Raises GrammarError."""
    rules, public = _rules(text)
    builder = _Builder(rules)
    start = builder.state()
    end = builder.rule(public, start)
    return _minimal(*_determined(builder, start, end))


def _rules(text: str) -> tuple[dict[str, list[str]], str]:
    body = HEADER.sub(" ", COMMENT.sub(" ", text))
    rules: dict[str, list[str]] = {}
    public = ""
    for definition in filter(str.strip, body.split(";")):
        tokens = TOKEN.findall(definition)
        is_public = tokens[0] == "public"
        tokens = tokens[is_public:]
        if len(tokens) < 3 or not tokens[0].startswith("<") or tokens[1] != "=":
            raise GrammarError(f"expected `<name> = words`, not {definition.strip()[:60]!r}")
        rules[tokens[0][1:-1]] = tokens[2:]
        public = tokens[0][1:-1] if is_public and not public else public
    if not public:
        raise GrammarError("the grammar has no public rule")
    return rules, public


def _determined(builder: _Builder, start: int, end: int) -> tuple[list[dict[str, int]], set[int]]:
    """Subset construction: each new state is a set of old ones."""
    closures: dict[int, frozenset[int]] = {}

    def closure(state: int) -> frozenset[int]:
        if state not in closures:
            seen, waiting = {state}, [state]
            while waiting:
                for following in builder.nulls.get(waiting.pop(), ()):
                    if following not in seen:
                        seen.add(following)
                        waiting.append(following)
            # Only states with words, and the end, tell two sets apart.
            closures[state] = frozenset(s for s in seen if s in builder.words or s == end)
        return closures[state]

    first = closure(start)
    numbers, order, table = {first: 0}, [first], []
    for subset in order:
        targets: dict[str, set[int]] = defaultdict(set)
        for state in subset:
            for word, target in builder.words.get(state, ()):
                targets[word] |= closure(target)
        row: dict[str, int] = {}
        for word, found in targets.items():
            key = frozenset(found)
            if key not in numbers:
                numbers[key] = len(order)
                order.append(key)
            row[word] = numbers[key]
        table.append(row)
    return table, {number for subset, number in numbers.items() if end in subset}


def _minimal(table: list[dict[str, int]], finals: set[int]) -> Automaton:
    """Moore's refinement: states stay together while no word tells them apart."""
    block = [int(state in finals) for state in range(len(table))]
    count = 0
    while True:
        signatures: dict[tuple[int, tuple[tuple[str, int], ...]], int] = {}
        refined = [
            signatures.setdefault(
                (block[state], tuple(sorted((word, block[target]) for word, target in row.items()))), len(signatures)
            )
            for state, row in enumerate(table)
        ]
        block = refined
        if len(signatures) == count:
            break
        count = len(signatures)
    arcs = {(block[state], word, block[target]) for state, row in enumerate(table) for word, target in row.items()}
    # Signatures are numbered as they are met, and state 0 is met first.
    return Automaton(count, tuple(sorted(arcs)), frozenset(block[state] for state in finals))
