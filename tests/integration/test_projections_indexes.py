"""The questions that are asked of many calls are answered from an index: seen in PostgreSQL's own plans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, text

from projections import finding
from projections.errors import AmbiguousCall
from projections.finding import CallFilter
from projections.reading import read_details
from projections.tables import actions, calls, failures, lines, replies, streams, texts
from tests.support.databases import Database, opened
from tests.support.events import BEGAN_AT
from tests.support.postgres import Databases

MANY = 3_000
DAY_MS = 86_400_000
GUIDE = Path(__file__).parent.parent.parent / "docs" / "operating" / "postgres.md"


@pytest.fixture(scope="module")
def full(postgres: Databases) -> Iterator[Database]:
    """Three thousand calls of two hundred tenants, with two lines each."""
    with postgres.fresh() as url, opened(url) as database:
        database.write(_fill)
        yield database


def _fill(connection: Connection) -> None:
    connection.execute(insert(calls), [_call(number) for number in range(MANY)])
    connection.execute(insert(lines), [_line(number) for number in range(2 * MANY)])
    connection.execute(insert(texts), [_text(number) for number in range(2 * MANY)])
    connection.execute(insert(replies), [_reply(number) for number in range(MANY)])
    connection.execute(insert(actions), [_action(number) for number in range(MANY)])
    connection.execute(insert(streams), [_stream(number) for number in range(MANY)])
    connection.execute(insert(failures), [_failure(number) for number in range(MANY)])
    connection.execute(text("ANALYZE"))


def _call(number: int) -> dict[str, Any]:
    ended = None if number % 300 == 0 else BEGAN_AT + number * 1_000 + 500
    return {
        "life": f"life-{number}",
        "call_id": f"CA{number:05}",
        "tenant_id": f"tenant-{number % 200}",
        "user_id": f"user-{number % 500}",
        "channel": f"channel-{number % 25}",
        "agent": f"agent-{number % 30}",
        "from_number": f"+1555{number % 700:07}",
        "to_number": f"+1444{number % 600:07}",
        "partition": number % 24,
        "position": number,
        "started_at": BEGAN_AT + number * 1_000,
        "ended_at": ended,
    }


def _line(number: int) -> dict[str, Any]:
    whose = {"id": f"line-{number}", "life": f"life-{number // 2}", "position": number, "kind": "speech"}
    return {**whose, "speaker": "caller", "text": f"word{number}", "said_ms": number}


def _text(number: int) -> dict[str, Any]:
    whose = {"number": number, "life": f"life-{number // 2}", "source": "line", "source_id": f"line-{number}"}
    return {**whose, "words": f"word{number} and common words"}


def _reply(number: int) -> dict[str, Any]:
    whose = {"id": f"reply-{number}", "life": f"life-{number}", "position": number, "agent": f"agent-{number % 30}"}
    return {**whose, "started_ms": 0, "why": "turn", "first_audio": 100 + number % 50, "heard": 900}


def _action(number: int) -> dict[str, Any]:
    due = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T09:00:00Z"
    whose = {"id": f"action-{number}", "life": f"life-{number}", "position": number, "revision": 1, "number": 0}
    return {**whose, "title": "Call back", "due": due, "cites": [], "done": number % 10 != 0}


def _stream(number: int) -> dict[str, Any]:
    whose = {"life": f"life-{number}", "stream": f"stream-{number}", "position": number}
    return {**whose, "epoch": 1, "opened_at": BEGAN_AT, "opened_ms": 0}


def _failure(number: int) -> dict[str, Any]:
    stage = "projection" if number % 500 == 0 else "stt"
    return {"partition": 0, "position": number, "at": BEGAN_AT + number, "stage": stage}


def plans(database: Database, ask: Any) -> str:
    """How PostgreSQL answers each statement of the question, for the values that were given."""

    def explained(connection: Connection) -> str:
        # Three thousand rows are few: reading them all is cheap. What is asked is whether it would have to be.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        asked: list[tuple[Any, ...]] = []
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given))
        ask(connection)
        found = []
        for _, _, statement, values, _, _ in tuple(asked):
            rows = connection.exec_driver_sql(f"EXPLAIN {statement}", values)
            found += [row[0] for row in rows]
        return "\n".join(found)

    return database.write(explained)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (CallFilter(), "ix_calls_started_at_life"),
        (CallFilter(since=BEGAN_AT + 2_990_000), "ix_calls_started_at_life"),
        (CallFilter(tenant_id="tenant-3"), "ix_calls_tenant_id_"),
        (CallFilter(tenant_id="tenant-3", since=BEGAN_AT + 2_900_000), "ix_calls_tenant_id_started_at_life"),
        (CallFilter(tenant_id="tenant-3", user_id="user-3"), "ix_calls_tenant_id_user_id_started_at_life"),
        (CallFilter(channel="channel-3"), "ix_calls_channel_started_at_life"),
        (CallFilter(agent="agent-3"), "ix_calls_agent_started_at_life"),
        (CallFilter(number="+15550000003"), "ix_calls_from_number_started_at_life"),
        (CallFilter(number="+15550000003"), "ix_calls_to_number_started_at_life"),
        (CallFilter(live=True), "ix_calls_live"),
        (CallFilter(text="word77"), "ix_texts_vector"),
        (CallFilter(text='"word77 and" com*'), "ix_texts_vector"),
    ],
)
def test_lists_of_calls_are_read_from_an_index(full: Database, wanted: CallFilter, index: str) -> None:
    plan = plans(full, lambda connection: finding.list_calls(connection, wanted, limit=50, cursor=""))

    assert index in plan
    assert "Seq Scan" not in plan


def test_the_next_page_begins_in_the_index(full: Database) -> None:
    cursor = f"{BEGAN_AT + 1_500_000}.life-1500"
    plan = plans(full, lambda connection: finding.list_calls(connection, CallFilter(), limit=50, cursor=cursor))

    assert re.search(r"Index Scan Backward using ix_calls_started_at_life.*\n +Index Cond: \(ROW\(", plan)
    assert "Sort" not in plan


@pytest.mark.parametrize("beginning", ["CA00077", "CA0007"])
def test_a_call_is_found_by_a_range_of_the_index(full: Database, beginning: str) -> None:
    def ask(connection: Connection) -> None:
        with pytest.raises(AmbiguousCall) if len(beginning) < 7 else nullcontext():
            finding.find_call(connection, beginning)

    plan = plans(full, ask)
    assert "ix_calls_call_id_position" in plan
    assert "Seq Scan" not in plan


def test_everything_of_one_call_is_read_from_indexes(full: Database) -> None:
    def ask(connection: Connection) -> None:
        read_details(connection, finding.find_call(connection, "CA00077"))

    plan = plans(full, ask)
    for index in ("ix_transcript_lines_life", "ix_replies_life", "ix_action_items_life", "pk_streams"):
        assert index in plan
    assert "pk_stream_measurements" in plan
    assert "Seq Scan" not in plan


def test_records_that_could_not_be_applied_are_read_from_an_index(full: Database) -> None:
    plan = plans(full, lambda connection: finding.unapplied(connection, limit=5))

    assert "ix_failures_stage_at_position" in plan


def test_the_guides_questions_are_answered_and_the_open_actions_from_an_index(full: Database) -> None:
    questions = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    asked = [each for each in questions if each.lstrip().upper().startswith(("SELECT", "WITH"))]
    assert len(asked) >= 3

    def ask(connection: Connection) -> list[int]:
        return [len(connection.exec_driver_sql(each).all()) for each in asked]

    def explain(connection: Connection) -> str:
        (question,) = [each for each in asked if "action_items" in each]
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {question}"))

    assert all(full.write(ask))
    assert "ix_action_items_done_due" in full.write(explain)
