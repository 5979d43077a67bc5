"""When a wire is degraded: ping or loss over the limit in two measurements."""

from __future__ import annotations

PING_LIMIT_MS = 1_000
LOSS_LIMIT = 0.05
TWICE = 2


class Quality:
    """One stream's. Speaks once when it becomes bad, and again only after it was good."""

    def __init__(self) -> None:
        self._frames = 0
        self._lost = 0
        self._bad = 0

    def note(self, *, frames: int, lost: int, ping_ms: float | None) -> float | None:
        """The loss (0..1) since the last measurement when the stream is degraded from now on; else None."""
        came, missing = frames - self._frames, lost - self._lost
        self._frames, self._lost = frames, lost
        loss = missing / (came + missing) if came + missing else 0.0
        is_bad = loss > LOSS_LIMIT or (ping_ms or 0.0) > PING_LIMIT_MS
        self._bad = self._bad + 1 if is_bad else 0
        return loss if self._bad == TWICE else None
