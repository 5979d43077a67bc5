"""The fold of a call as conversation sees it: turns, life, profile, and what its streams were not told yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from schema.call import CallEnded, CallSealed, CallStarted, ProfileUsed
from schema.envelope import AnyEvent
from schema.private import plain
from schema.stream import StreamMeasured
from schema.turn import ReplySentence
from workers import lifecycle, turns
from workers.callstate_facts import Fact, Facts, fact_of, standing
from workers.lifecycle import Life, LifeRules
from workers.talk import Decision, End, Talk, Wait

MOST_FACTS = 500  # kept while no stream says what it has taken


class CallState(msgspec.Struct, frozen=True):
    """One call. A struct, because it is replaced at every event: a dataclass takes ten times as long for that."""

    talk: Talk = Talk()
    life: Life = Life()
    profile_hash: str = ""
    profile_body: dict[str, Any] | None = None
    profiles: Mapping[str, dict[str, Any]] = {}  # hash -> body, of every agent so far
    parameters: Mapping[str, str] = {}  # of call.started
    facts: Facts = ()  # not confirmed by the stream that speaks for the call
    standing: Facts = ()  # what every stream has to know, confirmed or not
    ended: Fact | None = None
    sealed: bool = False


def fold(state: CallState, event: AnyEvent, position: int, at: int) -> CallState:
    """The state after one admitted event."""
    talk = turns.fold(state.talk, event, position, at)
    life = lifecycle.fold(state.life, event, position, at)
    if talk is not state.talk or life is not state.life:
        state = replace(state, talk=talk, life=life)
    if isinstance(event, ProfileUsed):
        profiles = {**state.profiles, event.hash: event.body}
        return replace(state, profile_hash=event.hash, profile_body=event.body, profiles=profiles)
    if isinstance(event, CallStarted):
        state = replace(state, parameters={name: plain(value) for name, value in event.parameters.items()})
    if isinstance(event, StreamMeasured):
        return _confirmed(state, event)
    if isinstance(event, CallSealed):
        return replace(state, sealed=True)
    fact = fact_of(event, position)
    if fact is None:
        return state
    ended = fact if isinstance(event, CallEnded) else state.ended
    facts = (*state.facts, fact)[-MOST_FACTS:]
    return replace(state, facts=facts, standing=standing(state.standing, fact), ended=ended)


def _confirmed(state: CallState, event: StreamMeasured) -> CallState:
    if event.stream != state.talk.stream or not state.facts or state.facts[0].position > event.outbox_through:
        return state
    return replace(state, facts=tuple(fact for fact in state.facts if fact.position > event.outbox_through))


def missed(state: CallState) -> Facts:
    """What a stream that was told nothing has to be told, in the order of the log: what stands, then what the older
    stream did not confirm. Sentences that were heard to their ends are known."""
    first = state.facts[0].position if state.facts else None
    reply = state.talk.reply
    over = {sentence.id for sentence in reply.sentences if sentence.over} if reply is not None else set()
    earlier = (
        fact
        for fact in state.standing
        if (first is None or fact.position < first)
        and not (isinstance(fact.event, ReplySentence) and fact.event.id in over)
    )
    return (*earlier, *state.facts)


def owed(state: CallState) -> tuple[tuple[Decision, ...], tuple[Wait, ...]]:
    """The decisions of both reducers, or, if there are none, the timers of both."""
    if state.sealed:
        return (), ()
    life = lifecycle.owed(state.life)
    # A call that is about to end is answered no more.
    found = life if any(isinstance(decision, End) for decision in life) else (*turns.owed(state.talk), *life)
    decisions = tuple(decision for decision in found if not isinstance(decision, Wait))
    return decisions, tuple(decision for decision in found if isinstance(decision, Wait))


def fresh(rules: LifeRules) -> CallState:
    """A call nothing is known of, with the limits of this house."""
    return CallState(life=Life(rules=rules))
