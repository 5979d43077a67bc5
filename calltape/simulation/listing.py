"""A run's events as lines a person can follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from calltape.listed import listed
from calltape.simulation.house import BEGAN_MS
from calltape.simulation.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Listing:
    """A run that can be read without running it again."""

    mishaps: tuple[str, ...]  # what went wrong by plan, and when
    events: tuple[str, ...]


def events_of(outcome: Outcome) -> Iterator[str]:
    """`position ms [VOID] type id {what it says}`, in the log's order."""
    return listed(outcome.events, BEGAN_MS)
