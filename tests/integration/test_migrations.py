"""The migrations lead to the very tables the program works with, and back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from eventlog.port import Record
from migrations.run import current, current_of, downgrade_on, head, upgrade, upgrade_on
from projections.database import UnusableDatabase, open_database, sync_engine
from projections.errors import NewerDatabase, ProjectionUnavailable
from projections.finding import CallFilter
from projections.queries import list_calls
from projections.tables import METADATA
from schema.private import Sealed
from tests.support.databases import Database, Killed, opened
from tests.support.events import Tape, a_whole_call, an_exchange
from tests.support.postgres import LOCKED, PASSWORD, Databases, a_server


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    with opened(database_url) as database:
        yield database


def test_migrated_tables_are_those_the_program_works_with(empty: Database) -> None:
    def compared(connection: Connection) -> Any:
        options = {"compare_type": True, "include_object": _is_ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)

    empty.write(upgrade_on)
    assert empty.write(compared) == []


def _is_ours(item: Any, name: str | None, kind: str, *_: Any) -> bool:
    """The search's own index (and the tables SQLite keeps it in) are no part of the metadata: compared below."""
    return not (name or "").startswith("texts_index") and name not in ("vector", "ix_texts_vector")


def test_what_a_migration_makes_by_hand_is_what_create_all_makes(empty: Database) -> None:
    empty.write(upgrade_on)
    migrated = empty.write(_by_hand)
    empty.write(downgrade_on)
    empty.write(METADATA.create_all)

    assert len(migrated) >= 4
    assert empty.write(_by_hand) == migrated


