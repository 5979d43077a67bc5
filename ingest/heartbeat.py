"""Websocket pings: how long the peer takes to answer, and whether it still does."""

from __future__ import annotations


class Heartbeat:
    """One socket's. `every_ms` 0: none is sent (a carrier's line has none)."""

    def __init__(self, *, every_ms: int, now: int) -> None:
        self.ping_ms: float | None = None  # of the last answered one
        self.missed = 0
        self._every_ms = every_ms
        self._at = now  # of the last ping
        self._number = 0
        self._waits = False

    def due(self, now: int, *, heard_at: int) -> bytes | None:
        """The payload of a ping to be sent now. One that is still unanswered counts as missed, unless the peer has
        said something else since: what speaks is alive."""
        if not self._every_ms or now - self._at < self._every_ms:
            return None
        self.missed = self.missed + 1 if self._waits and heard_at < self._at else 0
        if self.missed >= 2:
            return None
        self._at, self._waits = now, True
        self._number += 1
        return self._number.to_bytes(4, "big")

    def ponged(self, payload: bytes, now: int) -> None:
        """An answer; one to an older ping, or to none, says nothing."""
        if self._waits and payload == self._number.to_bytes(4, "big"):
            self._waits, self.missed = False, 0
            self.ping_ms = float(now - self._at)
