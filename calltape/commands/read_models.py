"""Opens the tables that somebody else fills: commands that only ask must not begin empty ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from calltape.terminal import Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def opened_read_models() -> AsyncIterator[AsyncEngine]:
    """The configured database. Raises Refused when it is a file that is not there."""
    from calltape.settings import settings
    from projections.database import open_database

    url = settings().database_url
    _require_file(url)
    engine = open_database(url)
    try:
        yield engine
    finally:
        await engine.dispose()


def _require_file(url: str) -> None:
    """Of SQLite outside memory; a server says for itself whether it is there."""
    scheme, _, rest = url.partition(":///")
    path = rest.partition("?")[0]
    if scheme.startswith("sqlite") and path and path != ":memory:" and not Path(path).exists():
        raise Refused(
            f"there is no database at {path}: start `calltape serve`, make one with `calltape migrate`, or name "
            "another with CALLTAPE_DATABASE or CALLTAPE_DATA"
        )
