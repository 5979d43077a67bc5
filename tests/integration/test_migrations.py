"""The migrations lead to the very tables the program works with, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from migrations.run import current, current_of, downgrade_on, head, upgrade, upgrade_on
from projections.base import apply_batch
from projections.database import UnusableDatabase, open_database, sync_engine
from projections.errors import ProjectionUnavailable
from projections.queries import list_calls
from projections.tables import METADATA
from tests.support.events import a_whole_call


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = sync_engine(f"sqlite:///{tmp_path}/calls.sqlite")
    yield engine
    engine.dispose()


def test_migrated_tables_are_those_the_program_works_with(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade_on(connection)
    with engine.connect() as connection:
        compared = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(compared, METADATA) == []


def test_a_database_goes_back_to_nothing_and_up_again(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade_on(connection)
        downgrade_on(connection)
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        upgrade_on(connection)
        assert current_of(connection) == head()
    with engine.begin() as connection:
        apply_batch(connection, a_whole_call().records)


def test_a_migration_that_fails_halfway_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(RuntimeError), engine.begin() as connection:
        upgrade_on(connection)
        raise RuntimeError("the process is killed before the commit")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []


async def test_a_fresh_database_says_so_until_it_is_migrated(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/calls.sqlite"

    assert await current(url) == ""
    await upgrade(url)
    await upgrade(url)  # harmless when repeated

    assert await current(url) == head()


async def test_processes_that_start_together_migrate_one_after_the_other(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/calls.sqlite"

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(upgrade(url))

    assert await current(url) == head()


async def test_an_unmigrated_database_is_unavailable_not_broken(tmp_path: Path) -> None:
    engine = open_database(f"sqlite+aiosqlite:///{tmp_path}/calls.sqlite")
    with pytest.raises(ProjectionUnavailable, match="migrated"):
        await list_calls(engine)
    await engine.dispose()


@pytest.mark.parametrize("url", ["mysql://host/calls", "no url", "postgresql+asyncpg"])
def test_another_database_is_refused_with_the_two_that_are_known(url: str) -> None:
    with pytest.raises(UnusableDatabase, match="sqlite"):
        open_database(url)


def test_every_table_and_index_can_be_said_to_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    said = [str(CreateTable(table).compile(dialect=dialect)) for table in METADATA.sorted_tables]
    said += [
        str(CreateIndex(index).compile(dialect=dialect)) for table in METADATA.sorted_tables for index in table.indexes
    ]

    assert not [sql for sql in said if "SERIAL" in sql]  # every id comes from the log
