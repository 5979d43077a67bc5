"""Events about a call as a whole: its beginning, its owner, its end."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schema.envelope import Event, Milliseconds
from schema.private import Private


class HistoryLine(msgspec.Struct, frozen=True):
    """A line said before this call, given by the client."""

    speaker: Literal["caller", "agent"]
    text: Private[str]


class CallStarted(Event, frozen=True, kw_only=True, tag="call.started"):
    """A conversation begins. Said by the webhook, an app session, or an unsigned development start."""

    channel: str  # the door: twilio, mobile, call, raw, socketio, browser, turns
    from_: Private[str] = msgspec.field(name="from", default="")
    to: Private[str] = ""
    direction: Literal["inbound", "outbound"] = "inbound"
    agent: str = ""  # name of the profile
    language: str = ""
    user_id: str = ""
    parameters: dict[str, Private[str]] = {}
    history: tuple[HistoryLine, ...] = ()


class CallAdopted(Event, frozen=True, kw_only=True, tag="call.adopted"):
    """A worker process owns its role in this call from here on."""

    owner: str  # role:instance:incarnation


class ProfileUsed(Event, frozen=True, kw_only=True, tag="profile.used"):
    """The agent profile this call runs on from here, whole, so that a replay needs no file."""

    hash: str
    body: dict[str, Any]


class RequestMade(Event, frozen=True, kw_only=True, tag="request.made"):
    """A person wishes something of a live call. `source` is the request's id with `sequence` 0, or an app's stream and
    `:wishes`, or a companion's connection."""

    version: int = msgspec.field(default_factory=lambda: 2)  # 2: `kind` may be interrupt
    kind: Literal["say", "transfer", "hang_up", "pause", "resume", "interrupt"]
    by: Private[str] = ""
    text: Private[str] = ""
    to: Private[str] = ""


class CallTransferred(Event, frozen=True, kw_only=True, tag="call.transferred"):
    """The carrier was told to connect the caller to somebody else."""

    to: Private[str]


class CallReported(Event, frozen=True, kw_only=True, tag="call.reported"):
    """The carrier's status callback. `source` is the CallSid, `sequence` its SequenceNumber."""

    status: str  # queued, ringing, in-progress, completed, busy, failed, no-answer, canceled
    reason: str = ""
    duration_ms: Milliseconds = 0


class CallEnded(Event, frozen=True, kw_only=True, tag="call.ended"):
    """The conversation is over; words already said may still arrive until `call.sealed`."""

    reason: str  # caller_hung_up, agent_goodbye, silence, idle, too_long, grace_over, request, transferred, failed
    duration_ms: Milliseconds = 0


class CallSealed(Event, frozen=True, kw_only=True, tag="call.sealed"):
    """Nothing more will be heard or said."""

    complete: bool  # every stream was heard to its end
    unheard: tuple[str, ...] = ()  # streams that were not
