"""What conversation puts into the mailbox of the process that holds a call's socket."""

from __future__ import annotations

from eventlog.port import Entry
from schema import topics
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import encode, pack
from workers.appender import Appender
from workers.callstate import CallState
from workers.callstate_facts import Fact
from workers.lifecycle import Line


class Outbound:
    """Facts and audio, in the order they are given, to the mailbox named by the stream."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    def fact(self, state: CallState, fact: Fact) -> None:
        """Copy one admitted fact to the streams it concerns."""
        for line in _concerned(state, fact):
            body = encode(fact.event)
            message = OutboxFact(call_id=fact.event.call_id, stream=line.id, position=fact.position, body=body)
            self._put(line.mailbox, message)

    def tell(self, call_id: str, stream: str, mailbox: int, fact: Fact) -> None:
        """One fact to a stream that belongs to no live call."""
        message = OutboxFact(call_id=call_id, stream=stream, position=fact.position, body=encode(fact.event))
        self._put(mailbox, message)

    def audio(self, mailbox: int, message: OutboxAudio) -> None:
        """One piece of a sentence."""
        self._put(mailbox, message)

    def _put(self, mailbox: int, message: OutboxFact | OutboxAudio) -> None:
        self._appender.put(topics.OUTBOX.name, Entry(message.call_id, pack(message), partition=mailbox))


def _concerned(state: CallState, fact: Fact) -> list[Line]:
    if fact.stream:
        line = state.life.lines.get(fact.stream)
        return [line] if line is not None else []
    if fact is state.ended:
        # Everybody who may still hold a socket of the call, even one that was given up for lost.
        return [line for line in state.life.lines.values() if line.gone in ("", "lost")]
    return [state.life.line] if state.life.line is not None else []
