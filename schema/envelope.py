"""What every event carries around its own fact."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0)]
Moment = Annotated[int, msgspec.Meta(description="milliseconds since 1970, the log's time")]
Role = Literal["", "conversation", "hearing", "summariser", "recorder", "projector"]


class MadeBy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which engine produced a text, a voice or a summary."""

    engine: str
    model: str
    settings: str = ""  # hash of everything configured that can change the outcome
    code: str = ""  # version of calltape


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """One past-tense fact. Fields at their default are left out on the wire.

    A worker's event has `role` and `prior` (the last admitted event of that role in the call, or the call's
    `call.started`); any other has `source` and `sequence`, which must grow.
    """

    id: str  # UUIDv7
    call_id: str
    tenant_id: str = "default"
    version: int = 1
    role: Role = ""
    prior: str = ""
    source: str = ""
    sequence: Count = 0
    cause: str = ""  # id of the event that led here
    trace: str = ""  # W3C traceparent
    was_at: Moment = 0  # the original log time of an imported event


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a type this version does not know: it keeps its envelope and travels on untouched."""

    type: str
    id: str
    call_id: str
    raw: bytes
    tenant_id: str = "default"
    version: int = 1
    role: str = ""
    prior: str = ""
    source: str = ""
    sequence: int = 0
    cause: str = ""
    trace: str = ""
    was_at: int = 0


AnyEvent = Event | Unknown


def type_of(event: AnyEvent) -> str:
    """The dotted wire name, such as `call.started`."""
    if isinstance(event, Unknown):
        return event.type
    return str(event.__struct_config__.tag)
