"""A simulator that finds nothing proves nothing: each bug planted here breaks a promise, and some seed must say so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

import schema.admit
import workers.calls
from calltape.simulation import staff
from calltape.simulation.database import Database
from calltape.simulation.faulty_log import Faults
from calltape.simulation.plan import Event as Mishap
from calltape.simulation.plan import Plan
from calltape.simulation.run import quiet, run_seed
from calltape.simulation.script import Step
from calltape.simulation.stories import GOODBYE, STORIES
from ingest.desk import Desk
from ingest.marks import Marks
from ingest.playing import Playlist
from projections.errors import PositionTaken
from schema.admit import Admission, admit
from schema.call import CallStarted, CallTransferred
from schema.envelope import AnyEvent, Event
from schema.heard import heard_words
from schema.stream import StreamClosed
from schema.topics import EVENTS
from schema.turn import ReplyResumed, ReplySentence, ToolCalled
from workers import hearing, lifecycle
from workers.carrierwork import CarrierWork
from workers.case import Case
from workers.conversation import ConversationRole
from workers.ear import Ear
from workers.engines.port import Heard, Settled
from workers.life import Life
from workers.listening import HearingRuntime
from workers.projector import Projector
from workers.runtime import RuntimeLimits

SEEDS = 150


def _broken(plan: Plan | None = None, script: tuple[Step, ...] | None = None, *, story: str = "") -> set[str]:
    """The invariants that the first seed that fails found broken."""
    if story:
        plan, script = STORIES[story].plan, STORIES[story].script
    with quiet():
        for seed in range(1, SEEDS + 1):
            if found := {violation.invariant for violation in run_seed(seed, plan=plan, script=script).violations}:
                return found
    return set()


def _again_and_again(what: Any, who: str, fact: str = "", *, lag_ms: int = 0) -> Plan:
    """The same mishap whenever its victim has come back."""
    mishaps = tuple(Mishap(at_s, what, who, fact=fact) for at_s in (0.2, 3.0, 6.0, 9.0, 12.0))
    return Plan(mishaps, until_s=20.0, lag_ms=lag_ms)


def test_a_beginning_whose_source_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook asked again in mid-call, and delivered again after the seal, begins a call that nobody makes."""
    honest = schema.admit._begin

    def forgetful(state: Admission, event: CallStarted) -> Admission | None:
        begun = honest(state, event)
        return None if begun is None else msgspec.structs.replace(begun, sources={})

    monkeypatch.setattr(schema.admit, "_begin", forgetful)
    assert "nobody begins a call but its caller" in _broken(
        Plan(faults=Faults(double=1.0, late_ms=15_000), until_s=60.0), (Step("drop", ms=300), *STORIES["n"].script)
    )


def test_a_judge_who_admits_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(state: Admission, event: AnyEvent) -> Admission:
        return admit(state, event) or state

    monkeypatch.setattr(workers.calls, "admit", lenient)
    assert _broken()


def test_a_superseded_stream_that_is_still_believed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that was frozen wakes up and says what its peer did while the caller was long on another stream."""
    monkeypatch.setattr(schema.admit, "_is_from_superseded", lambda state, event: False)
    assert "nothing of a superseded stream has effect" in _broken(story="o")


def test_a_reader_who_believes_a_superseded_stream_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone: what it does with such a key or word is no longer what the others read."""

    def lenient(state: Admission, event: AnyEvent) -> Admission | None:
        after = admit(msgspec.structs.replace(state, superseded=frozenset()), event)
        return None if after is None else msgspec.structs.replace(after, superseded=state.superseded)

    monkeypatch.setattr(workers.calls, "admit", lenient)
    assert "an utterance is in one turn" in _broken(story="o")


def test_a_superseded_stream_that_may_not_even_say_what_was_heard_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        schema.admit, "_is_from_superseded", lambda state, event: not event.role and event.source in state.superseded
    )
    assert "who counts is who the rules say" in _broken(story="o")


def test_a_stranger_who_is_believed_in_a_users_call_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema.admit, "is_strangers", lambda state, event: False)
    assert "a stranger neither hears nor says anything" in _broken(story="p")


