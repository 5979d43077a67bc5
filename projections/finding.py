"""Finds calls in the tables: lists, one by the beginning of its id, whether one lives. Plain functions."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, tuple_

from projections.errors import AmbiguousCall, NoSuchCall
from projections.fulltext import lives_that_mention
from projections.results import Call, CallPage, CallState, Failure
from projections.tables import LIVE, calls, failures
from projections.types import clean

CANDIDATES = 5  # named when a beginning is ambiguous
MOST_CALLS = 1_000  # a page
CURSOR = re.compile(r"(?P<at>-?[0-9]{1,18})\.(?P<life>.+)", re.DOTALL)
LAST_LETTER = chr(sys.maxunicode)
SURROGATES = range(0xD800, 0xE000)
BEYOND_SURROGATES = 0xE000


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls to list; empty fields do not narrow. Moments are ms since 1970; `number` is either party's."""

    since: int | None = None  # started at or after
    until: int | None = None  # started before
    channel: str = ""
    number: str = ""
    agent: str = ""
    user_id: str = ""
    tenant_id: str = ""
    text: str = ""  # words, "phrases" and beginnings*, all in one line of the call or in its summary
    live: bool = False  # not ended


def list_calls(connection: Connection, wanted: CallFilter, *, limit: int, cursor: str) -> CallPage:
    """Newest first, in one statement. Raises ValueError for a cursor that no page gave."""
    limit = max(1, min(limit, MOST_CALLS))
    query = _narrowed(select(calls), wanted)
    if wanted.text:
        query = query.where(calls.c.life.in_(lives_that_mention(wanted.text, connection.dialect.name)))
    if cursor:
        query = query.where(tuple_(calls.c.started_at, calls.c.life) < _place_of(cursor))
    query = query.order_by(calls.c.started_at.desc(), calls.c.life.desc()).limit(limit + 1)
    found = [Call(**row) for row in connection.execute(query).mappings()]
    page = tuple(found[:limit])
    following = f"{page[-1].started_at}.{page[-1].life}" if len(found) > limit else ""
    return CallPage(page, following)


def _place_of(cursor: str) -> tuple[int, str]:
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise ValueError(f"not a cursor: {cursor!r}; take it from the page before")
    return int(found["at"]), found["life"]


def _narrowed(query: Select[Any], wanted: CallFilter) -> Select[Any]:
    equal = {
        calls.c.channel: wanted.channel,
        calls.c.agent: wanted.agent,
        calls.c.user_id: wanted.user_id,
        calls.c.tenant_id: wanted.tenant_id,
    }
    query = query.where(*(column == value for column, value in equal.items() if value))
    if wanted.since is not None:
        query = query.where(calls.c.started_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(calls.c.started_at < wanted.until)
    if wanted.number:
        query = query.where(or_(calls.c.from_number == wanted.number, calls.c.to_number == wanted.number))
    if wanted.live:
        query = query.where(LIVE)
    return query


def find_call(connection: Connection, beginning: str, *, tenant_id: str = "") -> Call:
    """The latest life of the one call whose id begins so. A whole id wins over longer ones.

    Raises NoSuchCall, AmbiguousCall.
    """
    if not beginning:
        raise NoSuchCall("no call was named: give its id or the beginning of it")
    whole = _latest(connection, beginning, tenant_id)
    if whole is not None:
        return whole
    query = select(calls.c.call_id).where(_begins(beginning)).distinct().order_by(calls.c.call_id).limit(CANDIDATES)
    if tenant_id:
        query = query.where(calls.c.tenant_id == tenant_id)
    candidates = tuple(connection.execute(query).scalars())
    if len(candidates) > 1:
        raise AmbiguousCall(beginning, candidates)
    found = _latest(connection, candidates[0], tenant_id) if candidates else None
    if found is None:
        raise NoSuchCall(f"no call's id begins with {beginning!r}: list them with `calltape calls`")
    return found


def _begins(beginning: str) -> ColumnElement[bool]:
    """A range, so that the index serves it: ids are ordered by their code points."""
    first = clean(beginning)
    beyond = _following(first)
    after = calls.c.call_id >= first
    return after if beyond is None else and_(after, calls.c.call_id < beyond)


def _following(beginning: str) -> str | None:
    """The least text above all that begin so; None when there is none."""
    kept = beginning.rstrip(LAST_LETTER)
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(BEYOND_SURROGATES if following in SURROGATES else following)


def _latest(connection: Connection, call_id: str, tenant_id: str = "") -> Call | None:
    query = select(calls).where(calls.c.call_id == call_id)
    if tenant_id:
        query = query.where(calls.c.tenant_id == tenant_id)
    # A call's lives are all in one partition, so their positions order them.
    row = connection.execute(query.order_by(calls.c.position.desc()).limit(1)).mappings().first()
    return None if row is None else Call(**row)


def call_state(connection: Connection, call_id: str) -> CallState:
    """Of the call's latest life, as far as it is projected."""
    call = _latest(connection, call_id)
    if call is None:
        return CallState.UNKNOWN
    return CallState.LIVE if call.ended_at is None and call.sealed_at is None else CallState.ENDED


def unapplied(connection: Connection, *, limit: int) -> tuple[Failure, ...]:
    """Records that no projection could apply, newest first."""
    columns = [column for column in failures.c if column.name != "life"]
    query = select(*columns).where(failures.c.stage == "projection")
    query = query.order_by(failures.c.at.desc(), failures.c.position.desc()).limit(limit)
    return tuple(Failure(**row) for row in connection.execute(query).mappings())


def first_position(connection: Connection, call_id: str) -> int | None:
    """Where the call's first life begins in its partition; None: nothing of it is projected (yet)."""
    position: int | None = connection.execute(
        select(func.min(calls.c.position)).where(calls.c.call_id == call_id)
    ).scalar()
    return position


def oldest_live(connection: Connection, partition: int) -> int | None:
    """Where the oldest call begins that is not sealed; None: every projected call of the partition is."""
    unsealed = select(func.min(calls.c.position)).where(calls.c.partition == partition, calls.c.sealed_at.is_(None))
    position: int | None = connection.execute(unsealed).scalar()
    return position
