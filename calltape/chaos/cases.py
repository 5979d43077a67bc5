"""Every case of `calltape chaos`: what dies, and at which moment of the call that shows on the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schema.call import CallEnded, CallSealed
from schema.envelope import AnyEvent
from schema.speech import TranscriptRevised
from schema.stream import PlaybackMarked
from schema.turn import ReplyInterrupted, ToolCalled, TurnTaken

Shows = Callable[[AnyEvent], bool]

# The first event that shows the moment. Marks of the greeting come before the caller has said anything.
MOMENTS: dict[str, Shows] = {
    "mid-utterance": lambda event: isinstance(event, TranscriptRevised),
    "turn taken": lambda event: isinstance(event, TurnTaken),
    "mid-reply": lambda event: isinstance(event, PlaybackMarked) and not event.last,
    "reply interrupted": lambda event: isinstance(event, ReplyInterrupted),
    "tool open": lambda event: isinstance(event, ToolCalled),
    "call ended": lambda event: isinstance(event, CallEnded),
    "during summary": lambda event: isinstance(event, CallSealed),
}
AFTER_TURN = frozenset({"mid-reply"})  # moments that are looked for once the caller has said something

KILLED = {
    "hearing": ("mid-utterance", "turn taken", "mid-reply", "reply interrupted", "tool open", "call ended"),
    "conversation": ("mid-utterance", "turn taken", "mid-reply", "reply interrupted", "tool open", "call ended"),
    "ingest": ("mid-utterance", "turn taken", "mid-reply", "reply interrupted", "tool open", "call ended"),
    "projector": ("mid-reply", "call ended", "during summary"),
    "summariser": ("call ended", "during summary"),
    "recorder": ("call ended", "during summary"),
    "supervisor": ("mid-reply",),
}
BROKER, DATABASE = "broker leader", "postgres"


@dataclass(frozen=True, slots=True)
class Case:
    """`victim` gets SIGKILL when the log shows `moment`; the database stays away for a while."""

    victim: str
    moment: str

    @property
    def name(self) -> str:
        return f"{self.victim}, {self.moment}"

    @property
    def needs(self) -> str:
        """What the house must run on for this case: nothing, kafka or postgres."""
        return {BROKER: "kafka", DATABASE: "postgres"}.get(self.victim, "")

    @property
    def cuts_the_line(self) -> bool:
        """Whether the caller's socket dies with the victim: what is said meanwhile reaches nobody."""
        return self.victim in ("ingest", "supervisor")

    @property
    def ends_the_line(self) -> bool:
        """Whether nobody answers the carrier any more: the caller is gone, what was said must not be."""
        return self.victim == "supervisor"


CASES: tuple[Case, ...] = (
    *(Case(victim, moment) for victim, moments in KILLED.items() for moment in moments),
    Case(BROKER, "mid-utterance"),
    Case(DATABASE, "mid-utterance"),
)


class Lookout:
    """Watches one call for a moment."""

    def __init__(self, moment: str) -> None:
        self._shows = MOMENTS[moment]
        self._waits_for_turn = moment in AFTER_TURN

    def sees(self, event: AnyEvent) -> bool:
        if isinstance(event, TurnTaken):
            self._waits_for_turn = False
        return not self._waits_for_turn and self._shows(event)
