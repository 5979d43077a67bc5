"""What a run left behind: everything the invariants judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calltape.simulation.database import Rows
from calltape.simulation.plan import Plan
from eventlog.port import Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run's."""

    seed: int
    plan: Plan
    events: tuple[Record, ...]
    media: tuple[Record, ...]
    effects: dict[str, int]  # key of a tool -> how often it took effect
    hung_up: dict[str, int]  # call -> how often the carrier was told to
    transferred: dict[str, tuple[str, ...]]  # call -> the numbers the carrier was told
    received: dict[str, bytes]  # the caller's name of a stream -> all audio that reached the caller on it
    unheard: dict[str, tuple[tuple[int, int], ...]]  # bytes from, to of it that were never played
    overheard: dict[str, int]  # a stranger's stream -> frames of sound that were sent to it
    broken: frozenset[str]  # streams whose line was cut, or that the caller left open
    live: Rows  # the tables as the projector left them
    rebuilt: Rows  # the tables built anew from the same records
    is_caught_up: bool  # all late work was done and projected before patience ended
    recordings: Path  # may be gone by the time somebody looks
    hurt: frozenset[str]  # processes that were killed or frozen
    parked: tuple[str, ...]
    crashes: tuple[str, ...]
    happened: dict[str, int]
    mishaps: tuple[str, ...]
    seconds: float  # virtual
    steps: int
