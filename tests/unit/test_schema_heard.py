"""A sentence is cut to the words that were really heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.heard import heard_words, presumed_duration_ms

TEXTS = st.text(alphabet="ab ,.é", max_size=40)
LENGTHS = st.integers(0, 20_000)


@pytest.mark.parametrize(
    ("heard_ms", "heard"),
    [
        (0, ""),
        (199, ""),
        (200, "Ab"),
        (499, "Ab"),
        (500, "Ab cd"),
        (959, "Ab cd"),  # the full stop belongs to its word
        (960, "Ab cd efg."),  # within the tolerance of its end
        (1_000, "Ab cd efg."),
        (5_000, "Ab cd efg."),
    ],
)
def test_a_word_counts_only_when_wholly_heard(heard_ms: int, heard: str) -> None:
    assert heard_words("Ab cd efg.", 1_000, heard_ms) == heard


@given(TEXTS, LENGTHS, LENGTHS)
def test_what_was_heard_begins_the_sentence_and_ends_at_a_word(text: str, duration_ms: int, heard_ms: int) -> None:
    heard = heard_words(text, duration_ms, heard_ms)

    assert text == heard or heard.split() == text.split()[: len(heard.split())]


@given(TEXTS, LENGTHS, LENGTHS, LENGTHS)
def test_hearing_longer_never_hears_less(text: str, duration_ms: int, one_ms: int, other_ms: int) -> None:
    shorter, longer = sorted((one_ms, other_ms))

    assert len(heard_words(text, duration_ms, shorter)) <= len(heard_words(text, duration_ms, longer))


@given(TEXTS, LENGTHS)
def test_nothing_played_is_nothing_heard(text: str, duration_ms: int) -> None:
    assert heard_words(text, duration_ms, 0) == ""


def test_a_sentence_never_measured_is_presumed_to_be_spoken_at_a_common_pace() -> None:
    assert presumed_duration_ms("I will remind you to call the dentist.") == 2_660


def test_a_voice_that_broke_off_was_not_heard_to_the_end() -> None:
    text = "I will remind you to call the dentist."

    assert heard_words(text, 0, 600) == heard_words(text, presumed_duration_ms(text), 600) == "I will"