def _by_hand(connection: Connection) -> list[Any]:
    """What alembic does not compare: the search, and the order of ids."""
    if connection.dialect.name == "sqlite":
        asked = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'texts_%' OR name = 'ix_calls_live'"
        return sorted(tuple(row) for row in connection.exec_driver_sql(asked))
    columns = (
        "SELECT table_name, column_name, data_type, collation_name, generation_expression FROM"
        " information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    indexes = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    found = [*connection.exec_driver_sql(columns), *connection.exec_driver_sql(indexes)]
    return sorted(tuple(map(str, row)) for row in found if "alembic" not in row[0])


def test_a_database_goes_back_to_nothing_and_up_again(empty: Database) -> None:
    empty.write(upgrade_on)
    empty.write(downgrade_on)
    assert empty.write(lambda connection: inspect(connection).get_table_names()) == ["alembic_version"]
    empty.write(upgrade_on)

    assert empty.write(current_of) == head()
    assert empty.apply(a_whole_call().records) == {0: 46}


def test_the_first_tables_are_brought_up_with_all_that_is_in_them(empty: Database) -> None:
    """As if the program of then had filled them: what it knew is put back as it was by the way down."""
    records = a_log()
    empty.write(upgrade_on)
    empty.apply(records[:150])
    wanted = empty.all_rows()
    empty.write(downgrade_on, "0001")
    assert empty.write(lambda connection: "texts" in inspect(connection).get_table_names()) is False
    empty.write(upgrade_on)

    assert empty.all_rows() == wanted
    assert wanted["texts"] != []
    empty.apply(records[150:])  # and the projector goes on
    gone_on = empty.all_rows()
    assert gone_on == empty.rebuilt(records)
    assert _found(empty, "dentist")


def _found(database: Database, words: str) -> int:
    page = database.run(lambda engine: list_calls(engine, CallFilter(text=words)))
    return len(page.calls)


def a_log() -> list[Record]:
    """Two partitions, sealed words, odd ones, a later summary, a call that still lives."""
    tape = a_whole_call("CA2", tape=a_whole_call("CA1"))
    tape.call_id = "CA1"
    tape.say("call.summarised", revision=2, summary="Something better.")
    tape.call_id = "CA3"
    tape.say("call.started")
    tape.say("stream.opened")
    tape.say("dtmf.pressed", digit="7")
    tape.say("transcript.settled", text=Sealed(key="k1", sealed="d29yZHM="))
    for said in ("Größe 東京", "don't", "...", "a/b-c@d.e"):
        an_exchange(tape, said, "Yes.")
    other = a_whole_call("CB1", tape=Tape("CB1", partition=3, numbers=90_000))
    return tape.records + other.records


def test_moments_and_documents_have_postgresqls_own_types(postgres: Databases) -> None:
    with postgres.fresh(migrated=False) as url, opened(url) as database:
        database.write(upgrade_on, "0001")
        old = "INSERT INTO admissions VALUES ('CA1', 'l', 1770000000001, false, 1, '{\"a\": \"b\"}', '{}', '[]')"
        database.write(lambda connection: connection.exec_driver_sql(old))
        database.write(upgrade_on)
        asked = "SELECT started_at, roles->>'a', pg_typeof(roles)::text FROM admissions"
        (row,) = database.write(lambda connection: list(connection.exec_driver_sql(asked)))

    assert tuple(row) == (datetime(2026, 2, 2, 2, 40, 0, 1_000, tzinfo=UTC), "b", "jsonb")


def test_a_migration_that_fails_halfway_leaves_nothing(empty: Database) -> None:
    def upgrade_and_die(connection: Connection) -> None:
        upgrade_on(connection)
        raise Killed

    with pytest.raises(Killed):
        empty.write(upgrade_and_die)
    assert empty.write(lambda connection: inspect(connection).get_table_names()) == []


async def test_a_fresh_database_says_so_until_it_is_migrated(database_url: str) -> None:
    assert await current(database_url) == ""
    await upgrade(database_url)
    await upgrade(database_url)  # harmless when repeated

    assert await current(database_url) == head()


async def test_a_database_of_a_later_version_is_left_as_it_is(database_url: str) -> None:
    await upgrade(database_url)
    await _order(database_url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(NewerDatabase, match=f"the database is at 9999, this program knows up to {head()}: upgrade"):
        await upgrade(database_url)
    assert await current(database_url) == "9999"


async def test_another_programs_tables_are_no_database_of_ours(database_url: str) -> None:
    await _order(database_url, "CREATE TABLE calls (name TEXT)")

    with pytest.raises(ProjectionUnavailable, match="not those of calltape: name another"):
        await upgrade(database_url)


@pytest.mark.parametrize("damage", [b"no database at all, but long enough to be looked at" * 100, None])
async def test_a_file_that_is_no_database_is_to_be_moved_away(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "calls.sqlite"
    if damage is None:
        await upgrade(f"sqlite:///{path}")
        whole = path.read_bytes()
        damage = whole[:4096] + b"\xff" * 8192 + whole[12288:]
    path.write_bytes(damage)

    with pytest.raises(ProjectionUnavailable, match="no database, or a damaged one: move it away"):
        await upgrade(f"sqlite:///{path}")


async def _order(url: str, statement: str) -> None:
    engine = open_database(url)
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


async def test_processes_that_start_together_migrate_one_after_the_other(database_url: str) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(upgrade(database_url))

    assert await current(database_url) == head()


async def test_an_unmigrated_database_is_unavailable_not_broken(database_url: str) -> None:
    engine = open_database(database_url)
    with pytest.raises(ProjectionUnavailable, match="migrated"):
        await list_calls(engine)
    await engine.dispose()


@pytest.mark.parametrize("url", ["mysql://host/calls", "no url", "postgresql+asyncpg"])
def test_another_database_is_refused_with_the_two_that_are_known(url: str) -> None:
    with pytest.raises(UnusableDatabase, match="sqlite"):
        open_database(url)


def test_no_id_is_the_databases_own(empty: Database) -> None:
    """Every id comes from the log."""
    empty.write(upgrade_on)

    def defaults(connection: Connection) -> list[Any]:
        found = inspect(connection)
        tables = [name for name in found.get_table_names() if name in METADATA.tables]
        return [column["default"] for name in tables for column in found.get_columns(name) if column["default"]]

    assert [each for each in empty.write(defaults) if not each.startswith("to_tsvector")] == []


@pytest.mark.parametrize(
    ("place", "fix"),
    [
        ("postgresql://nobody@127.0.0.1:1/calls", "nothing answers there"),
        ("postgresql+asyncpg://nobody@/calls?host=/no/such/folder", "nothing answers there"),
        ("nothere", "create it"),
        (f"{LOCKED}:wrong", "refuses the user or the password"),
    ],
)
async def test_a_database_that_cannot_be_used_is_a_sentence_that_says_what_to_do(place: str, fix: str) -> None:
    with a_server() as server:
        Databases(server.url()).order(f"CREATE ROLE {LOCKED} LOGIN PASSWORD '{PASSWORD}'")
        url = {
            "nothere": server.url("nothere"),
            f"{LOCKED}:wrong": server.url(user=LOCKED, password="wrong"),
        }.get(place, place)
        with pytest.raises(ProjectionUnavailable, match=fix):
            await upgrade(url)
        with pytest.raises(ProjectionUnavailable, match=fix):
            await current(url)
        # The right password opens the door; what the role may not do is said as well.
        with pytest.raises(ProjectionUnavailable, match=r"lacks a right: docs/operating/postgres\.md"):
            await upgrade(server.url(user=LOCKED, password="open%20sesame"))


def test_without_asyncpg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(UnusableDatabase, match=r"pip install -e '\.\[postgres\]'"):
        open_database("postgresql://somebody:secret@host/calls")


def test_a_password_is_in_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(UnusableDatabase) as refused:
        open_database("postgresql://somebody:secret@host/calls")
    assert "secret" not in str(refused.value)


def test_libpqs_word_for_encryption_is_understood() -> None:
    engine = open_database("postgresql://somebody@host/calls?sslmode=require")

    assert dict(engine.url.query) == {"ssl": "require"}


def test_without_a_loop_there_is_sqlite_alone() -> None:
    with pytest.raises(UnusableDatabase, match="sqlite"):
        sync_engine("postgresql://host/calls")
