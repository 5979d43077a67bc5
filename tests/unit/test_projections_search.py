"""Calls are found by the words that were said in them, in both databases alike."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete

from projections.finding import CallFilter
from projections.queries import list_calls, search_calls
from projections.rebuild import clear
from projections.tables import calls, texts
from projections.words import LONGEST_QUESTION, MOST_TERMS, Term, terms_of, words_of
from schema.private import Sealed
from tests.support.databases import Database
from tests.support.events import Tape, a_whole_call

SAID = {
    "german": "Größe 12, bitte! Das ist STRASSE-5.",
    "mail": "Write to anna.smith@example.com or see /usr/share and http://a.example/b?c=1",
    "not": "I don't know; it's half-past -5 or 3.14",
    "japanese": "明日、東京へ行きます",
    "hindi": "नमस्ते दुनिया",
    "accents": "Cafe\u0301 crème, naïve",
    "emoji": "Fine 👍🏽 thanks",
    "quotes": "she said \"drop table\" OR 'x' & (y | z) <-> !w :* NEAR NOT",
}


def said(database: Database, lines: dict[str, str]) -> None:
    """Each line in a call of its own."""
    tape = Tape()
    for call_id, text in lines.items():
        tape.call_id = call_id
        tape.say("call.started")
        tape.say("transcript.settled", text=text)
    database.write(clear)
    database.apply(tape.records)


def found(database: Database, question: str) -> set[str]:
    page = database.run(lambda engine: search_calls(engine, question))
    return {call.call_id for call in page.calls}


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("größe", {"german"}),
        ("GRÖSSE", set()),
        ("strasse 5", {"german"}),
        ('"12 bitte"', {"german"}),
        ('"bitte 12"', set()),
        ("gr*", {"german"}),
        ('"das ist str"*', {"german"}),
        ("smith example", {"mail"}),
        ("anna.smith@example.com", {"mail"}),
        ("usr/share", {"mail"}),
        ("share", {"mail"}),
        ("don't", {"not"}),
        ("3.14", {"not"}),
        ("half-past", {"not"}),
        ("past half", {"not"}),
        ("-5", {"not", "german"}),
        ("東京", {"japanese"}),
        ("京東", set()),
        ("東*", {"japanese"}),
        ("नमस्ते", {"hindi"}),
        ("café", {"accents"}),
        ("cafe", set()),
        ("naïve cre*", set()),
        ("naïve crè*", {"accents"}),
        ("👍", set()),
        ("thanks 👍", {"emoji"}),
        ("near", {"quotes"}),
        ("NOT NEAR", {"quotes"}),
        ("x OR y", {"quotes"}),
        ("größe smith", set()),  # not of one line
        ("", set()),
        ("   ", set()),
        ("*", set()),
        ('"', set()),
    ],
)
def test_words_phrases_and_beginnings_find_what_was_said(reused: Database, question: str, wanted: set[str]) -> None:
    said(reused, SAID)

    assert found(reused, question) == wanted


ODD = st.text(st.sampled_from("ab1é東न्\u0301'\"*:&|!()<->\\%_^{}-+.,@/# \t\x00\ud800\U0001f600") | st.characters())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD)
def test_no_question_is_an_error(reused: Database, question: str) -> None:
    assert isinstance(found(reused, question), set)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=40).filter(words_of))
def test_whatever_was_said_is_found_as_a_phrase(reused: Database, text: str) -> None:
    """In any script: both databases split it into the same words as the question."""
    said(reused, {"one": text.replace("\x00", " "), "other": "something else"})

    assert "one" in found(reused, f'"{text.replace(chr(34), " ")}"')


@settings(max_examples=100)
@given(ODD)
def test_a_question_is_terms_of_plain_words(question: str) -> None:
    for term in terms_of(question):
        assert term.words
        assert all(words_of(word) == word and not set(word) & set("'\"\\ *:&|!<>()") for word in term.words)


def test_terms() -> None:
    assert terms_of('don\'t "two  Words" begin* "and so o"* "open end') == (
        Term(("don", "t")),
        Term(("two", "words")),
        Term(("begin",), begins=True),
        Term(("and", "so", "o"), begins=True),
        Term(("open", "end")),
    )


def test_an_endless_question_is_cut(reused: Database) -> None:
    said(reused, {"many": " ".join(f"w{number}" for number in range(200))})

    assert found(reused, " ".join(f"w{number}" for number in range(150))) == {"many"}
    assert found(reused, '"' + " ".join(f"w{number}" for number in range(150)) + '"') == {"many"}
    assert found(reused, "x" * 100_000) == set()
    assert len(terms_of("a " * LONGEST_QUESTION)) == MOST_TERMS


def test_a_long_line_is_searched_whole(reused: Database) -> None:
    said(reused, {"long": " ".join(f"word{number}" for number in range(9_000)) + " needle"})

    assert found(reused, "needle word17") == {"long"}


def test_sealed_words_and_pressed_keys_are_not_searched(database: Database) -> None:
    tape = a_whole_call()
    sealed = Sealed(key="k1", sealed="d29yZHM=")
    tape.say("call.started")
    tape.say("transcript.settled", text=sealed)
    tape.say("reply.sentence", text=sealed)
    tape.say("dtmf.pressed", digit="5")
    tape.say("call.summarised", summary=sealed, revision=3)
    database.apply(tape.records)

    assert {row["life"] for row in database.rows(texts)} == {database.rows(calls)[0]["life"]}
    assert (
        found(database, "k1")
        == found(database, "sealed")
        == found(database, "d29yZHM*")
        == found(database, "5")
        == set()
    )


def test_the_latest_summary_is_searched_and_no_earlier_one(database: Database) -> None:
    tape = Tape()
    tape.say("call.started")
    tape.say("call.summarised", revision=2, summary="About apples.")
    tape.say("call.summarised", revision=1, summary="About pears.")  # an older one, told late
    database.apply(tape.records)
    assert (len(found(database, "apples")), len(found(database, "pears"))) == (1, 0)

    tape.say("call.summarised", revision=2, summary="About plums.")  # said again
    tape.say("call.summarised", revision=3, summary=Sealed(key="k1", sealed="eA=="))
    database.apply(tape.records)
    assert [len(found(database, word)) for word in ("apples", "pears", "plums")] == [0, 0, 0]


def test_the_index_follows_the_table(database: Database) -> None:
    tape = a_whole_call("CB", tape=a_whole_call("CA"))
    database.apply(tape.records)
    assert found(database, "dentist") == {"CA", "CB"}

    database.write(lambda connection: connection.execute(delete(calls).where(calls.c.call_id == "CA")))
    assert found(database, "dentist") == {"CB"}  # erased with its call

    database.write(lambda connection: connection.execute(texts.update().values(words="something else")))
    assert found(database, "dentist") == set()
    assert found(database, "something") == {"CB"}

    database.write(_check_index)
    database.rebuilt(tape.records)
    database.write(_check_index)
    assert found(database, "dentist") == {"CA", "CB"}


def _check_index(connection: Connection) -> None:
    """SQLite compares its index with the table, and raises when they differ."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO texts_index (texts_index, rank) VALUES ('integrity-check', 1)")


