"""One call as a screen sees it: admitted events folded into what is shown, for one who may see it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ingest.screen_words import Message, fact, in_plain
from schema.admit import Admission, admit
from schema.call import CallEnded, CallStarted, CallTransferred
from schema.envelope import AnyEvent, Event, type_of
from schema.heard import heard_words, presumed_duration_ms
from schema.insight import ActionFound, CallSummarised
from schema.speech import TranscriptRevised, TranscriptSettled
from schema.stream import PlaybackCleared, PlaybackMarked, TextTyped
from schema.turn import AgentChanged, ReplyInterrupted, ReplyResumed, ReplySentence, ReplyStarted, ReplyVoiced

MOST_LINES = 2_000  # of a snapshot; the whole is read as the list of facts
FEW_LINES = 20
LATEST = 100  # lines among which those of a reply being played are looked for

MaySee = Callable[[str, str], bool]  # tenant, user


@dataclass(slots=True)
class Line:
    """One line of the transcript, in the order of the log."""

    id: str
    speaker: str
    text: Any  # as it is on the log: may be sealed
    agent_name: str = ""
    reply: str = ""
    sentence: int = 0
    duration_ms: int | None = None
    heard_ms: int = 0
    interrupted: bool = False

    def shown(self) -> Message:
        sealed: list[str] = []
        told: Message = {"id": self.id, "speaker": self.speaker, "text": in_plain(self.text, sealed, "text")}
        if self.speaker == "agent":
            told |= {"agent_name": self.agent_name, "interrupted": self.interrupted}
            if self.interrupted:
                told["heard_text"] = self._heard() if isinstance(self.text, str) else None
        return told

    def _heard(self) -> str:
        whole_ms = presumed_duration_ms(self.text) if self.duration_ms is None else self.duration_ms
        return heard_words(self.text, whole_ms, self.heard_ms)


@dataclass(slots=True)
class View:
    """What a snapshot of one life of the call tells."""

    started: CallStarted
    at: int
    ended: CallEnded | None = None
    ended_at: int | None = None
    agent_name: str = ""
    guesses: dict[str, TranscriptRevised] = field(default_factory=dict)  # by stream: the open utterances
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    count: int = 0
    agents: dict[str, str] = field(default_factory=dict)  # reply -> who gives it
    summary: CallSummarised | None = None
    actions: list[ActionFound] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self.count += 1


class CallFold:
    """One call, from its first event on. A life of it that `may_see` refuses is followed but never shown."""

    def __init__(self, call_id: str, may_see: MaySee) -> None:
        self.call_id = call_id
        self._may_see = may_see
        self._admission = Admission()
        self._view: View | None = None

    @property
    def has_begun(self) -> bool:
        return self._admission.life != ""

    @property
    def is_visible(self) -> bool:
        return self._view is not None

    @property
    def is_live(self) -> bool:
        return self.has_begun and not self._admission.sealed

    def take(self, event: AnyEvent, at: int) -> Message | None:
        """Folds the event; the fact to show, if it is one. Void events leave no trace."""
        after = admit(self._admission, event)
        if after is None:
            return None
        self._admission = after
        if isinstance(event, CallStarted):
            self._view = self._begun(event, at) if self._may_see(event.tenant_id, event.user_id) else None
        view = self._view
        if view is None:
            return None
        if isinstance(event, Event):
            _note(view, event, event.was_at or at)
        return fact(event, at, view.agents.get(getattr(event, "reply", event.id), view.agent_name))

    def _begun(self, event: CallStarted, at: int) -> View:
        view = View(event, event.was_at or at, agent_name=event.agent)
        for number, said in enumerate(event.history):
            view.add(Line(f"{event.id}:{number}", said.speaker, said.text, event.agent))
        return view

    def snapshot(self, *, lines: int = MOST_LINES) -> Message:
        """The call as it stands, without position and time. Only of a visible call."""
        view = self._view
        assert view is not None, "only a visible call has a snapshot"
        latest = list(view.lines)[-lines:]
        sealed: list[str] = []
        guesses = [
            {"stream": guess.stream, "speaker": "caller", "text": in_plain(guess.text, sealed, "text")}
            for guess in view.guesses.values()
        ]
        return {
            "type": "snapshot",
            "call_id": self.call_id,
            "call": self._call(view),
            "transcript": [line.shown() for line in latest],
            "earlier_lines": view.count - len(latest),
            "revised": guesses,
            "summary": _fields(view.summary, ("revision", "summary", "key_points", "sentiment", "cites")),
            "actions": [
                _fields(action, ("id", "title", "kind", "due", "assignee", "cites")) for action in view.actions
            ],
        }

    def _call(self, view: View) -> Message:
        shown = _fields(
            view.started, ("call_id", "channel", "from_", "to", "direction", "agent", "language", "user_id")
        )
        assert shown is not None
        ended = view.ended
        return {
            **shown,
            "agent_name": view.agent_name,
            "started_at": view.at,
            "ended_at": view.ended_at,
            "reason": ended.reason if ended else "",
            "duration_ms": ended.duration_ms if ended else None,
        }


def _fields(event: Event | None, names: tuple[str, ...]) -> Message | None:
    sealed: list[str] = []
    return None if event is None else {name.rstrip("_"): in_plain(getattr(event, name), sealed, name) for name in names}


def _note(view: View, event: Event, at: int) -> None:
    match event:
        case CallEnded():
            view.ended, view.ended_at = event, at
            view.guesses.clear()
        case CallTransferred() | CallStarted():
            pass
        case CallSummarised():
            view.summary, view.actions = event, [each for each in view.actions if each.revision >= event.revision]
        case ActionFound():
            view.actions = [*(each for each in view.actions if each.revision >= event.revision), event]
        case TranscriptRevised():
            view.guesses[event.stream] = event
        case TranscriptSettled():
            view.guesses.pop(event.stream, None)
            if event.text != "":  # speech without intelligible words is no line
                view.add(Line(event.id, "caller", event.text))
        case TextTyped():
            view.add(Line(event.id, "caller", event.text))
        case _:
            _note_reply(view, event)


def _note_reply(view: View, event: Event) -> None:
    match event:
        case AgentChanged():
            view.agent_name = event.agent
        case ReplyStarted():
            view.agents[event.id] = event.agent or view.agent_name
        case ReplySentence():
            name = view.agents.get(event.reply, view.agent_name)
            view.add(Line(event.id, "agent", event.text, name, event.reply, event.index))
        case ReplyVoiced():
            for line in _of_reply(view, event.reply, event.index):
                line.duration_ms = event.duration_ms
        case PlaybackMarked() | PlaybackCleared():
            for line in _of_reply(view, event.reply, event.sentence):
                line.heard_ms = max(line.heard_ms, event.heard_ms)
        case ReplyInterrupted() | ReplyResumed():
            for line in _of_reply(view, event.reply):
                line.interrupted = type_of(event) == "reply.interrupted"
        case _:
            pass


def _of_reply(view: View, reply: str, sentence: int | None = None) -> list[Line]:
    """Its lines, which are among the latest."""
    latest = islice(reversed(view.lines), LATEST)
    return [line for line in latest if line.reply == reply and sentence in (None, line.sentence)]
