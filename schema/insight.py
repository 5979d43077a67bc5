"""What is learnt from a finished call; everything cites the transcript events it rests on."""

from __future__ import annotations

import msgspec

from schema.envelope import Count, Event, MadeBy, Milliseconds
from schema.private import Private


class KeyPoint(msgspec.Struct, frozen=True):
    """One thing worth keeping."""

    text: Private[str]
    cites: tuple[str, ...]


class CallSummarised(Event, frozen=True, kw_only=True, tag="call.summarised"):
    """A summary of a sealed call. A later revision replaces an earlier one."""

    revision: Count
    summary: Private[str]
    key_points: tuple[KeyPoint, ...] = ()
    sentiment: str = "neutral"  # positive, neutral, negative
    cites: tuple[str, ...] = ()
    made_by: MadeBy | None = None


class ActionFound(Event, frozen=True, kw_only=True, tag="action.found"):
    """Something somebody has to do."""

    title: Private[str]
    kind: str  # reminder, note, todo, meeting, call, email, project, follow_up
    due: str = ""  # ISO 8601, or as said
    assignee: Private[str] = ""
    revision: Count = 1
    number: Count = 0  # within the revision
    cites: tuple[str, ...] = ()
    made_by: MadeBy | None = None


class RecordingSaved(Event, frozen=True, kw_only=True, tag="recording.saved"):
    """A recording of what was really received and sent: caller left, agent right."""

    path: str  # below the recordings folder
    duration_ms: Milliseconds
    format: str = "wav"
    channels: Count = 2
    sample_rate: Count = 8000
