"""Whose word counts, judged a second time: by hand from the rules (R1 to R3), not by `schema.admit`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from calltape.simulation.tape import Tape
from schema.call import CallSealed, CallStarted
from schema.envelope import AnyEvent, type_of
from schema.registry import decode
from schema.stream import StreamOpened, StreamSuperseded

WISHES = ":wishes"  # behind a stream's name: its peer's wishes, which outlive it
AFTER_THE_SEAL = ("summariser", "recorder")


@dataclass(slots=True)
class _Life:
    """A call from its beginning to the next one under the same name."""

    began: str  # id of its call.started
    user: str
    sealed: bool = False
    last: dict[str, str] = field(default_factory=dict)  # role -> its last event that counted
    told: dict[str, int] = field(default_factory=dict)  # source -> the highest number it was believed
    superseded: set[str] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)  # that speak for it


def chain(tape: Tape) -> Iterator[str]:
    """R1: nothing counts twice, and each worker's word follows the last of its role."""
    last: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str]] = set()
    for one in tape.admitted:
        event = one.event
        if (one.life, event.id) in seen:
            yield f"{event.id} was admitted twice"
        seen.add((one.life, event.id))
        if event.role:
            if event.prior != last.get((one.life, event.role), one.life):
                yield f"{type_of(event)} {event.id} names {event.prior}"
            last[one.life, event.role] = event.id


def begun(tape: Tape) -> Iterator[str]:
    """What was a resume when it was said first is no beginning when it comes again."""
    yield from tape.stale


def late(tape: Tape) -> Iterator[str]:
    sealed: set[str] = set()
    for one in tape.admitted:
        if one.life in sealed and one.event.role not in AFTER_THE_SEAL and not _is_of_the_wire(one.event):
            yield f"{type_of(one.event)} {one.event.id} after call.sealed"
        if isinstance(one.event, CallSealed):
            sealed.add(one.life)


def superseded(tape: Tape) -> Iterator[str]:
    """R3: a stream that another has taken over from reports on itself; what its peer does there has no effect."""
    older: set[tuple[str, str]] = set()
    for one in tape.admitted:
        event = one.event
        if isinstance(event, StreamSuperseded):
            older.add((one.life, event.stream))
        elif not event.role and (one.life, event.source) in older and not _is_of_the_wire(event):
            yield f"{type_of(event)} {event.id} of {event.source}, which was superseded"


def strangers(tape: Tape) -> Iterator[str]:
    """In a user's call nothing is said by, to or about a socket that somebody else opened."""
    users = {one.life: one.event.user_id for one in tape.of(CallStarted) if isinstance(one.event, CallStarted)}
    opened_by: dict[str, str] = {}
    for record in tape.outcome.events:
        if isinstance(event := decode(record.value), StreamOpened):
            opened_by[event.stream] = event.user_id
    for one in tape.admitted:
        for name in {one.event.source.removesuffix(WISHES), getattr(one.event, "stream", "")} & opened_by.keys():
            if users[one.life] and opened_by[name] != users[one.life]:
                yield f"{type_of(one.event)} {one.event.id} of {name}, which is {opened_by[name] or 'nobody'}'s"
    yield from (f"{name} was sent {frames} frames of sound" for name, frames in tape.outcome.overheard.items())


def as_the_rules_say(tape: Tape) -> Iterator[str]:
    """The whole log read again by a second judge, who knows the rules and not the code."""
    admitted = {one.position for one in tape.admitted}
    lives: dict[str, _Life] = {}
    for record in tape.outcome.events:
        event = decode(record.value)
        counts = _counts(lives, event)
        if counts != (record.position in admitted):
            verdict = "void by the rules, and admitted" if not counts else "believed by the rules, and void"
            yield f"{type_of(event)} {event.id} at {record.position} is {verdict}"


def _counts(lives: dict[str, _Life], event: AnyEvent) -> bool:
    life = lives.get(event.call_id)
    if isinstance(event, CallStarted):
        if life is not None and (not life.sealed or not _is_news(life, event)):
            return False
        life = lives[event.call_id] = _Life(event.id, event.user_id)
        life.told[event.source] = event.sequence
        life.streams.add(event.source)  # an app's session begins its call on the stream it opens next
        return True
    if life is None or (life.sealed and event.role not in AFTER_THE_SEAL and not _is_of_the_wire(event)):
        return False
    if not (_follows(life, event) if event.role else _may_speak(life, event) and _is_news(life, event)):
        return False
    _note(life, event)
    return True


def _follows(life: _Life, event: AnyEvent) -> bool:
    return event.prior == life.last.get(event.role, life.began)


def _is_news(life: _Life, event: AnyEvent) -> bool:
    return bool(event.source) and (event.source not in life.told or event.sequence > life.told[event.source])


def _may_speak(life: _Life, event: AnyEvent) -> bool:
    if event.source in life.superseded and not _is_of_the_wire(event):
        return False
    if not life.user:
        return True
    if isinstance(event, StreamOpened):
        return event.user_id == life.user
    name, is_wish, _ = event.source.partition(WISHES)
    is_of_a_socket = is_wish or getattr(event, "stream", "") == event.source
    return not is_of_a_socket or name in life.streams


def _note(life: _Life, event: AnyEvent) -> None:
    if event.role:
        life.last[event.role] = event.id
    else:
        life.told[event.source] = event.sequence
    match event:
        case StreamOpened():
            life.streams.add(event.stream)
        case StreamSuperseded():
            life.superseded.add(event.stream)
        case CallSealed():
            life.sealed = True


def _is_of_the_wire(event: AnyEvent) -> bool:
    return type_of(event).startswith(("stream.", "playback."))


CHECKS = {
    "nobody begins a call but its caller": begun,
    "after the seal only the allowed": late,
    "the chain holds": chain,
    "nothing of a superseded stream has effect": superseded,
    "a stranger neither hears nor says anything": strangers,
    "who counts is who the rules say": as_the_rules_say,
}
