"""What can be asked of the read models."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from projections.applying import Tables
from projections.as_of import as_of
from projections.database import open_database
from projections.errors import AmbiguousCall, NoSuchCall
from projections.finding import CallFilter
from projections.queries import (
    call_details,
    call_state,
    find_call,
    first_position,
    list_calls,
    oldest_live,
    unapplied,
)
from projections.results import CallState
from projections.show import calls_json, moment, show_json
from tests.support.databases import Database, opened
from tests.support.events import BEGAN_AT, Tape, a_whole_call, an_exchange


@pytest.fixture
async def engine(migrated_url: str) -> AsyncIterator[AsyncEngine]:
    """Three calls: CA1 and CA12 are over, XB3 is live."""
    tape = a_whole_call("CA12", tape=a_whole_call("CA1"))
    tape.call_id = "XB3"
    tape.say("call.started", channel="mobile", agent="billing", from_="+15559990000", user_id="user-2", tenant_id="t2")
    tape.say("stream.opened", user_id="user-2")
    an_exchange(tape, "a QUESTION of money", "Yes?")
    engine = open_database(migrated_url)
    await Tables(engine).apply(tape.records, {})
    yield engine
    await engine.dispose()


async def test_calls_are_listed_newest_first_and_page_by_page(engine: AsyncEngine) -> None:
    first = await list_calls(engine, limit=2)
    second = await list_calls(engine, limit=2, cursor=first.cursor)

    assert [call.call_id for call in first.calls] == ["XB3", "CA12"]
    assert [call.call_id for call in second.calls] == ["CA1"]
    assert second.cursor == ""


async def test_a_cursor_from_nowhere_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        await list_calls(engine, cursor="yesterday")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (CallFilter(channel="mobile"), ["XB3"]),
        (CallFilter(agent="notes"), ["CA12", "CA1"]),
        (CallFilter(number="+15559990000"), ["XB3"]),
        (CallFilter(number="+15550100002", user_id="user-1"), ["CA12", "CA1"]),
        (CallFilter(tenant_id="t2"), ["XB3"]),
        (CallFilter(text="question OF"), ["XB3"]),
        (CallFilter(text='"of money"'), ["XB3"]),
        (CallFilter(text='"money of"'), []),
        (CallFilter(text="dent*"), ["CA12", "CA1"]),
        (CallFilter(text="dentist reminded"), ["CA12", "CA1"]),  # of the summary
        (CallFilter(text="dent"), []),
        (CallFilter(text="100%"), []),
        (CallFilter(text="dentist", tenant_id="t2"), []),
        (CallFilter(live=True), ["XB3"]),
        (CallFilter(until=BEGAN_AT + 1), ["CA1"]),
        (CallFilter(since=BEGAN_AT + 1, channel="twilio"), ["CA12"]),
    ],
)
async def test_a_filter_narrows_the_list(engine: AsyncEngine, wanted: CallFilter, found: list[str]) -> None:
    assert [call.call_id for call in (await list_calls(engine, wanted)).calls] == found


async def test_a_call_is_found_by_an_unambiguous_beginning(engine: AsyncEngine) -> None:
    assert (await find_call(engine, "X")).call_id == "XB3"
    assert (await find_call(engine, "CA1")).call_id == "CA1"  # a whole id wins over a longer one


async def test_an_ambiguous_beginning_names_its_candidates(engine: AsyncEngine) -> None:
    with pytest.raises(AmbiguousCall, match="CA1, CA12") as refused:
        await find_call(engine, "CA")
    assert refused.value.candidates == ("CA1", "CA12")


@pytest.mark.parametrize("beginning", ["", "xb3", "CA2", "%", "CA1_"])
async def test_a_call_that_is_not_there_is_said_so(engine: AsyncEngine, beginning: str) -> None:
    with pytest.raises(NoSuchCall):
        await find_call(engine, beginning)


async def test_another_tenants_call_is_not_there(engine: AsyncEngine) -> None:
    with pytest.raises(NoSuchCall):
        await call_details(engine, "XB3", tenant_id="default")


async def test_a_call_lives_has_ended_or_is_unknown(engine: AsyncEngine) -> None:
    asked = [await call_state(engine, call_id) for call_id in ("XB3", "CA1", "CA")]

    assert asked == [CallState.LIVE, CallState.ENDED, CallState.UNKNOWN]


async def test_a_list_is_one_statement_and_details_are_the_same_few_however_much_there_is(engine: AsyncEngine) -> None:
    asked: list[str] = []

    def remember(*given: Any) -> None:
        if given[2] != "BEGIN":  # which is a statement in one of them
            asked.append(given[2])

    event.listen(engine.sync_engine, "before_cursor_execute", remember)
    await list_calls(engine, CallFilter(text="question", tenant_id="t2"))
    assert len(asked) == 1
    asked.clear()
    await call_details(engine, "CA1")
    short = len(asked)
    assert short <= 12
    tape = Tape("Long", partition=1, numbers=5_000)
    tape.say("call.started")
    for _ in range(30):
        an_exchange(tape, "again", "and again.")
    for number in range(100):
        tape.say("call.started", call_id=f"many-{number}")
    await Tables(engine).apply(tape.records, {})
    asked.clear()

    assert len((await list_calls(engine, limit=1_000)).calls) == 104
    assert len(asked) == 1
    asked.clear()
    assert len((await call_details(engine, "Long")).turns) == 30
    assert len(asked) <= short


async def test_showing_a_call_has_the_keys_that_people_rely_on(engine: AsyncEngine) -> None:
    shown = json.loads(json.dumps(show_json(await call_details(engine, "CA1"))))

    assert shown["call_id"] == "CA1"
    assert shown["turns"][0] == {
        "heard": "remind me to call the dentist",
        "reply": "I will remind you to call the dentist tomorrow.",
        "reply_heard": "I will remind",
        "interrupted": True,
        "latency_ms": {
            "endpoint": 300,
            "stt": 120,
            "agent": 4,
            "tts": 35,
            "first_audio": 350,
            "heard": 1800,
            "barge_in": 12,
        },
        "engines": {
            "stt": {"engine": "pocketsphinx", "model": "notes"},
            "agent": {"engine": "rules", "model": "notes"},
            "tts": {"engine": "espeak", "model": "en-us"},
        },
    }
    assert [(line["speaker"], line["text"]) for line in shown["transcript"]] == [
        ("agent", "Hello, what can I do for you?"),
        ("caller", "remind me to call the dentist"),
        ("agent", "I will remind"),
        ("caller", "goodbye"),
        ("agent", "Goodbye."),
    ]
    assert set(shown["transcript"][0]) >= {"id", "speaker", "text", "start_ms", "end_ms"}
    assert shown["key_points"][0]["text"] == "call the dentist"
    assert set(shown["actions"][0]) == {"title", "kind", "due", "cites"}
    assert (shown["recording"], shown["events"]) == ("default/CA1.wav", 46)
    assert shown["started_at"] == "2026-02-02T02:40:00.000Z"


async def test_the_list_of_calls_has_the_keys_that_people_rely_on(engine: AsyncEngine) -> None:
    keys = ["call_id", "channel", "from", "to", "agent", "started_at", "ended_at", "reason", "turns"]

    assert [list(call) for call in calls_json((await list_calls(engine)).calls)] == [keys] * 3


async def test_speech_without_words_is_no_line(engine: AsyncEngine) -> None:
    tape = Tape()
    tape.say("call.started")
    tape.say("transcript.settled", text="")
    async with as_of(tape.records, 1) as then:
        assert (await call_details(then, tape.call_id)).lines == ()


async def test_a_call_stands_as_it_stood_at_that_position() -> None:
    tape = a_whole_call()
    cleared = next(each.position for each in tape.records if b"playback.cleared" in each.value)
    async with as_of(tape.records, cleared) as then:
        details = await call_details(then, tape.call_id)

        assert details.call.ended_at is None
        assert details.replies[-1].heard_text == "I will remind"
        assert (details.summary, details.call.events) == (None, cleared + 1)


async def test_a_later_revision_replaces_what_the_earlier_one_found() -> None:
    tape = a_whole_call()
    tape.say("call.summarised", revision=2, summary="Better.", key_points=())
    tape.say("action.found", revision=2, title="Buy milk")
    async with as_of(tape.records, len(tape.records)) as then:
        details = await call_details(then, tape.call_id)

        assert (details.summary and details.summary.summary, details.key_points) == ("Better.", ())
        assert [action.title for action in details.actions] == ["Buy milk"]


async def test_records_that_no_table_could_take_are_listed() -> None:
    tape = a_whole_call()
    tape.say("stream.opened", source="again")
    async with as_of(tape.records, len(tape.records)) as then:
        assert [failure.code for failure in await unapplied(then)] == ["Refused"]


def test_a_moment_is_said_in_utc() -> None:
    assert moment(1_770_000_000_001) == "2026-02-02T02:40:00.001Z"
    assert moment(None) is None


def meanwhile(database: Database, work: Callable[[Database], Any]) -> None:
    """Once, after the first statement of the next question, as another process would."""

    def done() -> None:
        with opened(database.url) as other:
            work(other)

    def after(*_given: Any) -> None:
        another = threading.Thread(target=done)
        another.start()
        another.join()

    event.listen(database.engine.sync_engine, "after_cursor_execute", after, once=True)


def begun_late() -> tuple[Tape, int]:
    """A call that is over, then one that goes on; where the second begins."""
    tape = a_whole_call("CA1")
    begins = len(tape.records)
    tape.call_id = "CA2"
    tape.say("call.started")
    an_exchange(tape, "hello", "Good day.")
    return tape, begins


def test_where_a_call_begins_is_known_and_of_another_from_where_on(database: Database) -> None:
    tape, begins = begun_late()
    database.apply(tape.records)

    assert database.run(lambda engine: first_position(engine, "CA2", 0)) == begins
    assert database.run(lambda engine: first_position(engine, "CA1", 0)) == 0
    assert database.run(lambda engine: first_position(engine, "CA3", 0)) == len(tape.records)
    assert database.run(lambda engine: first_position(engine, "CA3", 1)) == 0
    assert database.run(lambda engine: oldest_live(engine, 0)) == begins
    assert database.run(lambda engine: oldest_live(engine, 1)) == 0


def test_a_call_that_is_projected_while_one_asks_for_it_begins_nowhere_later(database: Database) -> None:
    tape, begins = begun_late()
    database.apply(tape.records[:begins])
    meanwhile(database, lambda other: other.apply(tape.records))

    assert database.run(lambda engine: first_position(engine, "CA2", 0)) <= begins
    assert database.run(lambda engine: first_position(engine, "CA3", 0)) == len(tape.records), "it was projected"


def test_a_live_call_that_is_projected_while_one_asks_for_the_oldest_is_not_missed(database: Database) -> None:
    tape, begins = begun_late()
    database.apply(tape.records[:begins])
    meanwhile(database, lambda other: other.apply(tape.records))

    assert database.run(lambda engine: oldest_live(engine, 0)) <= begins
    assert database.run(lambda engine: first_position(engine, "CA3", 0)) == len(tape.records), "it was projected"
