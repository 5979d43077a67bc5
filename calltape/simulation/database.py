"""The read models' database on virtual time: one SQLite in memory, its write lock, and connections that die.

What a process wrote and did not commit is rolled back when it is killed; a frozen one keeps the lock it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

from calltape.simulation.process import Process, world_context
from eventlog.port import Record
from projections.base import apply_batch, read_positions
from projections.database import for_writing, sync_engine
from projections.errors import ProjectionUnavailable
from projections.rebuild import clear, rebuild
from projections.tables import METADATA

LOCK_S = 5.0  # a real database gives up on a lock after so long

Rows = dict[str, list[tuple[Any, ...]]]  # table -> its rows, sorted


@cache
def _engine() -> Any:
    """One for all seeds of this process: making the tables costs more than a call does."""
    engine = sync_engine(":memory:")
    METADATA.create_all(engine)
    return engine


class Database:
    """Emptied when it is made. `away` refuses everybody; `forgetful` is how often a commit's answer is lost."""

    def __init__(self, seed: int, *, slow_ms: int, forgetful: float = 0.0) -> None:
        self.away = False
        self.forgetful = forgetful
        self.at_commit: Callable[[], None] | None = None  # done once, between effect and commit
        self.happened: dict[str, int] = {}
        self._slow_ms = slow_ms
        self._chance = Random(f"database-{seed}")
        self._owner: Tables | None = None
        self._connection: Any = None
        self._transaction: Any = None
        self._free = asyncio.Event()
        self._free.set()
        self.committed: dict[int, int] = {}  # partition -> position, as of the last commit
        with _engine().begin() as connection:
            clear(connection)

    def tables(self, process: Process) -> Tables:
        """One process's connection."""
        return Tables(self, process)

    @property
    def is_busy(self) -> bool:
        """Whether somebody's transaction is open."""
        return self._owner is not None

    def positions(self) -> dict[int, int]:
        """As they are committed: nobody sees into another's transaction."""
        if self.is_busy:
            return dict(self.committed)
        with _engine().connect() as connection:
            return read_positions(connection)

    def rows(self) -> Rows:
        """Everything that is committed. No transaction may be open."""
        with _engine().connect() as connection:
            return _rows(connection)

    def rebuilt(self, records: Sequence[Record]) -> Rows:
        """Everything, after all tables were built anew from these."""
        with _engine().begin() as connection:
            rebuild(connection, records)
            return _rows(connection)

    async def answer(self) -> None:
        """The time a statement takes. Raises ProjectionUnavailable."""
        await asyncio.sleep(self._chance.random() * self._slow_ms / 1000)
        if self.away:
            raise ProjectionUnavailable("the database is away")

    async def take(self, tables: Tables) -> Any:
        """Begin a transaction, alone."""
        try:
            async with asyncio.timeout(LOCK_S):
                while self._owner is not None:
                    await self._free.wait()
        except TimeoutError:
            raise ProjectionUnavailable("database is locked") from None
        self._owner = tables
        self._free.clear()
        self._connection = for_writing(_engine().connect())
        self._transaction = self._connection.begin()
        return self._connection

    def commit(self, tables: Tables, reached: Mapping[int, int]) -> None:
        """Raises ProjectionUnavailable if the transaction is no more."""
        if self._owner is not tables:
            raise ProjectionUnavailable("the connection was lost")
        self._transaction.commit()
        self.committed |= reached
        self._let_go()

    def spring(self) -> None:
        """Everything has taken effect, nothing is committed."""
        then, self.at_commit = self.at_commit, None
        if then is not None:
            then()

    def roll_back(self, tables: Tables) -> None:
        """Whatever was not committed; nothing if all was."""
        if self._owner is tables:
            self._count("cut in two")
            self._transaction.rollback()
            self._let_go()

    def loses_answer(self) -> bool:
        if self._chance.random() < self.forgetful:
            self._count("answer lost")
            return True
        return False

    def _let_go(self) -> None:
        self._connection.close()
        self._owner = self._connection = self._transaction = None
        world_context().run(self._free.set)

    def _count(self, name: str) -> None:
        self.happened[name] = self.happened.get(name, 0) + 1


class Tables:
    """`projections.applying.Tables` for one process."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database = database
        self._process = process
        self._is_cut = False

    def cut(self) -> None:
        """The process is gone, and its connection with it."""
        self._is_cut = True
        self._database.roll_back(self)

    async def positions(self) -> dict[int, int]:
        await self._hop()
        return self._database.positions()

    async def apply(self, records: Sequence[Record], expected: Mapping[int, int]) -> dict[int, int]:
        await self._hop()
        database = self._database
        connection = await database.take(self)
        try:
            reached = apply_batch(connection, records, expected=expected)
            database.spring()
            await self._hop()
            database.commit(self, reached)
        finally:
            database.roll_back(self)
        await self._hop()
        if database.loses_answer():
            raise ProjectionUnavailable("the connection was lost behind the commit")
        return reached

    async def _hop(self) -> None:
        if self._is_cut:
            await asyncio.get_running_loop().create_future()
        await self._database.answer()


def _rows(connection: Any) -> Rows:
    return {
        table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
        for table in METADATA.sorted_tables
    }
