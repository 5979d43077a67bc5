"""Who is believed: one pure function under every fold (rules R1 to R3 of the call's protocol).

A worker's event must name its predecessor, any other must carry a growing sequence, and a call must be live.
What is not admitted is void for every reader, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from schema.call import CallSealed, CallStarted
from schema.envelope import AnyEvent, type_of
from schema.stream import StreamOpened, StreamSuperseded

# Behind a stream's name: the source of what its user wishes of the call. It outlives the stream, as a wish does.
WISHES = ":wishes"
# After call.sealed only these still speak of the call.
LATE_ROLES = frozenset({"summariser", "recorder"})
LATE_TYPES = ("stream.", "playback.")


class Admission(msgspec.Struct, frozen=True):
    """All that admission needs to know of one call."""

    life: str = ""  # id of the call.started that began the live call; empty: never begun
    sealed: bool = False
    roles: Mapping[str, str] = {}  # role -> id of its last admitted event
    sources: Mapping[str, int] = {}  # source -> its last admitted sequence
    superseded: frozenset[str] = frozenset()  # streams that may only report on themselves
    began: int = 0  # how many lives the call had
    user_id: str = ""  # whose call it is; empty: anybody's who has its id


def admit(state: Admission, event: AnyEvent) -> Admission | None:
    """The state after an admitted event, or None when the event is void."""
    if isinstance(event, CallStarted):
        return _begin(state, event)
    if not state.life or (state.sealed and not _may_speak_late(event)):
        return None
    if _is_from_superseded(state, event) or is_strangers(state, event):
        return None
    chained = _chain(state, event)
    if chained is None:
        return None
    return _note_consequences(chained, event)


def _begin(state: Admission, event: CallStarted) -> Admission | None:
    if state.life and not state.sealed:
        return None  # the call lives: this is a resume
    if event.id == state.life or not _is_news(state, event):
        return None  # a beginning, or a resume, delivered again after its call was sealed
    # R2 holds for a beginning, too: what its source said once it does not say again in a resume that comes twice.
    sources = {event.source: event.sequence} if event.source else {}
    return Admission(life=event.id, sources=sources, began=state.began + 1, user_id=event.user_id)


def _may_speak_late(event: AnyEvent) -> bool:
    return event.role in LATE_ROLES or type_of(event).startswith(LATE_TYPES)


def _is_from_superseded(state: Admission, event: AnyEvent) -> bool:
    return not event.role and event.source in state.superseded and not type_of(event).startswith(LATE_TYPES)


def is_strangers(state: Admission, event: AnyEvent) -> bool:
    """In a user's call, a socket that another user opened is no stream, and what it says is nobody's word."""
    if not state.user_id or not event.source:
        return False
    if event.source.endswith(WISHES):
        return event.source.removesuffix(WISHES) not in state.sources
    if getattr(event, "stream", "") != event.source:
        return False
    if isinstance(event, StreamOpened):
        return event.user_id != state.user_id
    return event.source not in state.sources


def _chain(state: Admission, event: AnyEvent) -> Admission | None:
    if event.role:
        if event.prior != state.roles.get(event.role, state.life):
            return None
        return msgspec.structs.replace(state, roles={**state.roles, event.role: event.id})
    if not event.source or not _is_news(state, event):
        return None
    return msgspec.structs.replace(state, sources={**state.sources, event.source: event.sequence})


def _is_news(state: Admission, event: AnyEvent) -> bool:
    """Whether its source has not yet been heard to say so much in this life, or in the one that was sealed."""
    return event.sequence > state.sources.get(event.source, -1)


def _note_consequences(state: Admission, event: AnyEvent) -> Admission:
    if isinstance(event, StreamSuperseded):
        return msgspec.structs.replace(state, superseded=state.superseded | {event.stream})
    if isinstance(event, CallSealed):
        return msgspec.structs.replace(state, sealed=True)
    return state


def prior_for(state: Admission, role: str) -> str:
    """What the next event of `role` must name as its predecessor. Empty when the call never began."""
    return state.roles.get(role, state.life)
