"""Notices when the agent begins and stops speaking in what the caller hears: sans I/O, time is passed in."""

from dataclasses import dataclass
from enum import StrEnum

from clients.sound import is_audible

# Between two sentences a synthesiser may let the buffer run empty; shorter gaps belong to one reply.
EMPTY_HOLD_MS = 700
# A server that keeps the buffer full of silence is silent all the same.
SILENT_HOLD_MS = 2_000


class Change(StrEnum):
    STARTED = "started"
    STOPPED = "stopped"


@dataclass(slots=True)
class Span:
    """One stretch of agent speech on the call's clock; it grows until it is `over`."""

    started_ms: int
    ended_ms: int
    over: bool = False
    cleared: bool = False


class Ear:
    """Judges the caller's line frame by frame and keeps the spans of agent speech in their order."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._last_buffered_ms = 0

    @property
    def speaking(self) -> Span | None:
        """The span that goes on, if the agent is speaking."""
        return self.spans[-1] if self.spans and not self.spans[-1].over else None

    def hear(self, audio: bytes, *, until_ms: int, buffered: bool) -> Change | None:
        """Take what was heard up to `until_ms`; `buffered`: whether more lies in the playout buffer."""
        audible = is_audible(audio)
        if buffered or audible:
            self._last_buffered_ms = until_ms
        span = self.speaking
        if audible:
            if span is not None:
                span.ended_ms = until_ms
                return None
            self.spans.append(Span(started_ms=max(0, until_ms - len(audio) // 8), ended_ms=until_ms))
            return Change.STARTED
        if span is None:
            return None
        empty_ms = until_ms - self._last_buffered_ms
        if empty_ms >= EMPTY_HOLD_MS or until_ms - span.ended_ms >= SILENT_HOLD_MS:
            span.over = True
            return Change.STOPPED
        return None

    def clear(self) -> Change | None:
        """The buffer was cleared: whoever spoke is silent at once."""
        span = self.speaking
        if span is None:
            return None
        span.over = span.cleared = True
        return Change.STOPPED

    def finish(self) -> Change | None:
        """The call is over: whoever spoke has stopped."""
        span = self.speaking
        if span is None:
            return None
        span.over = True
        return Change.STOPPED
