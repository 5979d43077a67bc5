"""The agent port: a function from the conversation so far to what is said and done next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from workers.engines.port import MadeBy


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """One turn of the caller. `kind`: speech, text or dtmf. `ids` are its transcript events.

    `cut_off`: the line went in the middle of it, and the caller was asked to say it again: no wish to be followed.
    """

    text: str
    kind: str = "speech"
    ids: tuple[str, ...] = ()
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class AgentSaid:
    """One reply. `heard` is the part that reached the caller's ear; equal to `text` unless interrupted."""

    text: str
    heard: str
    cause: str  # greeting | turn | prompt | request | tool | handover


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool that was called and came back. `status`: ok | failed | unknown."""

    name: str
    arguments: dict[str, str]
    status: str
    result: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Another agent took the conversation: what stands before it in the history was between others."""

    agent: str
    previous: str = ""


HistoryItem = CallerSaid | AgentSaid | ToolReturned | HandedOver


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything an agent may know. `cause` says why it is asked to speak now:

    greeting (nobody spoke yet), turn (the last item is CallerSaid), tool (the last item is ToolReturned),
    prompt (the caller is silent; `prompts` counts them from 1), request (`instruction` holds words to say), handover
    (another agent has just given the call to this one, which goes on without waiting for the caller).
    """

    cause: str
    history: tuple[HistoryItem, ...]
    started_at: datetime  # the call's first event, UTC: "tomorrow" is relative to it
    language: str = "en-US"
    prompts: int = 0
    instruction: str = ""
    agent: str = ""  # who is asked, as `HandedOver` names it; empty: nobody was handed over to


@dataclass(frozen=True, slots=True)
class Say:
    """One sentence, spoken as soon as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class CallTool:
    """Do something in the world; the agent is asked again (`cause="tool"`) when it returned."""

    name: str
    arguments: dict[str, str]
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """Another agent takes the conversation, and speaks as soon as what this one said was heard."""

    agent: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call when everything said so far was heard."""

    reason: str = "agent_goodbye"


Said = Say | CallTool | HandOver | HangUp


class Agent(Protocol):
    """Answers. Deterministic agents give the same answer to the same conversation. Raises EngineError."""

    def reply(self, conversation: Conversation) -> AsyncIterator[Said]: ...

    def made_by(self) -> MadeBy: ...
