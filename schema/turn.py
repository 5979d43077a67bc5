"""Whose turn it is, what is answered, and what of it was heard. A reply is named by its `reply.started`."""

from __future__ import annotations

from typing import Literal

import msgspec

from schema.envelope import Count, Event, MadeBy, Milliseconds, Moment
from schema.private import Private

ReplyCause = Literal["greeting", "turn", "prompt", "request", "tool", "handover"]


class Latency(msgspec.Struct, frozen=True, omit_defaults=True):
    """Milliseconds of each stage of one reply, all from the log's own times; absent where unknown."""

    endpoint: int | None = None  # last voiced frame to the turn's decision
    stt: int | None = None  # last voiced frame to the settled words
    agent: int | None = None  # turn taken to the first sentence, silent tools included
    tts: int | None = None  # first sentence to its first audio at the socket
    first_audio: int | None = None  # last voiced frame to the first audio written
    heard: int | None = None  # first audio written to the last mark


class TurnTaken(Event, frozen=True, kw_only=True, tag="turn.taken"):
    """The caller's turn is over; these utterances are answered together."""

    utterances: tuple[str, ...]  # ids of transcript.settled, text.typed, dtmf.pressed
    text: Private[str]
    kind: Literal["speech", "text", "dtmf"] = "speech"


class ReplyStarted(Event, frozen=True, kw_only=True, tag="reply.started"):
    """The agent answers. `in_answer_to` is the id of what it answers; empty for a greeting.

    That is the turn.taken, timer.rang, request.made, tool.returned or (why: handover) agent.changed.
    """

    version: int = msgspec.field(default_factory=lambda: 2)  # 2: `why` may be handover
    why: ReplyCause
    in_answer_to: str = ""
    generation: Count = 1
    agent: str = ""
    prompt_hash: str = ""
    seed: Count = 0
    made_by: MadeBy | None = None


class ReplySentence(Event, frozen=True, kw_only=True, tag="reply.sentence"):
    """One sentence of a reply, to be voiced from the log."""

    reply: str
    index: Count
    text: Private[str]
    generation: Count = 1


class ReplyVoiced(Event, frozen=True, kw_only=True, tag="reply.voiced"):
    """A sentence's audio exists."""

    reply: str
    index: Count
    duration_ms: Milliseconds
    made_by: MadeBy | None = None


class ReplyComposed(Event, frozen=True, kw_only=True, tag="reply.composed"):
    """The model has finished; nothing will be added."""

    reply: str
    sentences: Count
    hang_up: str = ""  # reason of the call's end once this was heard


class ReplyFinished(Event, frozen=True, kw_only=True, tag="reply.finished"):
    """The reply's last audio was heard, or it was cut."""

    reply: str
    interrupted: bool = False
    latency: Latency = Latency()


class ReplyInterrupted(Event, frozen=True, kw_only=True, tag="reply.interrupted"):
    """The caller spoke over the reply: stop playing it."""

    reply: str
    why: Literal["barge_in", "request", "ended", "paused", "superseded"] = "barge_in"


class ReplyResumed(Event, frozen=True, kw_only=True, tag="reply.resumed"):
    """The reply goes on: after a takeover, a false interruption or a new stream."""

    reply: str
    generation: Count
    after_index: int  # last sentence on the log; -1: none
    why: Literal["takeover", "false_barge_in", "new_stream", "resumed"] = "takeover"


class ToolCalled(Event, frozen=True, kw_only=True, tag="tool.called"):
    """The agent wants something done. Its key is this event's id."""

    reply: str
    name: str
    arguments: dict[str, Private[str]] = {}
    repeatable: bool = False


class ToolReturned(Event, frozen=True, kw_only=True, tag="tool.returned"):
    """What became of it; `unknown` when its owner died in between."""

    call: str  # id of tool.called
    status: Literal["ok", "failed", "unknown"]
    result: dict[str, Private[str]] = {}
    message: str = ""


class AgentChanged(Event, frozen=True, kw_only=True, tag="agent.changed"):
    """Another agent of the profile's list takes over; a `profile.used` follows. `cause` is the reply that said it."""

    agent: str  # name of its profile
    previous: str = ""


class TimerRang(Event, frozen=True, kw_only=True, tag="timer.rang"):
    """A timer that the state owed is due."""

    name: str
    due: Moment
    stream: str = ""
