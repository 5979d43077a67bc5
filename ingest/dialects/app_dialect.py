"""What the app dialects answer alike: a table says what a message means in each state, and most answers are shared.

A dialect's own file holds what is its own: the names of its messages, how it starts, how it carries audio.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ingest.dialects.app import Sent, close_code, echo_of, read_count, read_figures, read_object, read_text
from ingest.dialects.base import (
    Answer,
    Ended,
    Figures,
    Ignored,
    Problem,
    Released,
    Repeated,
    Said,
    Typed,
    Wire,
    Wished,
)
from ingest.dialects.intake import Ear
from schema.envelope import AnyEvent


class State(enum.Enum):
    """Of a session, in the order in which it comes to them; a dialect's table has those that it knows."""

    FRESH = "fresh"
    NAMED = "named"  # the session is known, the format of its audio is not
    OPEN = "open"
    ENDED = "ended"


Message = Mapping[str, Any]
Heed = Callable[[Any, Message, int], tuple[Said, ...]]  # a dialect's method: what a message, come at this ms, means
Table = Mapping[tuple[State, str], Heed]


def by_state(states: Sequence[State], rows: Mapping[str, tuple[Heed, ...]]) -> Table:
    """Each row is a kind of message and its method in each of `states`. Raises ValueError for a row with a gap."""
    return {(state, kind): heed for kind, row in rows.items() for state, heed in zip(states, row, strict=True)}


def kinds_of(table: Table) -> tuple[str, ...]:
    """In the order of the rows."""
    return tuple(dict.fromkeys(kind for _, kind in table))


class Mouth(Protocol):
    """What a dialect says, in its protocol's words."""

    sent: Sent

    def fact(self, fact: AnyEvent) -> tuple[Wire, ...]: ...

    def audio(self, payload: bytes) -> Wire: ...

    def error(self, code: str, message: str, retry_after_ms: int | None) -> Wire: ...

    def say(self, kind: str, /, **fields: Any) -> Wire: ...


M = TypeVar("M", bound=Mouth)


class AppDialect(Generic[M]):
    """One socket of an app. `table` has a method for every message in every state that is reached."""

    door: str
    # What a client is told in the protocol's own words.
    malformed: Said = Problem("MALFORMED_MESSAGE", "a message is one JSON object", "not_json")
    not_base64: Said = Problem("MALFORMED_MESSAGE", "data is base64", "not_base64")
    empty_text: Said = Problem("MALFORMED_MESSAGE", "text is empty", "empty_text")
    kinds_are = "type is one of"

    def __init__(self, mouth: M, state: State, table: Table) -> None:
        self.state = state
        self.mouth = mouth
        self._table = table
        self._ear: Ear | None = None  # none before the audio's format is known

    # ------------------------------------------------------------------ what comes

    def greet(self) -> tuple[Said, ...]:
        return ()

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        message = read_object(frame)
        return (self.malformed,) if message is None else self.heed(message.get("type"), message, now_ms)

    def heed(self, kind: object, message: Message, now_ms: int) -> tuple[Said, ...]:
        heed = self._table.get((self.state, kind)) if isinstance(kind, str) else None
        if heed is None:
            kinds = ", ".join(kinds_of(self._table))
            return (Problem("UNKNOWN_MESSAGE", f"{self.kinds_are} {kinds}", "unknown_type"),)
        return heed(self, message, now_ms)

    def hear(self, payload: bytes | None, message: Message, now_ms: int) -> tuple[Said, ...]:
        """The audio of a message; None: it cannot be read. With `is_final` the turn ends, also without any audio."""
        if payload is None or self._ear is None:
            return (self.not_base64,)
        is_final, sequence = message.get("is_final") is True, read_count(message.get("sequence"))
        if payload:
            said = self._ear.take(payload, sequence)
        elif is_final:
            said = (Repeated(),) if self._ear.numbering.lost(sequence) is None else ()
        else:
            return (Ignored("empty_audio"),)
        said += self.measured(message, now_ms)
        return said if not is_final or said[:1] == (Repeated(),) else (*said, *self.released(message))

    def measured(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """What a message of audio tells of the wire."""
        return ()

    def released(self, message: Message) -> tuple[Said, ...]:
        if message.get("is_final") is not True or self._ear is None:
            return ()
        self._ear.numbering.turn_ended()
        return (Released(),)

    def text(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        text = read_text(message.get("text"))
        return (Typed(text),) if text else (self.empty_text,)

    def interrupt(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Wished("interrupt"),)

    def pause(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Wished("pause"),)

    def resume(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Wished("resume"),)

    def end(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """Of a call: the client is told of it when the log says it."""
        self.state = State.ENDED
        return (Wished("hang_up"),)

    def end_nothing(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        """Of a session that never began: it has only its socket."""
        self.state = State.ENDED
        return (Ended("stop"),)

    def pong(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Answer((self.mouth.say("pong", **echo_of(message)),)),)

    def nothing(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return ()

    def figures(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Figures(read_figures(message)),)

    def played(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return self.mouth.sent.played(message.get("sequence"))

    def too_late(self, message: Message, now_ms: int) -> tuple[Said, ...]:
        return (Ignored("after_end"),)

    # ------------------------------------------------------------------ what is said

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return self.mouth.fact(fact)

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return (self.mouth.error(code, message, retry_after_ms),)

    def audio(self, payload: bytes) -> Wire:
        return self.mouth.audio(payload)

    def mark(self, name: str) -> None:
        """Remembered behind the number of the audio: a client may say which it has played."""
        self.mouth.sent.mark(name)

    def clear(self) -> None:
        """What the protocol says of an interruption says it."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)
