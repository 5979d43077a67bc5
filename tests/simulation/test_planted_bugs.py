"""A simulator that finds nothing proves nothing: each bug planted here breaks a promise, and some seed must say so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import workers.calls
from calltape.simulation.plan import Event as Mishap
from calltape.simulation.plan import Plan
from calltape.simulation.run import quiet, run_seed
from ingest.playing import Playlist
from schema.admit import Admission, admit
from schema.envelope import AnyEvent, Event
from schema.turn import ReplyResumed, ReplySentence, ToolCalled
from workers import hearing
from workers.case import Case
from workers.conversation import ConversationRole
from workers.listening import HearingRuntime
from workers.talk import Tool
from workers.toolwork import run_tool

SEEDS = 150


def _broken(plan: Plan | None = None) -> set[str]:
    """The invariants that the first seed that fails found broken."""
    with quiet():
        for seed in range(1, SEEDS + 1):
            if found := {violation.invariant for violation in run_seed(seed, plan=plan).violations}:
                return found
    return set()


def test_a_judge_who_admits_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(state: Admission, event: AnyEvent) -> Admission:
        return admit(state, event) or state

    monkeypatch.setattr(workers.calls, "admit", lenient)
    assert _broken()


def test_a_tool_that_runs_before_its_call_was_read_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ConversationRole._ready

    def hasty(self: ConversationRole, case: Case[Any], event: Event) -> None:
        if isinstance(event, ToolCalled):
            tool = Tool(event.id, event.reply, event.name, {}, event.repeatable, 0)
            work = run_tool(
                self.desk.tools.get(event.name),
                tool,
                call_id=case.call_id,
                new_id=self.desk.new_id,
                emit=lambda returned: None,
            )
            _KEPT.append(asyncio.get_running_loop().create_task(work))
        honest(self, case, event)

    monkeypatch.setattr(ConversationRole, "_ready", hasty)
    assert "a tool takes effect once" in _broken()


def test_a_reply_that_starts_over_on_a_new_stream_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.conversation.word_start_ms", lambda text, duration_ms, heard_ms: 0)
    # The second sentence of the greeting is cut in its middle, again and again.
    plan = Plan(tuple(Mishap(at_s, "kill", "doors") for at_s in (0.8, 2.8, 4.8)), until_s=10.0)
    assert "what was heard is not said again" in _broken(plan=plan)


def test_a_playlist_that_writes_a_millisecond_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Playlist._grow

    def forgetful(self: Playlist, sentence: Any, message: Any, now: int) -> bool:
        sentence.received_ms = min(sentence.received_ms, message.offset_ms)
        return honest(self, sentence, message, now)

    monkeypatch.setattr(Playlist, "_grow", forgetful)
    monkeypatch.setattr(Playlist, "take", property(lambda self: 0, lambda self, value: None), raising=False)
    assert "nothing is said twice" in _broken()


def test_a_hearing_that_begins_at_the_beginning_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = hearing._with

    def forgetful(state: hearing.HearingState, stream_id: str, **changes: Any) -> hearing.HearingState:
        kept = {name: value for name, value in changes.items() if name not in ("through_ms", "media_from")}
        return honest(state, stream_id, **kept)

    monkeypatch.setattr(hearing, "_with", forgetful)
    broken = _broken()
    assert broken & {"every utterance is settled once", "the words are what was said"}


def test_a_hearing_that_reads_on_before_it_goes_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames behind the place an ear begins at reach it first, and those before are taken for repeated ones."""
    later: dict[int, dict[int, int]] = {}
    honest = HearingRuntime._assign_media

    def postponed(self: HearingRuntime, partition: int, position: int) -> None:
        mine = later.setdefault(id(self), {})
        mine[partition] = min(position, mine.get(partition, position))

    def assign(self: HearingRuntime, reader: Any) -> None:
        self._from.update(later.pop(id(self), {}))
        honest(self, reader)

    monkeypatch.setattr(HearingRuntime, "_rewind", postponed)
    monkeypatch.setattr(HearingRuntime, "_assign_media", assign)
    assert "the words are what was said" in _broken()


def test_a_resumed_reply_that_drops_its_own_first_sentence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ConversationRole.acted

    def hasty(self: ConversationRole, case: Case[Any], event: AnyEvent, position: int, at: int) -> None:
        if isinstance(event, ReplyResumed):
            case.ready = [ready for ready in case.ready if not isinstance(ready, ReplySentence)]
        honest(self, case, event, position, at)

    monkeypatch.setattr(ConversationRole, "acted", hasty)
    assert "sentences follow each other" in _broken()


_KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    _KEPT.clear()
