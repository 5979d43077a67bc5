"""Moments as people say them, on Saturday, 21 November 2026, ten in the morning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers import patterns
from workers.due import resolve
from workers.grammar import Grammar
from workers.profiles import load_profile

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
GRAMMAR = Grammar(load_profile("notes"))


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("tomorrow at nine", "2026-11-22T09:00"),
        ("tomorrow", "2026-11-22"),
        ("today at four", "2026-11-21T16:00"),
        ("at nine", "2026-11-22T09:00"),
        ("at eleven", "2026-11-21T11:00"),
        ("at three on friday", "2026-11-27T15:00"),
        ("tomorrow at nine thirty p m", "2026-11-22T21:30"),
        ("at twelve a m", "2026-11-22T00:00"),
        ("at half past two", "2026-11-21T14:30"),
        ("tomorrow at quarter to one", "2026-11-22T12:45"),
        ("at noon", "2026-11-21T12:00"),
        ("tomorrow at nine in the evening", "2026-11-22T21:00"),
        ("on saturday", "2026-11-28"),
        ("on monday", "2026-11-23"),
        ("next monday", "2026-11-23"),
        ("next sunday", "2026-11-29"),
        ("tonight", "2026-11-21T20:00"),
        ("tomorrow morning", "2026-11-22T09:00"),
        ("tomorrow morning at eight", "2026-11-22T08:00"),
        ("in the morning", "2026-11-22T09:00"),
        ("in twenty minutes", "2026-11-21T10:20"),
        ("in forty five minutes", "2026-11-21T10:45"),
        ("in half an hour", "2026-11-21T10:30"),
        ("in an hour", "2026-11-21T11:00"),
        ("in three days", "2026-11-24"),
        ("in a week", "2026-11-28"),
        ("in a month", "2026-12-21"),
        ("next week", "2026-11-23"),
        ("next month", "2026-12-01"),
        ("the day after tomorrow at ten", "2026-11-23T10:00"),
        ("on december third", "2026-12-03"),
        ("on the thirty first", "2026-12-31"),
        ("on february twenty ninth", "2028-02-29"),
        ("on february thirtieth", ""),
        ("tomorrow at seven oh five", "2026-11-22T07:05"),
        ("some day", ""),
        ("", ""),
    ],
)
def test_a_moment_is_resolved_against_the_calls_beginning(said: str, moment: str) -> None:
    assert resolve(said, NOW) == moment


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3000))
def test_whatever_the_profile_can_hear_as_a_moment_is_one_from_today_on(seed: int, days: int) -> None:
    words = " ".join(patterns.sample(patterns.Slot("when", "when"), GRAMMAR.vocabularies, Random(seed).randrange))
    if "february thirt" in words or any(
        f"{m} thirty first" in words for m in ("april", "june", "september", "november")
    ):
        return
    now = NOW + timedelta(days=days)
    moment = resolve(words, now)
    assert moment, words
    assert datetime.fromisoformat(moment).date() >= now.date()


@given(st.text())
def test_no_words_break_it(said: str) -> None:
    resolve(said, NOW)
