"""What the agent can hear and what it understands are the same sentences."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workers import patterns
from workers.grammar import Grammar, tokens
from workers.patterns import fill, number_words, parse
from workers.profiles import Intent, Numbers, Profile, load_profile

NOTES = load_profile("notes")
GRAMMAR = Grammar(NOTES)
SENTENCES = Path(__file__).parents[2] / "benchmarks" / "sentences"
# Sentences two intents share; the first in the profile takes them.
SIBLINGS = {("cancel", "cancel"), ("how_are_you", "greeting")}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_every_sentence_of_a_pattern_is_understood_as_its_own_intent(seed: int) -> None:
    pick = random.Random(seed)
    intent, nodes = pick.choice(GRAMMAR.intents)
    words = patterns.sample(pick.choice(nodes), GRAMMAR.vocabularies, pick.randrange)
    match = GRAMMAR.understand(" ".join(words))
    assert match is not None
    assert match.intent.name == intent.name or (intent.name, match.intent.name) in SIBLINGS


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_text_breaks_the_matcher(text: str) -> None:
    GRAMMAR.matches(text)


@pytest.mark.parametrize("text", ["", "   ", "...", "um", "uh um", "?!"])
def test_nothing_said_is_no_intent(text: str) -> None:
    assert GRAMMAR.understand(text) is None


def test_every_word_is_in_the_recognisers_dictionary() -> None:
    import pocketsphinx

    dictionary = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    known = {line.partition(" ")[0] for line in dictionary.read_text(encoding="utf-8").splitlines()}
    assert sorted(GRAMMAR.words() - known) == []
    assert len(GRAMMAR.words()) > 300


def test_the_recogniser_accepts_the_grammar() -> None:
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=16000, lm=None, loglevel="FATAL")
    decoder.add_jsgf_string("notes", GRAMMAR.jsgf())
    decoder.activate_search("notes")


def test_common_endings_are_written_once() -> None:
    said = GRAMMAR.jsgf().split("public <said> =")[1].split(";")[0]
    assert said.count("<when>") <= 6


@pytest.mark.parametrize("name", ["tune", "held_out"])
def test_the_measured_sentences_are_inside_and_outside_as_they_say(name: str) -> None:
    body = yaml.safe_load((SENTENCES / f"{name}.yaml").read_text(encoding="utf-8"))
    for sentence in body["understood"]:
        match = GRAMMAR.understand(sentence["say"])
        assert match is not None, sentence["say"]
        assert (match.intent.name, dict(match.slots)) == (sentence["intent"], sentence.get("slots", {}))
    assert [say for say in body["outside"] if GRAMMAR.understand(say)] == []


def test_nothing_measured_was_tuned_on() -> None:
    tune, held_out = (
        yaml.safe_load((SENTENCES / f"{n}.yaml").read_text(encoding="utf-8")) for n in ("tune", "held_out")
    )
    said = {sentence["say"] for sentence in tune["understood"]} | set(tune["outside"])
    measured = {sentence["say"] for sentence in held_out["understood"]} | set(held_out["outside"])
    assert said & measured == set()
    assert len(held_out["understood"]) >= 40
    assert len(held_out["outside"]) == 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tomorrow at 9:30am.", "tomorrow at nine thirty a m"),
        ("at 9 p.m., please", "at nine p m please"),
        ("on the 21st", "on the twenty first"),
        ("To-do: e-mail Anna", "todo email anna"),
        ("The team; OK", "the team okay"),
        ("call 5551234", "call five five five one two three four"),
        ("I’m late", "i'm late"),
        ("at 7:05", "at seven oh five"),
    ],
)
def test_written_text_becomes_spoken_words(text: str, words: str) -> None:
    assert " ".join(tokens(text)) == words


def test_patterns_know_optional_alternatives_and_slots() -> None:
    profile = Profile(
        name="t",
        greeting="Hi.",
        vocabularies={"n": Numbers(1, 3), "who": ("anna", "my {n} friends")},
        intents=(Intent(name="see", kind="talk", patterns=("[please] (see|meet) {friend:who}",)),),
    )
    match = Grammar(profile).understand("Please meet my 3 friends")
    assert match is not None
    assert dict(match.slots) == {"friend": "my three friends"}
    assert Grammar(profile).understand("please meet my four friends") is None
    assert Grammar(profile).understand("please meet") is None


@pytest.mark.parametrize("text", ["(a", "a)", "[a", "{a", "{}", "a]", "{A b}", "5"])
def test_a_broken_pattern_is_refused(text: str) -> None:
    with pytest.raises(patterns.PatternError):
        parse(text)


def test_templates_leave_out_what_is_not_known() -> None:
    assert fill("A call[ with {who}][, {when}].", {"who": "anna"}) == "A call with anna."
    assert fill("[{a} and ]{b}!", {"b": "x"}) == "x!"


def test_numbers_are_written_out() -> None:
    assert [number_words(n) for n in (0, 7, 20, 42, 100, 305)] == [
        "zero", "seven", "twenty", "forty two", "one hundred", "three hundred five",
    ]  # fmt: skip
    assert [number_words(n, ordinal=True) for n in (1, 12, 20, 23)] == ["first", "twelfth", "twentieth", "twenty third"]
