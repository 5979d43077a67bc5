"""What the queries give: calls and everything known of one, as values.

Moments (`…_at`) are ms since 1970 in the log's time; `…_ms` are durations or places on the call's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class CallState(Enum):
    """Whether a call can be joined."""

    UNKNOWN = "unknown"
    LIVE = "live"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Call:
    """One life of a call: from its `call.started` to its end."""

    life: str
    call_id: str
    tenant_id: str
    user_id: str
    channel: str
    from_number: str
    to_number: str
    direction: str
    agent: str
    language: str
    profile_hash: str
    engine: str
    model: str
    stt_engine: str
    stt_model: str
    tts_engine: str
    tts_model: str
    partition: int
    position: int
    started_at: int
    ended_at: int | None
    sealed_at: int | None
    complete: bool | None
    unheard: list[str] | None
    reason: str
    duration_ms: int | None
    carrier_status: str
    carrier_reason: str
    transferred_to: str
    turns: int
    events: int
    void: int


@dataclass(frozen=True, slots=True)
class CallPage:
    """Calls, newest first, and where the next page begins (empty: there is none)."""

    calls: tuple[Call, ...]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the transcript. `heard_text` is None when sealed words would have to be cut."""

    id: str
    speaker: str
    kind: str
    text: str
    heard_text: str | None
    start_ms: int | None
    end_ms: int | None
    position: int
    stream: str
    confidence: float | None
    language: str
    engine: str
    model: str
    reply: str
    sentence: int | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of each stage; None where unknown."""

    endpoint: int | None = None
    stt: int | None = None
    agent: int | None = None
    tts: int | None = None
    first_audio: int | None = None
    heard: int | None = None
    barge_in: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the agent said at one go. `turn` is empty for a greeting, a prompt or a request."""

    id: str
    why: str
    turn: str
    started_ms: int
    finished_ms: int | None
    interrupted: bool
    interrupted_why: str
    agent: str
    profile_hash: str
    engine: str
    model: str
    hang_up: str
    text: str
    heard_text: str
    latency: Latency


@dataclass(frozen=True, slots=True)
class Turn:
    """What the caller said, and what answered it (several replies when a tool was called in between)."""

    id: str
    number: int
    taken_ms: int
    kind: str
    text: str
    utterances: tuple[str, ...]
    agent: str
    profile_hash: str
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class KeyPoint:
    """One thing worth keeping, and the transcript lines it rests on."""

    text: str
    cites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The latest revision."""

    revision: int
    summary: str
    sentiment: str
    cites: tuple[str, ...]
    engine: str
    model: str


@dataclass(frozen=True, slots=True)
class Action:
    """Something somebody has to do, and the transcript lines it rests on."""

    id: str
    title: str
    kind: str
    due: str
    assignee: str
    cites: tuple[str, ...]
    done: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """One socket of the call and its last measurement (None: never measured)."""

    stream: str
    epoch: int
    door: str
    encoding: str
    sample_rate: int
    opened_at: int
    closed_at: int | None
    close_reason: str
    superseded_by: str
    lost: bool
    degraded: int
    heard_through_ms: int | None
    heard_complete: bool | None
    measured: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the agent called. `status` is empty while it is open."""

    id: str
    name: str
    arguments: dict[str, str]
    status: str
    result: dict[str, str] | None
    message: str
    called_ms: int
    returned_ms: int | None


@dataclass(frozen=True, slots=True)
class Recording:
    """A file below the recordings folder."""

    path: str
    duration_ms: int
    format: str
    channels: int
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong. Stage `projection`: a record that could not be applied."""

    partition: int
    position: int
    at: int
    call_id: str
    event_id: str
    stage: str
    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class CallDetails:
    """Everything known of one life of a call."""

    call: Call
    lines: tuple[Line, ...]
    turns: tuple[Turn, ...]
    replies: tuple[Reply, ...]
    summary: Summary | None
    key_points: tuple[KeyPoint, ...]
    actions: tuple[Action, ...]
    recordings: tuple[Recording, ...]
    streams: tuple[Stream, ...]
    tools: tuple[Tool, ...]
    failures: tuple[Failure, ...]
