"""Opens the tables that somebody else fills: commands that only ask must not begin empty ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from calltape.terminal import Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def opened_read_models() -> AsyncIterator[AsyncEngine]:
    """The configured database. Raises Refused when it is a file that is not there, or has no tables yet."""
    from calltape.settings import settings
    from projections.database import open_database
    from projections.errors import ProjectionUnavailable

    url = settings().database_url
    _require_file(url)
    engine = open_database(url)
    try:
        yield engine
    except ProjectionUnavailable as error:
        await _require_tables(url, error)
        raise
    finally:
        await engine.dispose()


async def _require_tables(url: str, error: Exception) -> None:
    """An ingest that looked before any projector ran leaves an empty file: nothing is broken, nothing was kept yet."""
    from migrations.run import current
    from projections.errors import ProjectionUnavailable

    try:
        is_empty = not await current(url)
    except ProjectionUnavailable:
        return
    if is_empty:
        raise Refused(
            "the database is empty: `calltape serve` makes its tables as soon as it runs (`calltape check` says "
            "whether it can), `calltape migrate` makes them now"
        ) from error


def _require_file(url: str) -> None:
    """Of SQLite outside memory; a server says for itself whether it is there."""
    scheme, _, rest = url.partition(":///")
    path = unquote(rest.partition("?")[0])
    if scheme.startswith("sqlite") and path and path != ":memory:" and not Path(path).exists():
        raise Refused(
            f"there is no database at {path}: start `calltape serve`, make one with `calltape migrate`, or name "
            "another with CALLTAPE_DATABASE or CALLTAPE_DATA"
        )
