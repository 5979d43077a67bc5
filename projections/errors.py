"""The projections' tree of errors, and the one place where the database's own are translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class ProjectionError(Exception):
    """The projections' tree of errors."""


class ProjectionUnavailable(ProjectionError):
    """The database cannot be used now; the same call may succeed later. Nobody's fault here."""


class NewerDatabase(ProjectionError):
    """A later version of the program shaped the database: the operator's to decide which of the two to use."""


class PositionTaken(ProjectionError):
    """Another projector moved this partition on: read the positions again, or give the partition up."""


class NoSuchCall(ProjectionError):
    """No call has an id that begins so: the asker's fault, or its events are not projected yet."""


class AmbiguousCall(ProjectionError):
    """Several calls' ids begin so; `candidates` names some of them."""

    def __init__(self, beginning: str, candidates: tuple[str, ...]) -> None:
        super().__init__(f"several calls begin with {beginning!r}: give more of one of {', '.join(candidates)}")
        self.candidates = candidates


# Values the database refuses: the event's own fault, and the same on every rebuild.
REFUSED = (IntegrityError, DataError)
# Classes of SQL states of the same: data exception, integrity constraint violation, a limit of the server exceeded (a
# value too large for an index). asyncpg has no errors of its own for them.
REFUSED_STATES = frozenset({"22", "23", "54"})
# What to do, by SQL state.
FIXES = {
    "28P01": "it refuses the user or the password: correct CALLTAPE_DATABASE",
    "28000": "it refuses the user: correct CALLTAPE_DATABASE, or let the user in (pg_hba.conf)",
    "3D000": "there is no such database: create it (`createdb`), or correct CALLTAPE_DATABASE",
    "42501": "the user lacks a right: docs/operating/postgres.md lists what it needs",
    "42P01": "it is not migrated: run `calltape migrate`",
    "42703": "it is not migrated to this version: run `calltape migrate`",
    "42P07": "its tables are not those of calltape: name another with CALLTAPE_DATABASE, or move it away",
    "57P03": "it is just starting or shutting down: try again",
    "53300": "too many connections are open: raise max_connections, or close some",
}
# The same in SQLite's words.
NO_DATABASE = "the file is no database, or a damaged one: move it away, or name another with CALLTAPE_DATABASE"
FIXES_BY_WORDS = {
    "no such table": FIXES["42P01"],
    "no such column": FIXES["42P01"],
    "already exists": FIXES["42P07"],
    "file is not a database": NO_DATABASE,
    "disk image is malformed": NO_DATABASE,
}
UNREACHABLE = "nothing answers there: is the server up, and is the address in CALLTAPE_DATABASE right?"
OTHERWISE = "is it up, and migrated (`calltape migrate`)?"


def is_transient(error: Exception) -> bool:
    """Whether the database, not the event, is to blame."""
    if isinstance(error, PoolTimeoutError | OSError):
        return True
    if not isinstance(error, DBAPIError):
        return False  # a handler's own error
    return error.connection_invalidated or not (isinstance(error, REFUSED) or _is_refusal(error.orig))


def _is_refusal(cause: BaseException | None) -> bool:
    return _state(cause)[:2] in REFUSED_STATES or isinstance(getattr(cause, "__cause__", None), ValueError)


def _state(cause: BaseException | None) -> str:
    return str(getattr(cause, "sqlstate", "") or "")


@contextmanager
def translated() -> Iterator[None]:
    """Raises ProjectionUnavailable for the database's transient faults."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if not is_transient(error):
            raise
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise ProjectionUnavailable(f"the database cannot be used ({cause}): {_fix(cause)}") from error


def _fix(cause: BaseException | None) -> str:
    if isinstance(cause, OSError):
        return UNREACHABLE
    said = next((fix for words, fix in FIXES_BY_WORDS.items() if words in str(cause)), OTHERWISE)
    return FIXES.get(_state(cause), said)
