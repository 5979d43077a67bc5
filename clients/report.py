"""What a simulated call saw: live observations while it lasts and one report at its end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from clients.playout import MarkEcho
from clients.sound import mulaw_to_wav
from clients.strict import Violation


class Seen(StrEnum):
    DIALLED = "dialled"
    ANSWERED = "answered"
    STREAM_OPENED = "stream_opened"
    STREAM_CLOSED = "stream_closed"
    CALLER_STARTED = "caller_started"
    CALLER_FINISHED = "caller_finished"
    CALLER_PRESSED = "caller_pressed"
    AGENT_STARTED = "agent_started"
    AGENT_STOPPED = "agent_stopped"
    MARK_PLAYED = "mark_played"
    MARK_CLEARED = "mark_cleared"
    CLEARED = "cleared"
    REDIRECTED = "redirected"
    CARRIER_SAID = "carrier_said"
    TRANSFERRED = "transferred"
    NETWORK_DROPPED = "network_dropped"
    VIOLATION = "violation"
    FAILURE = "failure"
    HUNG_UP = "hung_up"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing seen from the caller's end; at_ms counts from the answer, in the call's own time."""

    kind: Seen
    at_ms: int
    text: str = ""


OnEvent = Callable[[Observation], None]


@dataclass(slots=True)
class Turn:
    """One thing the caller said.

    started_ms, ended_ms: first and last audible sample, from the answer;
    first_audio_ms: from ended_ms to the first agent audio heard after it;
    clear_ms: from started_ms to the server's `clear`, if the agent was speaking then.
    """

    text: str
    started_ms: int
    ended_ms: int
    interrupts: bool
    first_audio_ms: int | None = None
    clear_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StatusPosted:
    """A callback the carrier made; http is the status it got, None if nobody answered."""

    kind: str
    status: str
    http: int | None


@dataclass(slots=True)
class CallReport:
    """Filled while the call lasts; heard and caller are mu-law 8 kHz from the answer on, silence included."""

    call_id: str
    streams: int = 0
    violations: list[Violation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    marks: list[MarkEcho] = field(default_factory=list)
    clears: int = 0
    redirects: int = 0
    transferred: str | None = None
    ended_by: str = ""
    turns: list[Turn] = field(default_factory=list)
    statuses: list[StatusPosted] = field(default_factory=list)
    heard: bytes = b""
    caller: bytes = b""
    duration_ms: int = 0

    @property
    def ok(self) -> bool:
        """The whole script was played over at least one stream, and the server broke no rule."""
        return self.streams > 0 and not self.violations and not self.failures

    def write_heard_wav(self, path: Path) -> None:
        """What the caller heard, mono."""
        path.write_bytes(mulaw_to_wav(self.heard))

    def as_json(self, heard_wav: Path | None = None) -> dict[str, Any]:
        """The document `calltape call --json` prints."""
        return {
            "ok": self.ok,
            "call_id": self.call_id,
            "streams": self.streams,
            "violations": [{"code": broken.code, "text": broken.text} for broken in self.violations],
            "heard_wav": str(heard_wav) if heard_wav else None,
            "marks": [{"name": mark.name, "at_ms": mark.at_ms, "cleared": mark.cleared} for mark in self.marks],
            "clears": self.clears,
            "redirects": self.redirects,
            "transferred": self.transferred,
            "ended_by": self.ended_by,
            "failures": list(self.failures),
            "turns": [
                {
                    "text": turn.text,
                    "started_ms": turn.started_ms,
                    "ended_ms": turn.ended_ms,
                    "first_audio_ms": turn.first_audio_ms,
                    "clear_ms": turn.clear_ms,
                }
                for turn in self.turns
            ],
            "statuses": [{"kind": s.kind, "status": s.status, "http": s.http} for s in self.statuses],
        }
