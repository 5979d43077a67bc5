"""A run's events as lines a person can follow."""

from __future__ import annotations

from collections.abc import Iterator

from calltape.listed import listed
from calltape.simulation.house import BEGAN_MS
from calltape.simulation.outcome import Outcome


def events_of(outcome: Outcome) -> Iterator[str]:
    """`position ms [VOID] type id {what it says}`, in the log's order."""
    return listed(outcome.events, BEGAN_MS)
