"""Push-to-talk: one whole turn goes in at once, and what the agent answers is gathered until it is complete.

The other end of this wire is an HTTP request, which plays what it gets the moment it gets it: what is said to it here
comes straight back (`mark …`, `released`), except for what no answer will carry. That is the greeting of a call that
begins with a turn, and whatever else is spoken before the turn was taken: nobody hears it, and the log says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingest.dialects.app import close_code, failed_stage
from ingest.dialects.base import Began, Frame, Ignored, MarkEchoed, Released, Said, Typed, Wire
from schema.call import CallEnded
from schema.envelope import AnyEvent
from schema.speech import SpeechStarted, SpeechStopped, TranscriptSettled
from schema.stream import PlaybackStarted, StreamOpened
from schema.turn import AgentChanged, ReplyFinished, ReplySentence, ReplyStarted, ToolCalled, ToolReturned, TurnTaken

DOOR = "turns"
OUT_RATE = 16_000  # Hz, of the samples that go out
TAIL_MS = 1_000  # words that end so shortly before the utterance's end are its last
DONE, RELEASED, MARK = "done", "released", "mark "


class Reply:
    """What is gathered: the turn's words as they were understood, and what answered them."""

    def __init__(self) -> None:
        self.transcript: list[str] = []
        self.response: list[str] = []
        self.audio = bytearray()  # mono s16le at OUT_RATE
        self.agent = ""
        self.ended = ""  # reason, if the call is over
        self.unavailable = ""  # the engine that was away


class _Owed:
    """What of the answer is still to come: the same questions as whoever decides about turns asks."""

    def __init__(self) -> None:
        self.words: set[str] = set()  # utterances that no turn has taken
        self.is_speaking = False
        self.tools: set[str] = set()
        self.tool_reply = False
        self.hand_over = False
        self.open = ""  # reply
        self.has_answered = False

    @property
    def nothing(self) -> bool:
        waits = self.words or self.is_speaking or self.tools or self.tool_reply or self.hand_over or self.open
        return self.has_answered and not waits


class TurnsDialect:
    """One turn. `said`: its frames or its words, at most so many ms long."""

    door = DOOR

    def __init__(self, began: Began, said: tuple[Frame | Typed, ...], *, length_ms: int) -> None:
        self.reply = Reply()
        self.trouble: tuple[str, str] | None = None  # code and message of what ended it
        self._began = began
        self._said = said
        self._length_ms = length_ms
        self._owed = _Owed()
        self._is_due = False  # what is told is of after this turn came
        self._taken = False
        self._answers: set[str] = set()
        self._sounds = ""  # the reply whose audio goes out
        self._is_done = False

    def greet(self) -> tuple[Said, ...]:
        return (self._began, *self._said, Released())

    def opened(self) -> tuple[Wire, ...]:
        return ()

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        """What was said to the other end, line by line."""
        lines = frame.splitlines() if isinstance(frame, str) else []
        return tuple(one for line in lines if (one := _heard(line)) is not None)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        if not (self._is_due or isinstance(fact, BEFORE_DUE)):
            return ()  # a client that comes back is told what it missed; this one has asked something else
        fold = FOLDS.get(type(fact))
        said = fold(self, fact) if fold is not None else ()
        self.reply.unavailable = failed_stage(fact) or self.reply.unavailable
        if self._is_done or not (self._owed.nothing or self.reply.ended):
            return said
        self._is_done = True
        return (*said, DONE)

    # ------------------------------------------------------------------ what is understood

    def _opened(self, fact: StreamOpened) -> tuple[Wire, ...]:
        self._is_due = True
        return ()

    def _speech(self, fact: SpeechStarted | SpeechStopped) -> tuple[Wire, ...]:
        self._owed.is_speaking = isinstance(fact, SpeechStarted)
        return ()

    def _settled(self, fact: TranscriptSettled) -> tuple[Wire, ...]:
        self._owed.is_speaking = False
        if fact.text == "":
            return ()
        self._owed.words.add(fact.id)
        # It was over when it came; that counts for nothing once speech is heard after it.
        return (RELEASED,) if fact.end_ms >= self._length_ms - TAIL_MS else ()

    def _turn_taken(self, fact: TurnTaken) -> tuple[Wire, ...]:
        self._taken = True
        self._owed.words.difference_update(fact.utterances)
        if isinstance(fact.text, str) and fact.text:
            self.reply.transcript.append(fact.text)
        return ()

    # ------------------------------------------------------------------ what is answered

    def _reply_started(self, fact: ReplyStarted) -> tuple[Wire, ...]:
        if not self._taken:
            return ()
        owed = self._owed
        self._answers.add(fact.id)
        self.reply.agent = fact.agent or self.reply.agent
        owed.open = fact.id
        owed.tool_reply = owed.tool_reply and fact.why not in ("turn", "tool", "handover")
        owed.hand_over = owed.hand_over and fact.why not in ("turn", "handover")
        return ()

    def _sentence(self, fact: ReplySentence) -> tuple[Wire, ...]:
        if fact.reply in self._answers and isinstance(fact.text, str):
            self.reply.response.append(fact.text)
        return ()

    def _tool(self, fact: ToolCalled | ToolReturned) -> tuple[Wire, ...]:
        if isinstance(fact, ToolCalled):
            self._owed.tools.add(fact.id)
        else:
            self._owed.tools.discard(fact.call)
            self._owed.tool_reply = True
        return ()

    def _agent_changed(self, fact: AgentChanged) -> tuple[Wire, ...]:
        self._owed.hand_over = True
        return ()

    def _playback(self, fact: PlaybackStarted) -> tuple[Wire, ...]:
        self._sounds = fact.reply
        return ()

    def _finished(self, fact: ReplyFinished) -> tuple[Wire, ...]:
        if fact.reply in self._answers:
            self._owed.open, self._owed.has_answered = "", True
        return ()

    def _call_ended(self, fact: CallEnded) -> tuple[Wire, ...]:
        if fact.reason != "forbidden":  # that one is told as a problem
            self.reply.ended = fact.reason or "ended"
        return ()

    # ------------------------------------------------------------------ what goes out

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        self.trouble = (code, message)
        return ()

    def audio(self, payload: bytes) -> Wire:
        if self._sounds in self._answers:
            self.reply.audio += payload
        return ""

    def mark(self, name: str) -> Wire | None:
        return f"{MARK}{name}" if self._sounds in self._answers else None

    def clear(self) -> None:
        """What was gathered before an interruption stays: it was given, and the log says how much."""

    def close_code(self, reason: str) -> int:
        return close_code(reason)

    @property
    def was_taken(self) -> bool:
        """Whether the agent has begun to think about it."""
        return self._taken


def _heard(line: str) -> Said | None:
    if line == RELEASED:
        return Released()
    if line.startswith(MARK):
        return MarkEchoed(line.removeprefix(MARK))
    return Ignored("unknown_type") if line else None


_D = TurnsDialect
BEFORE_DUE = (StreamOpened, CallEnded)  # a call that is over has no more turns
FOLDS: dict[type, Callable[[TurnsDialect, Any], tuple[Wire, ...]]] = {
    StreamOpened: _D._opened,
    SpeechStarted: _D._speech,
    SpeechStopped: _D._speech,
    TranscriptSettled: _D._settled,
    TurnTaken: _D._turn_taken,
    ReplyStarted: _D._reply_started,
    ReplySentence: _D._sentence,
    ToolCalled: _D._tool,
    ToolReturned: _D._tool,
    AgentChanged: _D._agent_changed,
    PlaybackStarted: _D._playback,
    ReplyFinished: _D._finished,
    CallEnded: _D._call_ended,
}
