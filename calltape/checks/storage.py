"""Questions about what keeps the calls: the log and the database of the read models."""

from __future__ import annotations

from pathlib import Path

from calltape.checks.part import Part, bad, good
from calltape.checks.place import nearest, refusal
from calltape.kafka import kafka_tuning
from calltape.log_topics import configured_topics
from calltape.settings import Settings
from calltape.world import now_ms

_SQLITE = "sqlite:///"
_MOST = 3  # failures named


async def log(settings: Settings) -> Part:
    from eventlog.port import LogError
    from eventlog.uri import open_log

    uri = settings.log_uri
    if (missing := _missing(uri)) is not None:
        if why := refusal(nearest(missing)):
            return bad("log", f"{uri} cannot be made: {why}", "name another log with CALLTAPE_LOG")
        return good("log", f"{uri} does not exist yet and will be made")
    try:
        topics, kafka = configured_topics(settings), kafka_tuning(settings)
        async with open_log(uri, now=now_ms, topics=topics, kafka=kafka) as opened:
            await opened.healthy()
    except LogError as error:
        return bad("log", f"{uri}: {error}", "mend what is said there, or name another log with CALLTAPE_LOG")
    note = " (gone when the process ends)" if uri == "memory:" else ""
    return good("log", f"{uri} takes events{note}")


async def database(settings: Settings) -> Part:
    from migrations.run import current, head, refuse_newer
    from projections.errors import ProjectionError

    if not settings.database and not (settings.data / "calls.sqlite").exists():
        return good("database", f"{settings.data / 'calls.sqlite'} does not exist yet and will be made")
    try:
        has, wants = await current(settings.database_url), head()
        refuse_newer(has)
    except ProjectionError as error:
        return bad("database", str(error), "mend what is said there, or name another database with CALLTAPE_DATABASE")
    if has != wants:
        return bad("database", f"it is at {has or 'nothing'}, this version wants {wants}", "run `calltape migrate`")
    return good("database", f"at {has}, as this version wants it")


async def projections(settings: Settings) -> Part:
    """Events that no projection could apply are kept in a table: the read models lack what they say."""
    from projections.database import open_database
    from projections.errors import ProjectionError
    from projections.queries import unapplied

    if not settings.database and not (settings.data / "calls.sqlite").exists():
        return good("projections", "nothing is projected yet")
    try:
        engine = open_database(settings.database_url)
        try:
            failed = await unapplied(engine)
        finally:
            await engine.dispose()
    except ProjectionError:
        return good("projections", "not asked: see database")
    if not failed:
        return good("projections", "every event was applied")
    named = "; ".join(f"{each.partition}.{each.position} {each.code}: {each.message}" for each in failed[:_MOST])
    fix = "read these with `calltape tail --from-start --no-follow`; they are skipped, on every rebuild alike"
    return bad("projections", f"{len(failed)} events could not be applied ({named})", fix)


def _missing(uri: str) -> Path | None:
    """The log's file, where there is none."""
    path = Path(uri.removeprefix(_SQLITE)).absolute()
    return path if uri.startswith(_SQLITE) and nearest(path) != path else None
