"""Opens the database of the read models: SQLite or PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from projections.errors import ProjectionError
from schema.extras import install

BUSY_TIMEOUT_MS = 5_000  # a writer's transaction takes milliseconds; waiting longer would hide a fault
CONNECT_TIMEOUT_S = 10
ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
SYNC_DRIVERS = {"sqlite": "sqlite+pysqlite"}
# Execution option: begin by taking SQLite's write lock, instead of at the first write.
WRITES = "calltape_writes"


class UnusableDatabase(ProjectionError):
    """The URL names no database we can open: the operator's fault."""


def open_database(url: str) -> AsyncEngine:
    """`sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`; `:memory:` is one shared in-memory SQLite.

    Connects at the first use. Raises UnusableDatabase.
    """
    target = _with_driver(url, ASYNC_DRIVERS)
    try:
        engine = create_async_engine(target, **_options(target))
    except ModuleNotFoundError as error:
        shown = target.render_as_string(hide_password=True)
        raise UnusableDatabase(f"cannot open {shown} ({error}): {install('postgres')}") from error
    if target.get_backend_name() == "sqlite":
        _prepare_sqlite(engine.sync_engine)
    return engine


def sync_engine(url: str) -> Engine:
    """SQLite without an event loop. Raises UnusableDatabase for any other: asyncpg has none, use `open_database`."""
    target = _with_driver(url, SYNC_DRIVERS)
    engine = create_engine(target, **_options(target))
    _prepare_sqlite(engine)
    return engine


def for_writing(connection: Connection) -> Connection:
    """Says before its first statement that this connection will write."""
    return connection.execution_options(**{WRITES: True})


def _with_driver(url: str, drivers: dict[str, str]) -> URL:
    try:
        target = make_url("sqlite://" if url == ":memory:" else url)
        target = target.set(drivername=drivers[target.get_backend_name()])
    except (ArgumentError, KeyError, ValueError) as error:
        raise UnusableDatabase(
            "the database must be sqlite+aiosqlite:///path or postgresql+asyncpg://user@host/name"
        ) from error
    if "sslmode" in target.query:  # libpq's name; asyncpg's is another
        mode = target.query["sslmode"]
        target = target.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return target


def _options(target: URL) -> dict[str, Any]:
    if _in_memory(target):
        # Every connection of an in-memory SQLite is a database of its own, so there is only one.
        return {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    if target.get_backend_name() == "sqlite":
        return {}
    # A connection that waits for a server which is gone must not wait as long as the network does.
    named = {"application_name": "calltape"}
    return {"pool_pre_ping": True, "connect_args": {"timeout": CONNECT_TIMEOUT_S, "server_settings": named}}


def _in_memory(target: URL) -> bool:
    return target.get_backend_name() == "sqlite" and target.database in (None, "", ":memory:")


def _prepare_sqlite(engine: Engine) -> None:
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)


def _set_pragmas(connection: Any, _: object) -> None:
    # The driver would begin and commit on its own account, and make savepoints useless.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        # In WAL mode this survives the process; a power cut may lose the last commits, which the log still has.
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
