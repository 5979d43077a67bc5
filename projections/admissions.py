"""Who is believed, kept beside the tables: admission of a batch's events, and its state before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, bindparam, select, update

from projections.tables import admissions
from schema.admit import Admission, admit
from schema.call import CallStarted
from schema.envelope import AnyEvent

COLUMNS = ("life", "user_id", "started_at", "sealed", "began", "roles", "sources", "superseded")
# SQLite takes 32,766 variables a statement, PostgreSQL 32,767.
ASKED_AT_ONCE = 10_000


class Believed(msgspec.Struct, frozen=True):
    """A call's admission, and the log's time of its `call.started`."""

    admission: Admission = Admission()
    started_at: int = 0


@dataclass(slots=True)
class Gate:
    """Admits one batch's events. `load` first, `save` in the same transaction as the effects."""

    calls: dict[str, Believed] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # have a row
    changed: dict[str, None] = field(default_factory=dict)  # in order of change

    def load(self, connection: Connection, call_ids: Iterable[str]) -> None:
        wanted = sorted(set(call_ids) - self.calls.keys())
        for start in range(0, len(wanted), ASKED_AT_ONCE):
            some = wanted[start : start + ASKED_AT_ONCE]
            rows = connection.execute(select(admissions).where(admissions.c.call_id.in_(some))).mappings()
            for row in rows:
                self.calls[row["call_id"]] = _believed(row)
                self.known.add(row["call_id"])

    def admit(self, event: AnyEvent, at: int) -> Believed | None:
        """The call's state after the event, or None when the event is void."""
        before = self.calls.get(event.call_id, Believed())
        after = admit(before.admission, event)
        if after is None:
            return None
        believed = Believed(after, at if isinstance(event, CallStarted) else before.started_at)
        self.calls[event.call_id] = believed
        self.changed[event.call_id] = None
        return believed

    def life_of(self, call_id: str) -> str:
        """The call's latest life; empty when it never began."""
        return self.calls.get(call_id, Believed()).admission.life

    def save(self, connection: Connection) -> None:
        fresh = [self._row(call_id) for call_id in self.changed if call_id not in self.known]
        if fresh:
            connection.execute(admissions.insert(), fresh)
        stale = [{**self._row(call_id), "of_call": call_id} for call_id in self.changed if call_id in self.known]
        if stale:
            values: dict[str, Any] = {name: bindparam(name) for name in COLUMNS}
            statement = update(admissions).where(admissions.c.call_id == bindparam("of_call")).values(**values)
            for row in stale:
                del row["call_id"]
            connection.execute(statement, stale)

    def _row(self, call_id: str) -> dict[str, Any]:
        believed = self.calls[call_id]
        state = believed.admission
        return {
            "call_id": call_id,
            "life": state.life,
            "user_id": state.user_id,
            "started_at": believed.started_at,
            "sealed": state.sealed,
            "began": state.began,
            "roles": dict(sorted(state.roles.items())),
            "sources": dict(sorted(state.sources.items())),
            "superseded": sorted(state.superseded),
        }


def _believed(row: RowMapping) -> Believed:
    admission = Admission(
        life=row["life"],
        sealed=row["sealed"],
        began=row["began"],
        roles=row["roles"],
        sources=row["sources"],
        superseded=frozenset(row["superseded"]),
        user_id=row["user_id"],
    )
    return Believed(admission, row["started_at"])
