"""When a stream may be closed without cutting anybody short."""

from __future__ import annotations

from schema.envelope import AnyEvent
from schema.speech import SpeechStarted, SpeechStopped
from schema.turn import ReplyFinished, ReplyStarted, TurnTaken

# Who was asked something answers within this time, or takes long to think.
ANSWER_MS = 3_000


class Quiet:
    """One stream's. It knows what conversation copies to the door, and what the door plays.

    The best moment is the one before a reply: the caller has said what they wanted, and will be spoken to next. After a
    reply they may answer at any moment; what they say while there is no line is heard by nobody.
    """

    def __init__(self, now: int) -> None:
        self.agent_is_next = False  # the caller is done, and no word of the answer has sounded
        self._caller_speaks = False
        self._since = now  # the last sound of either side

    def note(self, event: AnyEvent, now: int) -> None:
        """A fact the outbox brought."""
        match event:
            case SpeechStarted():
                self._caller_speaks, self.agent_is_next = True, False
            case SpeechStopped():
                self._caller_speaks, self._since = False, now
            case TurnTaken() | ReplyStarted():
                self.agent_is_next = True
            case ReplyFinished():  # a stream that was taken up again is told of it without a sound
                self.agent_is_next = False

    def played(self, now: int) -> None:
        """The agent sounds, or is known to have."""
        self.agent_is_next, self._since = False, now

    def lasts(self, now: int) -> bool:
        """Nobody has spoken for longer than an answer takes to come."""
        return not self._caller_speaks and now - self._since >= ANSWER_MS
