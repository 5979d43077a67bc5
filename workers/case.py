"""One call as one role's process holds it: the fold of its events, and what this owner has in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from schema.admit import Admission, admit
from schema.call import CallStarted
from schema.envelope import AnyEvent, Event, Role
from workers.talk import Wait

S = TypeVar("S")


@dataclass(slots=True)
class Case(Generic[S]):
    """State comes from the log alone; the rest is what one incarnation is doing about it and may be lost."""

    call_id: str
    partition: int
    state: S
    admission: Admission = field(default_factory=Admission)
    begin: int = 0  # position of the live call's call.started
    tenant_id: str = "default"
    owned: bool = False  # this process's adoption was read back
    wants_adoption: bool = False
    flight: dict[str, Event] = field(default_factory=dict)  # appended, not read back
    sent: int = 0  # the newest of them, by the appender's count
    sent_at: int = 0
    ready: list[Event] = field(default_factory=list)  # results that wait for their append
    held: list[Event] = field(default_factory=list)  # drafted in this tick, not appended yet
    held_state: S | None = None
    waits: tuple[Wait, ...] = ()
    owed_since: int = 0  # a decision is owed and another process owns the call
    lost_at: int = 0  # when another's adoption was read, although its partition is ours; 0: not so
    parked: bool = False
    work: Any = None  # the role's own, such as running tasks


def begins(event: CallStarted, case: Case[S] | None, sealed: Admission | None) -> bool:
    """Whether a call begins with it; else it is a resume. `sealed` is what is left of a call that is over."""
    known = case.admission if case is not None else sealed
    return known is None or admit(known, event) is not None


class RoleWorker(Protocol[S]):
    """What a role does with a call. `fold` and `owed` are pure; the rest may start tasks."""

    @property
    def name(self) -> Role: ...

    @property
    def adopts(self) -> bool:
        """Whether it acts on the world, so that an owner must be named before it does."""

    @property
    def pipelined(self) -> bool:
        """Whether it chains events freely: it acts on nothing, so an append need not wait for the last one."""

    def fresh(self) -> S: ...

    def fold(self, state: S, event: AnyEvent, position: int, at: int) -> S: ...

    def owed(self, case: Case[S], state: S) -> tuple[Sequence[Event], tuple[Wait, ...]]:
        """Events to append (without `prior`), or timers to wait for."""

    def is_valid(self, state: S, draft: Event) -> bool:
        """Whether a result of work begun earlier still fits the state."""

    def is_over(self, state: S) -> bool:
        """Nothing will ever be owed: the call may be forgotten and the checkpoint may pass it."""

    def speculate(self, case: Case[S], drafts: Sequence[Event], state: S) -> bool:
        """Begin work without effect for events about to be appended; True if a result may come within this tick."""

    def begin(self, case: Case[S]) -> None:
        """This process owns the call now: do again whatever the state does not know to be done."""

    def acted(self, case: Case[S], event: AnyEvent, position: int, at: int) -> None:
        """An admitted event was read while this process owns the call."""

    def drop(self, case: Case[S]) -> None:
        """Speculation is void, or the call is no longer ours: stop every task of it."""

    def gone(self, call_id: str, event: AnyEvent, why: str) -> None:
        """A live reader met an event of a call that is over or never began (`not_live`), or of a socket that another
        user opened (`forbidden`)."""
