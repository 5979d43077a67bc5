"""How long an app waits before it comes back."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_WAIT_S = 30.0


class Backoff:
    """1, 2, 4 … 30 s, each a little less by chance; `jitter` gives 0 to 1."""

    def __init__(self, jitter: Callable[[], float], *, first_s: float = 1.0) -> None:
        self._jitter = jitter
        self._first_s = first_s
        self.attempts = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """How long to wait before the next attempt."""
        wait_s = min(LONGEST_WAIT_S, self._first_s * float(2**self.attempts))
        self.attempts += 1
        return max(at_least_s, wait_s * (1 - 0.25 * self._jitter()))

    def reset(self) -> None:
        """Connected, and not for a moment only."""
        self.attempts = 0
