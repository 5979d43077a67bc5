"""What screens are told: every field shown exists, nothing sealed slips out, no forged cursor does harm."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.screen_fold import CallFold
from ingest.screen_words import SHOWN, BadPosition, as_json, cursor_text, fact, in_plain, parse_cursor
from schema.private import Sealed
from schema.registry import EVENTS
from tests.support.events import CALL, Tape, a_whole_call, an_event

SECRET = Sealed(key="key", sealed="c2VjcmV0")
# Nobody outside has a use for these, and some tell how the house is built.
INSIDE = {"prior", "role", "source", "sequence", "trace", "cause", "made_by", "mailbox", "media_end", "prompt_hash"}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_fact_shown_is_json_with_its_fields(name: str) -> None:
    told = fact(an_event(name), 5, "notes")
    assert told is not None
    parsed = json.loads(as_json(told))
    assert (parsed["type"], parsed["call_id"], parsed["timestamp"]) == (name, CALL, 5)
    assert set(SHOWN[name]) <= {field.replace("from", "from_") for field in parsed} | set(parsed)
    assert INSIDE.isdisjoint(parsed)


def test_only_known_facts_are_shown() -> None:
    assert set(SHOWN) <= set(EVENTS)
    assert all(fact(an_event(name), 0, "") is None for name in set(EVENTS) - set(SHOWN))


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_no_sealed_value_is_shown(name: str) -> None:
    event = an_event(name)
    fields = {field: SECRET for field in SHOWN[name] if isinstance(getattr(event, field), str)}
    told = fact(msgspec.structs.replace(event, **fields), 0, "")
    assert told is not None and "c2VjcmV0" not in as_json(told)
    assert set(told.get("sealed", ())) == {field.rstrip("_") for field in fields}


def test_sealed_values_are_found_however_deep_they_lie() -> None:
    sealed: list[str] = []
    assert in_plain({"a": (SECRET, [SECRET, 1])}, sealed, "arguments") == {"a": [None, [None, 1]]}
    assert sealed == ["arguments"]


def test_an_imported_fact_keeps_its_own_time() -> None:
    told = fact(an_event("call.ended", was_at=3), 9, "")
    assert told is not None and told["timestamp"] == 3


cursors = st.dictionaries(st.integers(0, 255), st.integers(0, 10**18 - 1), min_size=1, max_size=30)


@given(cursors)
def test_a_cursor_is_read_back_as_it_was_given(cursor: dict[int, int]) -> None:
    assert parse_cursor(cursor_text(cursor)) == cursor


@given(st.text() | st.integers() | st.none() | st.from_regex(r"[0-9._]{0,40}", fullmatch=True))
def test_anything_else_is_no_cursor(text: Any) -> None:
    try:
        found = parse_cursor(text)
    except BadPosition:
        return
    assert all(0 <= partition <= 9_999 and position < 10**18 for partition, position in found.items())


def test_a_fold_is_the_same_whenever_it_is_looked_at() -> None:
    tape = a_whole_call()
    fold = CallFold(CALL, lambda _tenant, _user: True)
    for record in tape.records:
        from schema.registry import decode

        fold.take(decode(record.value), record.at)
        if fold.is_visible:
            assert fold.snapshot() == fold.snapshot()
    assert not fold.is_live


def test_nothing_repeated_is_shown_again() -> None:
    tape = Tape()
    fold = CallFold(CALL, lambda _tenant, _user: True)
    events = [tape.say("call.started"), tape.say("transcript.settled"), tape.say("call.ended")]
    assert [fold.take(event, 0) is not None for event in [*events, *events]] == [True] * 3 + [False] * 3


def test_later_findings_replace_earlier_ones() -> None:
    tape = Tape()
    fold = CallFold(CALL, lambda _tenant, _user: True)
    for name, changes in (
        ("call.started", {}),
        ("call.summarised", {"revision": 1, "summary": "first"}),
        ("action.found", {"revision": 1, "title": "old"}),
        ("call.summarised", {"revision": 2, "summary": "second"}),
        ("action.found", {"revision": 2, "title": "new"}),
    ):
        fold.take(tape.say(name, **changes), 0)
    told = fold.snapshot()
    assert told["summary"]["summary"] == "second"
    assert [action["title"] for action in told["actions"]] == ["new"]


def test_a_snapshot_has_the_last_lines_and_counts_the_others() -> None:
    tape = Tape()
    fold = CallFold(CALL, lambda _tenant, _user: True)
    fold.take(tape.say("call.started", history=()), 0)
    for number in range(30):
        fold.take(tape.say("transcript.settled", text=str(number)), 0)
    told = fold.snapshot(lines=20)
    assert [line["text"] for line in told["transcript"]] == [str(number) for number in range(10, 30)]
    assert told["earlier_lines"] == 10