@pytest.mark.parametrize("roles", [("hearing", "summariser", "recorder"), ("summariser",)])
def test_a_wrong_list_of_who_may_speak_after_the_seal_is_found(
    monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...]
) -> None:
    story = STORIES["q"]
    monkeypatch.setattr(schema.admit, "LATE_ROLES", frozenset(roles))
    assert "who counts is who the rules say" in _broken(replace(story.plan, records=True), story.script)


def test_a_stream_that_may_say_nothing_after_the_seal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema.admit, "_may_speak_late", lambda event: event.role in schema.admit.LATE_ROLES)
    assert "who counts is who the rules say" in _broken(story="q")


def test_a_tool_that_runs_before_its_call_was_read_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ConversationRole._ready

    def hasty(self: ConversationRole, case: Case[Any], event: Event) -> None:
        if isinstance(event, ToolCalled):
            work = self.desk.tools[event.name].run({}, event.id)
            _KEPT.append(asyncio.get_running_loop().create_task(work))
        honest(self, case, event)

    monkeypatch.setattr(ConversationRole, "_ready", hasty)
    assert "a tool takes effect once" in _broken()


def test_a_reply_that_starts_over_on_a_new_stream_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.conversation.word_start_ms", lambda text, duration_ms, heard_ms: 0)
    # The second sentence of the greeting is cut in its middle, again and again.
    script = (*(Step("drop", after=1000, ms=300) for _ in range(3)), Step("quiet", ms=3000), GOODBYE)
    assert "what was heard is not said again" in _broken(Plan(), script)


def test_a_playlist_that_writes_a_millisecond_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Playlist._grow

    def forgetful(self: Playlist, sentence: Any, message: Any, now: int) -> bool:
        sentence.received_ms = min(sentence.received_ms, message.offset_ms)
        return honest(self, sentence, message, now)

    monkeypatch.setattr(Playlist, "_grow", forgetful)
    monkeypatch.setattr(Playlist, "take", property(lambda self: 0, lambda self, value: None), raising=False)
    assert "nothing is said twice" in _broken()


def test_echoes_of_a_clear_that_count_as_heard_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Marks, "clear", lambda self, now: None)
    assert "what counts as heard was heard" in _broken(story="a")


def test_what_was_heard_before_a_caller_hung_up_and_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Playlist, "lost", lambda self, now: [])
    script = (Step("hang_up", after=1100),)
    assert "what was heard counts" in _broken(Plan(), script)


