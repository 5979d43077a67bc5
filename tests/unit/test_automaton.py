"""The compiled grammar accepts the sentences the grammar says, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engines.automaton import GrammarError, compile_jsgf

Node = tuple[str, frozenset[str]]  # JSGF, and every sentence it stands for
LONGEST = 40  # sentences of one part; more make enumeration slow and prove nothing new


def _joined(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    return frozenset(f"{a} {b}".strip() for a in left for b in right)


def _wider(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    pairs = st.tuples(parts, parts)
    return st.one_of(
        pairs.map(lambda p: (f"{p[0][0]} {p[1][0]}", _joined(p[0][1], p[1][1]))),
        pairs.map(lambda p: (f"({p[0][0]} | {p[1][0]})", p[0][1] | p[1][1])),
        pairs.map(lambda p: (f"(/0.5/ {p[0][0]} | /2/ {p[1][0]})", p[0][1] | p[1][1])),
        parts.map(lambda p: (f"[{p[0]}]", p[1] | {""})),
    ).filter(lambda node: len(node[1]) <= LONGEST)


WORD = st.sampled_from("abc").map(lambda word: (word, frozenset({word})))
PHRASES = st.recursive(WORD, _wider, max_leaves=8)


def _grammar(said: str, inner: str) -> str:
    return f"#JSGF V1.0;\ngrammar g;\npublic <said> = {said} <inner>; // the rest\n<inner> = {inner};\n"


@given(PHRASES, PHRASES, st.lists(st.sampled_from("abc"), max_size=8))
def test_it_accepts_exactly_the_sentences_of_the_grammar(said: Node, inner: Node, other: list[str]) -> None:
    automaton = compile_jsgf(_grammar(said[0], inner[0]))
    sentences = _joined(said[1], inner[1])
    assert all(automaton.accepts(sentence) for sentence in sentences)
    assert automaton.accepts(" ".join(other)) == (" ".join(other) in sentences)


@given(PHRASES, PHRASES)
def test_every_path_to_an_end_is_a_sentence(said: Node, inner: Node) -> None:
    automaton = compile_jsgf(_grammar(said[0], inner[0]))
    following: dict[int, list[tuple[str, int]]] = {}
    for source, word, target in automaton.arcs:
        following.setdefault(source, []).append((word, target))

    def ends(state: int) -> frozenset[str]:
        here = frozenset({""}) if state in automaton.finals else frozenset()
        return here.union(*(_joined(frozenset({w}), ends(to)) for w, to in following.get(state, ())))

    assert ends(0) == _joined(said[1], inner[1])


def test_common_endings_are_one_state() -> None:
    automaton = compile_jsgf("#JSGF V1.0; grammar g; public <s> = (a b | c b | a d | c d);")
    assert (automaton.states, len(automaton.arcs)) == (3, 4)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("public <s> = a <t>;", "uses <t> and does not define it"),
        ("public <s> = a <s>;", "<s> contains itself"),
        ("public <s> = (a | b;", "is not closed"),
        ("public <s> = a*;", "is not supported"),
        ("public <s> = a ) b;", "unexpected"),
        ("<s> = a;", "no public rule"),
        ("public s = a;", "expected `<name> = words`"),
    ],
)
def test_what_is_no_grammar_is_refused_with_its_reason(rules: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message.replace("*", r"\*")):
        compile_jsgf(f"#JSGF V1.0; grammar g; {rules}")
