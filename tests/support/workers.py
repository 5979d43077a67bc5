"""One call on a log of its own: what is said is admitted and folded, what is owed is drafted, time is a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schema.admit import Admission, admit, prior_for
from schema.call import CallAdopted, CallStarted, ProfileUsed, RequestMade
from schema.envelope import Event, Role, type_of
from schema.speech import SpeechPaused, SpeechStarted, SpeechStopped, StreamHeard, TranscriptRevised, TranscriptSettled
from schema.stream import (
    DtmfPressed,
    PlaybackCleared,
    PlaybackMarked,
    PlaybackStarted,
    StreamClosed,
    StreamMeasured,
    StreamOpened,
    TextTyped,
    TurnReleased,
)
from schema.turn import AgentChanged, ReplyComposed, ReplySentence, ReplyVoiced, TimerRang, ToolCalled, ToolReturned
from workers import callstate
from workers.callstate import CallState
from workers.drafting import draft
from workers.lifecycle import LifeRules
from workers.talk import Reply, Talk, Wait

CALL = "CA1"
BEGAN_AT = 1_770_000_000_000
# Nobody needs so many decisions for one event: whoever comes here decides the same thing for ever.
MOST_DECISIONS = 60
SENTENCE_MS = 2000


class CallModel:
    """Conversation without its tasks: `say` appends a fact, `decide` whatever is owed, `pass_time` rings timers."""

    def __init__(self, body: Mapping[str, Any] | None = None, rules: LifeRules | None = None) -> None:
        self.state: CallState = callstate.fresh(rules or LifeRules())
        self.admission = Admission()
        self.now = BEGAN_AT
        self.events: list[Event] = []
        self.void: list[Event] = []
        self.body = {"name": "toy", "greeting": "Hello.", **(body or {})}
        self._ids = 0

    # The log

    def new_id(self) -> str:
        self._ids += 1
        return f"id{self._ids:05d}"

    def say(self, event: Event, *, role: Role = "", source: str = "") -> Event:
        """Append and read back; what is void changes nothing. Every event comes a millisecond after the last."""
        self.now += 1
        if role:
            event = msgspec.structs.replace(event, role=role, prior=prior_for(self.admission, role))
        elif source:
            event = msgspec.structs.replace(event, source=source, sequence=self.admission.sources.get(source, 0) + 1)
        admitted = admit(self.admission, event)
        if admitted is None:
            self.void.append(event)
            return event
        self.admission = admitted
        self.events.append(event)
        self.state = callstate.fold(self.state, event, len(self.events), self.now)
        return event

    def names(self, since: int = 0) -> list[str]:
        """Wire names of the admitted events."""
        return [type_of(event) for event in self.events[since:]]

    def last(self, name: str) -> Any:
        """The newest admitted event of that name."""
        return next(event for event in reversed(self.events) if type_of(event) == name)

    def count(self, name: str) -> int:
        return self.names().count(name)

    # Deciding

    def decide(self) -> list[Event]:
        """Append what is owed until nothing is. Returns the decisions."""
        decided: list[Event] = []
        if not self.state.talk.has_profile and not self.state.life.ended_at:
            decided.append(
                self.say(ProfileUsed(id=self.new_id(), call_id=CALL, hash="h", body=self.body), role="conversation")
            )
        while decisions := callstate.owed(self.state)[0]:
            for decision in decisions:
                said = draft(decision, self.state, new_id=self.new_id, now=self.now, made_by=None)
                decided.append(self.say(said, role="conversation"))
            assert len(decided) < MOST_DECISIONS, f"decides for ever: {self.names(-8)}"
        return decided

    def waits(self) -> tuple[Wait, ...]:
        return callstate.owed(self.state)[1]

    def ring(self) -> Wait | None:
        """The next timer rings, at its time or at once if that has passed."""
        if not (waits := self.waits()):
            return None
        wait = min(waits, key=lambda wait: wait.until)
        self.now = max(self.now, wait.until)
        rang = TimerRang(id=self.new_id(), call_id=CALL, name=wait.name, due=wait.until)
        self.say(rang, role="conversation")
        decided = self.decide()
        assert decided or wait not in self.waits(), f"{wait} rings for ever"
        return wait

    def ring_late(self, name: str, due: int) -> None:
        """A timer that was due rings after something else was read."""
        self.say(TimerRang(id=self.new_id(), call_id=CALL, name=name, due=due), role="conversation")

    def pass_time(self, ms: int) -> None:
        """Nothing happens but timers."""
        until = self.now + ms
        while (waits := self.waits()) and min(wait.until for wait in waits) <= until:
            self.ring()
        self.now = max(self.now, until)

    # Who says what

    def begin(self) -> CallModel:
        """A call with a stream, adopted, and its greeting due."""
        self.say(CallStarted(id=self.new_id(), call_id=CALL, channel="twilio"), source="webhook")
        self.adopt()
        self.decide()
        self.open("MZ1")
        self.decide()
        return self

    def greeted(self) -> CallModel:
        """A call whose greeting was heard."""
        self.begin()
        self.agent_says("Hello.")
        self.plays()
        self.decide()
        return self

    def adopt(self, owner: str = "conversation:a:1") -> Event:
        return self.say(CallAdopted(id=self.new_id(), call_id=CALL, owner=owner), role="conversation")

    def open(self, stream: str) -> Event:
        return self.say(
            StreamOpened(id=self.new_id(), call_id=CALL, stream=stream, door="twilio", mailbox=3), source=stream
        )

    def close(self, reason: str = "stop", stream: str = "MZ1", last_sequence: int = 1) -> Event:
        closed = StreamClosed(id=self.new_id(), call_id=CALL, stream=stream, reason=reason, last_sequence=last_sequence)
        return self.say(closed, source=stream)

    def measure(self, frames: int, stream: str = "MZ1") -> Event:
        return self.say(StreamMeasured(id=self.new_id(), call_id=CALL, stream=stream, frames=frames), source=stream)

    def heard(self, stream: str = "MZ1", *, complete: bool = True) -> Event:
        return self.say(StreamHeard(id=self.new_id(), call_id=CALL, stream=stream, complete=complete), role="hearing")

    def request(self, kind: Any, text: str = "") -> Event:
        return self.say(RequestMade(id=self.new_id(), call_id=CALL, kind=kind, text=text), source=self.new_id())

    def agent_says(self, *texts: str, hang_up: str = "", composed: bool = True, voiced: bool = True) -> None:
        """The agent adds sentences to the open reply."""
        for text in texts:
            index = len(self.reply.sentences)
            generation = self.reply.generation
            self.say(
                ReplySentence(
                    id=self.new_id(), call_id=CALL, reply=self.reply.id, index=index, text=text, generation=generation
                ),
                role="conversation",
            )
            if voiced:
                duration_ms = SENTENCE_MS
                made = ReplyVoiced(
                    id=self.new_id(), call_id=CALL, reply=self.reply.id, index=index, duration_ms=duration_ms
                )
                self.say(made, role="conversation")
        if composed:
            count = len(self.reply.sentences)
            self.say(
                ReplyComposed(id=self.new_id(), call_id=CALL, reply=self.reply.id, sentences=count, hang_up=hang_up),
                role="conversation",
            )

    def call_tool(self, *, repeatable: bool = False) -> Event:
        called = ToolCalled(
            id=self.new_id(), call_id=CALL, reply=self.reply.id, name="save", repeatable=repeatable, arguments={}
        )
        return self.say(called, role="conversation")

    def hand_over(self, agent: str) -> Event:
        """The agent of the open reply gives the call to another."""
        changed = AgentChanged(
            id=self.new_id(), call_id=CALL, agent=agent, previous=self.talk.agent, cause=self.reply.id
        )
        return self.say(changed, role="conversation")

    def return_tool(self, call: str) -> Event:
        return self.say(ToolReturned(id=self.new_id(), call_id=CALL, call=call, status="ok"), role="conversation")

    def starts_playing(self, index: int = 0, stream: str = "MZ1") -> Event:
        started = PlaybackStarted(id=self.new_id(), call_id=CALL, stream=stream, reply=self.reply.id, sentence=index)
        return self.say(started, source=stream)

    def plays(self, stream: str = "MZ1") -> None:
        """Everything of the open reply is heard."""
        for sentence in self.reply.sentences:
            if not sentence.over:
                self.starts_playing(sentence.index, stream)
                self.marks(sentence.index, SENTENCE_MS, last=True, stream=stream)

    def marks(self, index: int, heard_ms: int, *, last: bool = False, stream: str = "MZ1") -> Event:
        marked = PlaybackMarked(
            id=self.new_id(),
            call_id=CALL,
            stream=stream,
            reply=self.reply.id,
            sentence=index,
            heard_ms=heard_ms,
            last=last,
        )
        return self.say(marked, source=stream)

    def clears(self, index: int, heard_ms: int, stream: str = "MZ1") -> Event:
        cleared = PlaybackCleared(
            id=self.new_id(), call_id=CALL, stream=stream, reply=self.reply.id, sentence=index, heard_ms=heard_ms
        )
        return self.say(cleared, source=stream)

    def starts_speaking(self, stream: str = "MZ1") -> Event:
        return self.say(SpeechStarted(id=self.new_id(), call_id=CALL, stream=stream, at_ms=0), role="hearing")

    def guesses(self, text: str, stream: str = "MZ1") -> Event:
        return self.say(TranscriptRevised(id=self.new_id(), call_id=CALL, stream=stream, text=text), role="hearing")

    def pauses(self, silence_ms: int, stream: str = "MZ1") -> Event:
        paused = SpeechPaused(
            id=self.new_id(),
            call_id=CALL,
            stream=stream,
            silence_ms=silence_ms,
            voiced_ms=0,
            voiced_at=self.now - silence_ms,
        )
        return self.say(paused, role="hearing")

    def settles(self, text: str, *, complete: bool | None = True, stream: str = "MZ1") -> Event:
        settled = TranscriptSettled(
            id=self.new_id(),
            call_id=CALL,
            stream=stream,
            text=text,
            start_ms=0,
            end_ms=0,
            through_ms=0,
            complete=complete,
            voiced_at=self.talk.voiced_at,
        )
        return self.say(settled, role="hearing")

    def stops_speaking(self, stream: str = "MZ1") -> Event:
        return self.say(SpeechStopped(id=self.new_id(), call_id=CALL, stream=stream, voiced_ms=0), role="hearing")

    def says(self, text: str, *, complete: bool | None = True, silence_ms: int = 300) -> list[Event]:
        """A whole utterance, followed by a silence. Returns what was decided after it."""
        self.starts_speaking()
        self.now += 900
        self.pauses(silence_ms)
        self.settles(text, complete=complete)
        self.stops_speaking()
        return self.decide()

    def types(self, text: str) -> list[Event]:
        self.say(TextTyped(id=self.new_id(), call_id=CALL, stream="MZ1", text=text), source="MZ1")
        return self.decide()

    def presses(self, digit: str) -> list[Event]:
        self.say(DtmfPressed(id=self.new_id(), call_id=CALL, stream="MZ1", digit=digit), source="MZ1")
        return self.decide()

    def releases(self) -> list[Event]:
        self.say(TurnReleased(id=self.new_id(), call_id=CALL, stream="MZ1"), source="MZ1")
        return self.decide()

    # What is so

    @property
    def talk(self) -> Talk:
        return self.state.talk

    @property
    def reply(self) -> Reply:
        assert self.talk.reply is not None, f"no reply is open: {self.names(-5)}"
        return self.talk.reply


def types_of(events: Sequence[Event]) -> list[str]:
    return [type_of(event) for event in events]


def answering(body: dict[str, object] | None = None) -> CallModel:
    """The agent is saying two sentences, the first of which is sounding."""
    call = CallModel(body).greeted()
    call.says("make a note")
    call.agent_says("I made a note of that for you.", "Is there anything else?")
    call.starts_playing()
    call.decide()
    return call