def test_audio_for_another_stream_of_the_mailbox_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is back under its old name plays what was meant for the stream it held before."""

    class Careless(dict[str, Any]):
        def get(self, stream: str, default: Any = None) -> Any:
            return next(reversed(self.values()), default)

    made = Desk.__init__

    def careless(self: Desk, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.sessions = Careless()

    monkeypatch.setattr(Desk, "__init__", careless)
    assert _broken(story="j")


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
    plan = _again_and_again("said", "hearing", "transcript.settled", lag_ms=500)
    assert "the words are what was said" in _broken(plan)


def test_an_ear_that_says_empty_lines_of_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Ear._on_heard

    def talkative(self: Ear, heard: Heard) -> None:
        if isinstance(heard, Settled):
            self._settle(heard)
        else:
            honest(self, heard)

    monkeypatch.setattr(Ear, "_on_heard", talkative)
    assert _broken(story="h") == {"an empty line closes speech"}


def test_a_resumed_reply_that_drops_its_own_first_sentence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ConversationRole.acted

    def hasty(self: ConversationRole, case: Case[Any], event: AnyEvent, position: int, at: int) -> None:
        if isinstance(event, ReplyResumed):
            case.ready = [ready for ready in case.ready if not isinstance(ready, ReplySentence)]
        honest(self, case, event, position, at)

    monkeypatch.setattr(ConversationRole, "acted", hasty)
    assert "sentences follow each other" in _broken(_again_and_again("said", "conversation", "reply.sentence"))


def test_a_voice_that_broke_off_and_counts_as_heard_to_the_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(text: str, duration_ms: int, heard_ms: int) -> str:
        return text if heard_ms > 0 and duration_ms == 0 else heard_words(text, duration_ms, heard_ms)

    monkeypatch.setattr("projections.transcript.heard_words", generous)
    assert "the transcript is what the events say" in _broken(Plan(engines_fail=0.8, until_s=20.0))


def test_a_silence_of_the_log_that_counts_as_a_silence_of_ingest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staff, "LIMITS", RuntimeLimits(wait_ms=300, catch_up_ms=0))
    assert "who is well is not given up" in _broken(story="k")


def test_a_new_owner_that_does_not_hang_up_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ConversationRole.begin

    def forgetful(self: ConversationRole, case: Case[Any]) -> None:
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(ConversationRole, "_ask_carrier", lambda self, case: None)
            honest(self, case)

    monkeypatch.setattr(ConversationRole, "begin", forgetful)
    assert "the carrier is told" in _broken(story="n")


def test_a_caller_who_is_taken_away_and_counts_as_gone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: dict[Any, Any] = lifecycle.STEPS
    honest = steps[StreamClosed]

    def hasty(life: Life, event: Any, position: int, at: int) -> Life:
        gone = honest(life, event, position, at)
        return lifecycle._wants_end(gone, "caller_hung_up") if event.reason == "stop" and not life.transferred else gone

    monkeypatch.setitem(steps, StreamClosed, hasty)
    assert "the carrier is told" in _broken(story="m")


def test_a_transfer_that_is_said_before_the_carrier_took_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ConversationRole._ask_carrier

    def hasty(self: ConversationRole, case: Case[Any]) -> None:
        owed = case.state.life.transfer_owed
        honest(self, case)
        if owed is not None:
            request, number = owed
            self._ready(case, CallTransferred(id=self.desk.new_id(), call_id=case.call_id, to=number, cause=request))

    monkeypatch.setattr(ConversationRole, "_ask_carrier", hasty)
    story = STORIES["m"]
    mishaps = (Mishap(0.2, "said", "conversation", fact="call.transferred"),)
    assert "the carrier is told" in _broken(replace(story.plan, events=mishaps), story.script)
    assert "the carrier is told" in _broken(story="s")


def test_a_call_that_is_sealed_before_the_carrier_has_answered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner dies then, and whoever comes next has nothing to do with a sealed call."""
    monkeypatch.setattr(CarrierWork, "is_told", lambda self, case, state: True)
    monkeypatch.setattr("calltape.simulation.carrier.LEAVES_S", 1.0)
    monkeypatch.setattr("workers.carrierwork.FIRST_WAIT_S", 5.0)
    story = STORIES["t"]
    mishaps = (Mishap(0.2, "said", "conversation", fact="call.sealed"),)
    assert "the carrier is told" in _broken(replace(story.plan, events=mishaps), story.script)


def test_a_projector_that_does_not_wait_for_the_log_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(self: Projector) -> Any:
        return await self._log.join("projector", EVENTS.name, self._member)

    monkeypatch.setattr(Projector, "_join", hasty)
    assert "no process crashes" in _broken(
        Plan((Mishap(0.5, "away", ms=4000), Mishap(0.6, "kill", "projector")), until_s=5.0)
    )


def test_a_projector_that_passes_over_what_it_could_not_apply_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(self: Projector, records: Any, membership: Any, reader: Any) -> None:
        try:
            self._positions.update(await self._tables.apply(records, self._positions))
        except PositionTaken:
            # The log may be away just now; then the reader stays behind the records that were not applied.
            await self._read_on(self._assigned, membership, reader)

    monkeypatch.setattr(Projector, "_apply", hasty)
    mishaps = (Mishap(2.0, "freeze", "projector", ms=4000), Mishap(6.7, "away", ms=1500))
    assert "rebuilt tables equal live ones" in _broken(Plan(mishaps, until_s=20.0, standby=True, database_ms=2000))


def test_effects_that_stay_when_their_transaction_is_cut_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def halfway(self: Database) -> None:
        """The effects are committed, the position is not."""
        statement = "UPDATE positions SET position = 0"
        self._connection.exec_driver_sql(statement)
        self._transaction.commit()
        self._transaction = self._connection.begin()

    monkeypatch.setattr(Database, "spring", halfway)
    assert "rebuilt tables equal live ones" in _broken(Plan(until_s=5.0))


_KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    _KEPT.clear()
