"""What handlers are given, and how an event's values become a table's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from projections.types import clean
from schema.envelope import Event, MadeBy
from schema.private import Private, Sealed


@dataclass(frozen=True, slots=True)
class Place:
    """Where an admitted event stands: on the log, and in its call."""

    partition: int
    position: int
    at: int
    life: str
    started_at: int

    @property
    def clock_ms(self) -> int:
        """The call's own clock. Never negative, though the log's time may step back."""
        return max(0, self.at - self.started_at)


Handler = Callable[[Connection, Any, Place], None]
Handlers = Mapping[type[Event], Handler]


def stored(value: Private[str]) -> str:
    """The text as it is kept, or the JSON of a sealed one."""
    if isinstance(value, Sealed):
        return msgspec.json.encode(value).decode()
    return clean(value)


def is_sealed(text: str) -> bool:
    """Whether a stored text is the JSON of a sealed value."""
    if not text.startswith('{"key":'):
        return False
    try:
        msgspec.json.decode(text, type=Sealed)
    except msgspec.MsgspecError:
        return False
    return True


def stored_map(values: Mapping[str, Private[str]]) -> dict[str, str]:
    """A dictionary of private values, in the order of its names."""
    return {name: stored(values[name]) for name in sorted(values)}


def made_by(maker: MadeBy | None, prefix: str = "") -> dict[str, str]:
    """The columns that say which engine it was; none when nobody said."""
    if maker is None:
        return {}
    return {f"{prefix}engine": maker.engine, f"{prefix}model": maker.model}