def test_found_calls_come_page_by_page_and_of_one_tenant(database: Database) -> None:
    tape = Tape()
    for number in range(7):
        tape.say("call.started", call_id=f"CA{number}", tenant_id="t1" if number % 2 else "t2", after_ms=number % 3)
        tape.say("transcript.settled", call_id=f"CA{number}", text="again and again")
    database.apply(tape.records)
    pages: list[list[str]] = []
    cursor = ""
    while cursor or not pages:
        page = database.run(partial(search_calls, text="again", tenant_id="t2", limit=2, cursor=cursor))
        pages.append([call.call_id for call in page.calls])
        cursor = page.cursor

    assert pages == [["CA6", "CA4"], ["CA2", "CA0"]]


def test_pages_are_whole_and_in_order_when_many_began_at_the_same_moment(database: Database) -> None:
    tape = Tape()
    for number in range(23):
        tape.say("call.started", call_id=f"CA{number}", after_ms=int(number % 5 == 0))
    database.apply(tape.records)
    seen: list[str] = []
    cursor = ""
    while cursor or not seen:
        page = database.run(partial(list_calls, wanted=CallFilter(), limit=4, cursor=cursor))
        seen += [call.call_id for call in page.calls]
        cursor = page.cursor

    assert seen == [f"CA{number}" for number in reversed(range(23))]
