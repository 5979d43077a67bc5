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
# SQL states of the same: data exception, integrity constraint violation. Not every driver has classes for them.
REFUSED_STATES = frozenset({"22", "23"})


def is_transient(error: Exception) -> bool:
    """Whether the database, not the event, is to blame."""
    if isinstance(error, PoolTimeoutError | OSError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or not (isinstance(error, REFUSED) or _is_refusal(error.orig))


def _is_refusal(cause: BaseException | None) -> bool:
    state = str(getattr(cause, "sqlstate", "") or "")[:2]
    return state in REFUSED_STATES or isinstance(getattr(cause, "__cause__", None), ValueError)


@contextmanager
def translated() -> Iterator[None]:
    """Raises ProjectionUnavailable for the database's transient faults."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if not is_transient(error):
            raise
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise ProjectionUnavailable(
            f"the database cannot be used ({cause}): is it up, and migrated (`calltape serve`, `calltape migrate`)?"
        ) from error
