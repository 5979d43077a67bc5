"""Every case of `calltape chaos`: what dies, and at which moment of the call that shows on the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schema.call import CallEnded, CallSealed
from schema.envelope import AnyEvent
from schema.insight import CallSummarised, RecordingSaved
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackMarked, PlaybackStarted
from schema.turn import ReplyFinished, ReplyInterrupted, ToolCalled, ToolReturned, TurnTaken

Shows = Callable[[AnyEvent], bool]


@dataclass(frozen=True, slots=True)
class Moment:
    """From the first event that `begins` it to the next one that `ends` it: who dies later died at another moment."""

    begins: Shows
    ends: Shows
    after_turn: bool = False  # looked for once the caller has said something
    in_call: bool = True  # somebody is on the line


def _is(*kinds: type[AnyEvent]) -> Shows:
    return lambda event: isinstance(event, kinds)


MOMENTS: dict[str, Moment] = {
    "mid-utterance": Moment(_is(TranscriptRevised), _is(TranscriptSettled)),
    # An answer that is known at once stands in the same append as the turn: there is no reply until one is audible.
    "turn taken": Moment(_is(TurnTaken), _is(PlaybackStarted)),
    # Marks of the greeting come before the caller has said anything.
    "mid-reply": Moment(
        lambda event: isinstance(event, PlaybackMarked) and not event.last, _is(ReplyFinished), after_turn=True
    ),
    "reply interrupted": Moment(_is(ReplyInterrupted), _is(TurnTaken)),
    "tool open": Moment(_is(ToolCalled), _is(ToolReturned)),
    "call ended": Moment(_is(CallEnded), _is(CallSealed), in_call=False),
    "during summary": Moment(_is(CallSealed), _is(CallSummarised), in_call=False),
    "during recording": Moment(_is(CallSealed), _is(RecordingSaved), in_call=False),
}
EVERY = (
    "mid-utterance",
    "turn taken",
    "mid-reply",
    "reply interrupted",
    "tool open",
    "call ended",
    "during summary",
)

# Whoever takes part in the call dies at every moment; the projector where what it applies changes many rows; the others
# sleep until the call is sealed.
KILLED = {
    "hearing": EVERY,
    "conversation": EVERY,
    "ingest": EVERY,
    "projector": ("turn taken", "mid-reply", "reply interrupted", "tool open", "call ended", "during summary"),
    "summariser": ("call ended", "during summary"),
    "recorder": ("call ended", "during recording"),
    "supervisor": ("mid-reply",),
}
BROKER, DATABASE = "broker leader", "postgres"
# What a caller waits for when nobody is heard. The others are never between two who speak.
WAITS_FOR = {
    "hearing": "its successor, which hears what was said meanwhile",
    "conversation": "its successor, which adopts the call",
    "ingest": "open doors, and the carrier's next verb",
    "supervisor": "nothing: the line ends",
    BROKER: "another node that leads",
}
NOBODY_WAITS = "nothing: it speaks to no caller"
CALLER_IS_GONE = "nothing: the caller has gone"


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
    def ends_the_line(self) -> bool:
        """Whether nobody answers the carrier any more: the caller is gone, what was said must not be."""
        return self.victim == "supervisor"

    @property
    def streams(self) -> int:
        """How many sockets the call has: only the process that holds one takes it along."""
        return 2 if self.victim == "ingest" and MOMENTS[self.moment].in_call else 1

    @property
    def waits_for(self) -> str:
        """What the dead air of this case consists of."""
        return WAITS_FOR.get(self.victim, NOBODY_WAITS) if MOMENTS[self.moment].in_call else CALLER_IS_GONE


CASES: tuple[Case, ...] = (
    *(Case(victim, moment) for victim, moments in KILLED.items() for moment in moments),
    Case(BROKER, "mid-utterance"),
    Case(DATABASE, "mid-utterance"),
)


class Lookout:
    """Watches one call for a moment."""

    def __init__(self, moment: str) -> None:
        self._moment = MOMENTS[moment]
        self._waits_for_turn = self._moment.after_turn
        self._has_begun = False

    def sees(self, event: AnyEvent) -> bool:
        """Whether the moment begins with this event; it does so once."""
        if isinstance(event, TurnTaken):
            self._waits_for_turn = False
        begins = not self._has_begun and not self._waits_for_turn and self._moment.begins(event)
        self._has_begun = self._has_begun or begins
        return begins

    def ends(self, event: AnyEvent) -> bool:
        """Whether the moment, having begun, is over with this event."""
        return self._has_begun and self._moment.ends(event)
