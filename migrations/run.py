"""Brings a database to this version's shape. Configured here, so that it works from a wheel."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from projections.database import open_database
from projections.errors import NewerDatabase, translated

HERE = Path(__file__).parent
# Any number that nobody else on the server locks: two processes that start together migrate one after the other.
ADVISORY_LOCK = 0x63616C6C


def head() -> str:
    """The shape this version of the program wants."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def refuse_newer(has: str) -> None:
    """`has`: a database's shape. Raises NewerDatabase when this version of the program has never heard of it."""
    known = ScriptDirectory.from_config(_config()).walk_revisions()
    if has and has not in {each.revision for each in known}:
        raise NewerDatabase(
            f"the database is at {has}, this program knows up to {head()}: upgrade calltape, or name another database"
        )


async def current(url: str) -> str:
    """The shape the database has; empty when it was never migrated. Raises ProjectionUnavailable."""
    engine = open_database(url)
    try:
        with translated():
            async with engine.connect() as connection:
                return await connection.run_sync(current_of)
    finally:
        await engine.dispose()


async def upgrade(url: str, revision: str = "head") -> None:
    """Brings the database up to `revision`, all or nothing. Raises ProjectionUnavailable and NewerDatabase."""
    engine = open_database(url)
    try:
        with translated():
            async with engine.execution_options(calltape_writes=True).begin() as connection:
                await connection.run_sync(upgrade_on, revision)
    finally:
        await engine.dispose()


def current_of(connection: Connection) -> str:
    """As `current`, on an open connection."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def upgrade_on(connection: Connection, revision: str = "head") -> None:
    """As `upgrade`, inside the caller's transaction."""
    _queue_up(connection)
    refuse_newer(current_of(connection))
    command.upgrade(_config(connection), revision)


def downgrade_on(connection: Connection, revision: str = "base") -> None:
    """Back to an earlier shape, inside the caller's transaction. What the earlier one cannot hold is dropped."""
    _queue_up(connection)
    command.downgrade(_config(connection), revision)


def _queue_up(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(HERE / "versions").replace("%", "%%"))
    return config
