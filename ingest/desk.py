"""What all sessions of a process share, and how a stream's facts are numbered and put down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from eventlog.port import Log
from ingest.config import IngestConfig
from ingest.lane import Line
from ingest.tally import Tally
from ingest.tape import Tape
from schema.envelope import Event

if TYPE_CHECKING:
    from ingest.session import Session

E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class Desk:
    """One process's."""

    config: IngestConfig
    log: Log
    tape: Tape
    tally: Tally
    now: Callable[[], int]  # ms since 1970
    clock: Callable[[], int]  # ms, only grows
    new_id: Callable[[], str]
    partitions: int
    mailbox: int = 0  # ours of calls.outbox; known once it was opened
    sessions: dict[str, Session] = field(default_factory=dict)  # by stream, opened ones
    sockets: set[Session] = field(default_factory=set)
    playing: set[Session] = field(default_factory=set)  # those that time must visit
    started_playing: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: bool = False  # each socket goes in its next quiet moment

    @property
    def is_full(self) -> bool:
        """No more sockets on this server."""
        return len(self.sockets) >= self.config.limits.connections

    def event(self, line: Line, kind: type[E], **fields: Any) -> E:
        """A fact about this stream, the next one of its source."""
        return kind(
            id=self.new_id(),
            call_id=line.call_id,
            tenant_id=line.tenant_id,
            source=line.stream,
            sequence=line.next_sequence(),
            **fields,
        )

    def say(self, line: Line, kind: type[Event], **fields: Any) -> None:
        """Put down a fact that names its stream."""
        self.tape.say(self.event(line, kind, stream=line.stream, **fields), line.partition)
