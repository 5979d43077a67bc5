"""What the streams of a call are told, and which of it stands: without that nothing that follows makes sense."""

from __future__ import annotations

import msgspec

from schema.call import CallAdopted, CallEnded, CallStarted
from schema.envelope import AnyEvent, Event, type_of
from schema.stream import StreamDegraded, StreamLost, StreamOpened, StreamSuperseded
from schema.topics import RENDERED
from schema.turn import (
    AgentChanged,
    ReplyComposed,
    ReplyFinished,
    ReplyInterrupted,
    ReplyResumed,
    ReplySentence,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TurnTaken,
)

OF_REPLY = (ReplySentence, ReplyComposed, ReplyInterrupted, ReplyResumed)
ANSWERS = ("turn", "tool", "handover")  # replies that speak about what tools gave back


class Fact(msgspec.Struct, frozen=True):
    """An admitted event that the streams of the call are told."""

    position: int
    event: Event
    stream: str = ""  # empty: whichever speaks for the call


Facts = tuple[Fact, ...]


def fact_of(event: AnyEvent, position: int) -> Fact | None:
    """What the outbox carries of an event; None when no dialect can say it."""
    if not isinstance(event, Event) or type_of(event) not in RENDERED:
        return None
    if isinstance(event, CallAdopted) and event.role != "conversation":
        return None
    is_its_own = isinstance(event, StreamOpened | StreamSuperseded | StreamLost | StreamDegraded)
    return Fact(position, event, str(getattr(event, "stream", "")) if is_its_own else "")


def standing(facts: Facts, fact: Fact) -> Facts:
    """After one more fact: who answers, the turn nobody has answered, the open reply, tools nobody has spoken about."""
    event = fact.event
    match event:
        case CallStarted():
            return (fact,)
        case CallEnded():
            return ()
        case AgentChanged() | TurnTaken():
            return (*_without(facts, type(event)), fact)
        case ToolCalled() | ToolReturned():
            return (*facts, fact)
        case ReplyStarted():
            rest = _without(facts, ReplyStarted, ReplyFinished, *OF_REPLY)
            return (*(_without_returned(rest) if event.why in ANSWERS else rest), fact)
        case ReplyFinished():
            return (*_finished(facts), fact)
        case _ if isinstance(event, OF_REPLY):
            return (*facts, fact)
        case _:
            return facts


def _without(facts: Facts, *kinds: type[Event]) -> Facts:
    return tuple(fact for fact in facts if not isinstance(fact.event, kinds))


def _without_returned(facts: Facts) -> Facts:
    """An answer speaks about every tool that has returned."""
    returned = {fact.event.call for fact in facts if isinstance(fact.event, ToolReturned)}
    open_ones = tuple(fact for fact in facts if not (isinstance(fact.event, ToolCalled) and fact.event.id in returned))
    return _without(open_ones, ToolReturned)


def _finished(facts: Facts) -> Facts:
    """Of a reply that is over only stays whose it was; its turn, too, while another reply to it has to come."""
    rest = _without(facts, *OF_REPLY)
    started = max((fact.position for fact in rest if isinstance(fact.event, ReplyStarted)), default=0)
    is_owed = any(
        isinstance(fact.event, ToolCalled) or (isinstance(fact.event, AgentChanged) and fact.position > started)
        for fact in rest
    )
    return rest if is_owed else _without(rest, TurnTaken)
