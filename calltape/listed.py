"""A call's events as lines a person can follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from eventlog.port import Record
from schema.admit import Admission, admit
from schema.call import ProfileUsed
from schema.envelope import AnyEvent, Event, type_of
from schema.registry import decode

ENVELOPE = frozenset({"type", "id", "call_id", *Event.__struct_fields__})


def listed(records: Iterable[Record], began_at: int) -> Iterator[str]:
    """`position ms [VOID] type id {what it says}`, in the log's order; ms since `began_at`."""
    admissions: dict[str, Admission] = {}
    for record in records:
        event = decode(record.value)
        after = admit(admissions.get(event.call_id, Admission()), event)
        if after is not None:
            admissions[event.call_id] = after
        void = "    " if after is not None else "VOID"
        yield f"{record.position:5} {record.at - began_at:7} {void} {type_of(event)} {event.id} {_body(event)}"


def _body(event: AnyEvent) -> str:
    if isinstance(event, ProfileUsed):
        return event.hash
    said: dict[str, Any] = msgspec.to_builtins(event)
    return " ".join(f"{name}={value}" for name, value in said.items() if name not in ENVELOPE and value not in ({}, ()))
