"""A real PostgreSQL for tests: a server of our own (`scripts/local_postgres.py`), or one named by the tester."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from scripts.local_postgres import LocalPostgres, missing
from tests.support.needs import require_or_skip

Answer = TypeVar("Answer")
NAMED = "CALLTAPE_TEST_POSTGRES"
TEMPLATE = "calltape_template"  # migrated once, copied for each test
LOCKED, PASSWORD = "locked", "open sesame"  # the one role that needs its password


@dataclass(slots=True)
class Databases:
    """Makes databases on one server."""

    admin: str  # URL of a database to give orders in
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str) -> str:
        before, mark, options = self.admin.partition("?")
        return f"{before.rpartition('/')[0]}/{database}{mark}{options}"

    @contextmanager
    def fresh(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a database of one's own, gone afterwards."""
        name = f"calltape_{os.getpid()}_{next(self.numbers)}"
        self.order(f"CREATE DATABASE {name}" + (f" TEMPLATE {self._template}" if migrated else ""))
        try:
            yield self.url(name)
        finally:
            self.order(f"DROP DATABASE {name} WITH (FORCE)")

    def order(self, *statements: str, database: str = "") -> None:
        """Runs statements, each by itself."""
        url = self.url(database) if database else self.admin
        in_thread(_execute(url, statements))

    @property
    def _template(self) -> str:
        return f"{TEMPLATE}_{os.getpid()}"

    def prepare(self) -> None:
        from migrations.run import upgrade

        self.order(f"CREATE DATABASE {self._template}")
        in_thread(upgrade(self.url(self._template)))

    def tidy(self) -> None:
        self.order(f"DROP DATABASE IF EXISTS {self._template} WITH (FORCE)")


@contextmanager
def a_server() -> Iterator[LocalPostgres]:
    """A server of one's own, to be ill-treated; skips where there is none."""
    if importlib.util.find_spec("asyncpg") is None:
        require_or_skip("postgres", "asyncpg is not installed: pip install -e '.[dev]'")
    if problem := missing():
        require_or_skip("postgres", f"{problem}; or name a server with {NAMED}")
    with LocalPostgres() as server:
        rules = server.folder / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED} scram-sha-256\n{rules.read_text()}")
        server.stop()
        server.start()
        yield server


@contextmanager
def a_postgres() -> Iterator[Databases]:
    """The server that tests share: named by CALLTAPE_TEST_POSTGRES, or our own."""
    named = os.environ.get(NAMED, "")
    if named:
        yield from _prepared(named)
        return
    with a_server() as server:
        yield from _prepared(server.url())


def _prepared(admin: str) -> Iterator[Databases]:
    databases = Databases(admin)
    databases.prepare()
    try:
        yield databases
    finally:
        databases.tidy()


def in_thread(work: Coroutine[Any, Any, Answer]) -> Answer:
    """The coroutine's answer, whether or not a loop runs here."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(url.replace("postgresql+asyncpg://", "postgresql://"))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
