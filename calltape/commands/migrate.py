"""`calltape migrate`: brings the database of the read models to this version's shape."""

from __future__ import annotations

import asyncio

from calltape.terminal import AsJson, emit, say


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's shape, all or nothing; harmless when repeated."""
    before, after = asyncio.run(_migrate())
    if as_json:
        emit({"before": before or None, "after": after, "changed": before != after})
    elif before == after:
        say(f"The database is at {after} already.")
    else:
        say(f"The database went from {before or 'empty'} to {after}.")


async def _migrate() -> tuple[str, str]:
    from calltape.folders import made_folder
    from calltape.settings import settings
    from migrations.run import current, upgrade

    configured = settings()
    if not configured.database:
        made_folder(configured.data)
    before = await current(configured.database_url)
    await upgrade(configured.database_url)
    return before, await current(configured.database_url)
