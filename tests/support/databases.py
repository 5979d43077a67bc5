"""Both databases of the read models as tests use them, through the drivers of production."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection, Table, select
from sqlalchemy.ext.asyncio import AsyncEngine

from eventlog.port import Record
from migrations.run import upgrade_on
from projections.base import apply_batch
from projections.database import for_writing, open_database
from projections.rebuild import clear, rebuild
from projections.tables import METADATA
from tests.support.postgres import Databases, a_postgres

Answer = TypeVar("Answer")
Given = ParamSpec("Given")
KINDS = ("sqlite", "postgresql")
Rows = dict[str, list[tuple[Any, ...]]]


class Database:
    """One database and an event loop of its own, so that plain tests can use the asynchronous driver."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._runner = asyncio.Runner()
        self.engine = open_database(url)

    def write(
        self, work: Callable[Concatenate[Connection, Given], Answer], *args: Given.args, **given: Given.kwargs
    ) -> Answer:
        """In a transaction, committed unless `work` raises."""
        return self._runner.run(_in_transaction(self.engine, lambda connection: work(connection, *args, **given)))

    def run(self, work: Callable[[AsyncEngine], Any]) -> Any:
        """What a coroutine function makes of the engine."""
        return self._runner.run(_awaited(work, self.engine))

    def apply(self, records: Sequence[Record], **given: Any) -> dict[int, int]:
        return self.write(apply_batch, records, **given)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        def read(connection: Connection) -> list[dict[str, Any]]:
            found = connection.execute(select(table).order_by(*table.primary_key.columns))
            return [dict(row) for row in found.mappings()]

        return self.write(read)

    def all_rows(self) -> Rows:
        return {table.name: [tuple(row.values()) for row in self.rows(table)] for table in METADATA.sorted_tables}

    def rebuilt(self, records: Sequence[Record]) -> Rows:
        self.write(rebuild, records)
        return self.all_rows()

    def apply_with_accidents(self, records: Sequence[Record], chance: random.Random) -> None:
        """From nothing; batches cut anywhere, read again from before, and killed before their commit."""
        self.write(clear)
        done = 0
        while done < len(records):
            begin = max(0, done - chance.randrange(4))
            end = min(len(records), done + chance.randrange(1, 12))
            try:
                self.write(_apply_and_perhaps_die, records[begin:end], chance.random() < 0.3)
            except Killed:
                continue
            done = end

    def close(self) -> None:
        self._runner.run(self.engine.dispose())
        self._runner.close()


class Killed(Exception):
    """Before the commit."""


def _apply_and_perhaps_die(connection: Connection, records: Sequence[Record], dies: bool) -> None:
    apply_batch(connection, records)
    if dies:
        raise Killed


async def _in_transaction(engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:
    async with engine.connect() as connection:
        await connection.run_sync(for_writing)
        async with connection.begin():
            return await connection.run_sync(work)


async def _awaited(work: Callable[[AsyncEngine], Any], engine: AsyncEngine) -> Any:
    return await work(engine)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """The PostgreSQL server that tests share."""
    with a_postgres() as databases:
        yield databases


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "calls.sqlite"
    with opened(f"sqlite+aiosqlite:///{path}") as database:
        database.write(upgrade_on)
    return path


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/calls.sqlite"
    else:
        with request.getfixturevalue("postgres").fresh(migrated=False) as url:
            yield url


@pytest.fixture(params=KINDS)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[str]:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path)}"
    else:
        with request.getfixturevalue("postgres").fresh() as url:
            yield url


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """A migrated database of each kind, open."""
    with opened(migrated_url) as database:
        yield database


@pytest.fixture(params=KINDS, scope="module")
def reused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """As `database`, for a module's tests together: whoever uses it empties it first. (A new engine compiles every
    statement anew.)"""
    if request.param == "sqlite":
        with opened(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('reused')}/calls.sqlite") as database:
            database.write(upgrade_on)
            yield database
    else:
        with request.getfixturevalue("postgres").fresh() as url, opened(url) as database:
            yield database
