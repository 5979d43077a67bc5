"""What the app dialects share: JSON that may be anything, what was sent and played, whose turn the app shows."""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.dialects.base import Ignored, MarkEchoed, Problem, Said, Violation
from schema.call import CallEnded, CallStarted
from schema.controls import without_controls
from schema.envelope import AnyEvent
from schema.failure import EngineChanged, WorkFailed
from schema.stream import PlaybackStarted
from schema.turn import (
    AgentChanged,
    ReplyFinished,
    ReplyInterrupted,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TurnTaken,
)

MARKS_KEPT = 4_096  # of a client that never says what it played
FIGURES = ("latency_ms", "ping_ms", "jitter_ms", "loss", "snr", "clarity")  # a client's own, as they are kept

# stream.closed's reasons that have a code of their own (protocols: close codes).
CLOSE_CODES: Mapping[str, int] = {
    "peer_lost": 1001,
    "protocol": 1002,
    "limit": 1008,
    "forbidden": 1008,
    "restart": 1012,
    "lost": 1012,
    "slow": 1013,
    "expired": 4401,
    "superseded": 4409,
}

# Stages without which nothing is heard, thought or said; others fail without the client noticing.
ENGINES = frozenset({"stt", "agent", "llm", "tts", "duplex"})
NAVIGATE = "navigate_to_page"  # the tool that shows a page
NAVIGATIONS_KEPT = 64  # calls of it that have not returned

# What a client is answered that names a site there is not for its tenant; which of both it is, is not told.
_NO_SITE = "there is no such site for the token's tenant"
NO_SITE: tuple[Said, ...] = (Problem("FORBIDDEN", _NO_SITE, "no_site"), Violation(1008, "no_site", _NO_SITE))

# What a client is answered that names its session by what can be no name.
_BAD_SESSION = "a session id is 1 to 64 letters, digits, _ or -"
BAD_SESSION: tuple[Said, ...] = (
    Problem("SESSION_INVALID", _BAD_SESSION, "bad_session"),
    Violation(1008, "bad_session", _BAD_SESSION),
)
SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_json = msgspec.json.Decoder()


def close_code(reason: str) -> int:
    """The websocket code an app's socket is closed with."""
    return CLOSE_CODES.get(reason, 1000)


def read_object(frame: str | bytes) -> dict[str, Any] | None:
    """A JSON object, from text or from UTF-8 bytes; None if it is none."""
    try:
        found = _json.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_base64(text: object) -> bytes | None:
    """None if it is no base64."""
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def read_count(value: object) -> int | None:
    """A non-negative whole number, also as a string of digits; None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def read_text(value: object, longest: int = 4_000) -> str:
    """Words, without control characters: they come before an operator's terminal. Empty if there are none."""
    return without_controls(value).strip()[:longest] if isinstance(value, str) else ""


def read_session(value: object) -> str | None:
    """The name a client gives its session, unchecked; empty if it gives none; None if it is no text at all."""
    if value is None:
        return ""
    return value.strip()[:200] if isinstance(value, str) else None


def read_figures(message: Mapping[str, Any]) -> dict[str, float]:
    """What a client measured of the wire, as far as it is numbers."""
    inner = message.get("metrics")
    found = {**message, **inner} if isinstance(inner, dict) else message
    values = {name: found.get(name) for name in FIGURES}
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    }


