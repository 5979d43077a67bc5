"""A run's log, read once: what was admitted, in its order, and the sound beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from calltape.simulation.outcome import Outcome
from schema.admit import Admission, admit
from schema.call import CallStarted
from schema.envelope import AnyEvent
from schema.media import MediaReceived, MediaSpoken
from schema.registry import decode, unpack_media


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted event in its place."""

    position: int
    at: int
    event: AnyEvent
    life: str  # id of the call.started it belongs to


class Tape:
    """A run's log, read once."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.admitted: list[Admitted] = []
        self.stale: list[str] = []  # beginnings that were void at first
        void: set[str] = set()
        admissions: dict[str, Admission] = {}
        for record in outcome.events:
            event = decode(record.value)
            after = admit(admissions.get(event.call_id, Admission()), event)
            if isinstance(event, CallStarted):
                if after is None:
                    void.add(event.id)
                elif event.id in void:
                    self.stale.append(event.id)
            if after is not None:
                admissions[event.call_id] = after
                self.admitted.append(Admitted(record.position, record.at, event, after.life))
        self.heard: dict[str, dict[int, MediaReceived]] = defaultdict(dict)
        self.spoken: dict[tuple[str, int], MediaSpoken] = {}
        for record in outcome.media:
            media = unpack_media(record.value)
            if isinstance(media, MediaReceived):
                self.heard[media.stream].setdefault(media.sequence, media)
            elif isinstance(media, MediaSpoken):
                self.spoken.setdefault((media.stream, media.sequence), media)

    def of(self, *types: type) -> Iterator[Admitted]:
        return (one for one in self.admitted if isinstance(one.event, types))

    def lives(self) -> dict[str, list[Admitted]]:
        found: dict[str, list[Admitted]] = defaultdict(list)
        for one in self.admitted:
            found[one.life].append(one)
        return found
