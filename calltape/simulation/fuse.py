"""A death drawn in advance: after so many appends, or just before or behind the one that says a certain fact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eventlog.port import Entry
from schema.topics import MEDIA

Then = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Trap:
    topic: str
    fact: bytes  # as every codec of ours writes a type
    lets_pass: bool


class Fuse:
    """One sender's. The last one lit counts."""

    def __init__(self) -> None:
        self._then: Then | None = None
        self._sends_left = 0
        self._trap: _Trap | None = None

    def light(self, sends: int, then: Then) -> None:
        """Right after so many appends have left the sender: before it can read them back."""
        self._sends_left, self._then, self._trap = sends, then, None

    def set_trap(self, topic: str, fact: str, then: Then, *, lets_pass: bool) -> None:
        """At the next append that says a fact of this type; unless `lets_pass` it never leaves."""
        self._then, self._trap = then, _Trap(topic, f'"{fact}"'.encode(), lets_pass)

    def holds(self, topic: str, entries: Sequence[Entry]) -> bool:
        """Whether this append shall not leave any more; then the sender is dead by now."""
        if self._trap is None or self._trap.lets_pass or not self._is_trapped(topic, entries):
            return False
        self._blow()
        return True

    def burn(self, topic: str, entries: Sequence[Entry]) -> None:
        """This append has left."""
        if self._trap is not None:
            if self._is_trapped(topic, entries):
                self._blow()
        elif self._then is not None and topic != MEDIA.name:
            self._sends_left -= 1
            if self._sends_left <= 0:
                self._blow()

    def _is_trapped(self, topic: str, entries: Sequence[Entry]) -> bool:
        trap = self._trap
        return trap is not None and topic == trap.topic and any(trap.fact in entry.value for entry in entries)

    def _blow(self) -> None:
        then, self._then, self._trap = self._then, None, None
        if then is not None:
            then()