def echo_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of a ping, for its pong; nothing if there is none, or none that can be said in JSON."""
    if "payload" not in message:
        return {}
    try:
        msgspec.json.encode(message["payload"])
    except (msgspec.MsgspecError, OverflowError, ValueError, RecursionError):
        return {}
    return {"payload": message["payload"]}


def failed_stage(fact: AnyEvent) -> str:
    """Which engine is away, when a session has to go on in text; else empty."""
    match fact:
        case WorkFailed(stage=stage) | EngineChanged(port=stage, state="none") if stage in ENGINES:
            return stage
        case _:
            return ""


class Navigation:
    """Follows the tool that shows pages."""

    def __init__(self) -> None:
        self._called: deque[str] = deque(maxlen=NAVIGATIONS_KEPT)

    def fact(self, event: AnyEvent) -> tuple[str, str] | None:
        """(page, path) when one is to be shown; else None."""
        match event:
            case ToolCalled(name=name, id=call) if name == NAVIGATE:
                self._called.append(call)
            case ToolReturned(call=call, status="ok", result=result) if call in self._called:
                self._called.remove(call)
                page, path = result.get("page", ""), result.get("path")
                if isinstance(page, str) and isinstance(path, str):
                    return page, path
            case _:
                pass
        return None


class Sent:
    """What was sent: audio numbered from 1, and which playback mark stands behind which number."""

    def __init__(self) -> None:
        self.sequence = 0
        self._marks: deque[tuple[int, str]] = deque(maxlen=MARKS_KEPT)

    def next(self) -> int:
        self.sequence += 1
        return self.sequence

    def mark(self, name: str) -> None:
        """Behind what was sent last."""
        self._marks.append((self.sequence, name))

    def played(self, value: object) -> tuple[Said, ...]:
        """The client says that it played everything up to this number."""
        sequence = read_count(value)
        if sequence is None or sequence > self.sequence:
            return (Ignored("bad_played"),)
        names = []
        while self._marks and self._marks[0][0] <= sequence:
            names.append(self._marks.popleft()[1])
        return tuple(MarkEchoed(name) for name in names)


class Status(enum.Enum):
    """What an app shows its user."""

    LISTENING = "listening"
    PROCESSING = "processing"
    SPEAKING = "speaking"
    COMPLETE = "complete"


class Track:
    """Follows whose turn it is, and who answers."""

    def __init__(self) -> None:
        self.status = Status.LISTENING
        self.agent = ""  # name of the profile of who speaks
        self._next = ""  # who has the call, and speaks once the open reply is over
        self._told_agent = ""
        self._is_open = False  # a reply
        self._tools: set[str] = set()  # called and not returned
        self._is_owed = False  # a tool's or a hand-over's reply

    def fact(self, event: AnyEvent) -> Status | None:
        """The status when it has changed, or when another agent begins to speak; else None."""
        self._follow_agent(event)
        self._follow_tools(event)
        match event:
            case CallEnded():
                return self._to(Status.COMPLETE)
            case TurnTaken():
                return self._to(Status.PROCESSING)
            case PlaybackStarted():
                return self._to(Status.SPEAKING)
            case ReplyFinished(interrupted=False) if self._is_answer_to_come:
                return None
            case ReplyFinished() | ReplyInterrupted():
                return self._to(Status.LISTENING)
            case _:
                return None

    @property
    def agent_name(self) -> str:
        """Without the folder of its profile."""
        return self.agent.rsplit("/", 1)[-1]

    @property
    def _is_answer_to_come(self) -> bool:
        """Nothing has sounded since the caller's turn, for who replied called a tool or handed over: another reply
        follows."""
        return self.status is Status.PROCESSING and (bool(self._tools) or self._is_owed)

    def _follow_agent(self, event: AnyEvent) -> None:
        """Who hands over is heard to the end of their reply."""
        match event:
            case CallStarted(agent=agent) | AgentChanged(agent=agent) if agent:
                self._next = agent
                self.agent = self.agent if self._is_open else agent
            case ReplyStarted(agent=agent):
                self._is_open = True
                self.agent = self._next = agent or self._next
            case ReplyFinished():
                self._is_open = False
                self.agent = self._next

    def _follow_tools(self, event: AnyEvent) -> None:
        match event:
            case ToolCalled(id=call):
                self._tools.add(call)
            case ToolReturned(call=call):
                self._tools.discard(call)
                self._is_owed = True
            case AgentChanged():
                self._is_owed = True
            case ReplyStarted(why="turn" | "tool" | "handover"):
                self._is_owed = False

    def _to(self, status: Status) -> Status | None:
        is_other = status is Status.SPEAKING and self.agent != self._told_agent
        if self.status is Status.COMPLETE or (status is self.status and not is_other):
            return None
        self.status, self._told_agent = status, self.agent
        return status
