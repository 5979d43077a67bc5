"""Conversation owns a call: it decides by turns and life, asks the agent, has sentences voiced and fills the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from schema.call import CallEnded, RequestMade
from schema.envelope import AnyEvent, Event, Role
from schema.failure import WorkFailed
from schema.stream import StreamOpened
from schema.turn import (
    ReplyComposed,
    ReplyInterrupted,
    ReplyResumed,
    ReplySentence,
    ReplyStarted,
    ReplyVoiced,
    ToolCalled,
)
from workers import callstate
from workers.callstate import CallState
from workers.callstate_facts import Fact, fact_of
from workers.carrierwork import CarrierWork
from workers.case import Case
from workers.cast import Cast, conversation_of
from workers.composing import Composer
from workers.desk import Desk, Work
from workers.drafting import draft
from workers.fitting import still_fits
from workers.speaking import Speaker, ToSpeak, Voiced, word_start_ms
from workers.talk import Reply, Seal, Wait
from workers.tools.port import ToolCall
from workers.toolwork import run_tool

logger = structlog.get_logger()


class ConversationRole:
    """The role `conversation` for the runtime."""

    name: Role = "conversation"
    adopts = True
    pipelined = False

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.pump: Callable[[Case[CallState]], None] = lambda case: None  # the runtime's, set by wiring
        self.cast = Cast(desk)
        self.carrier = CarrierWork(desk, self._ready)

    # Pure

    def fresh(self) -> CallState:
        return callstate.fresh(self.desk.life_rules)

    def fold(self, state: CallState, event: AnyEvent, position: int, at: int) -> CallState:
        return callstate.fold(state, event, position, at)

    def owed(self, case: Case[CallState], state: CallState) -> tuple[Sequence[Event], tuple[Wait, ...]]:
        if not state.talk.has_profile and not state.life.ended_at:
            return [self.cast.used(case.call_id, state.talk.agent)], ()
        decisions, waits = callstate.owed(state)
        if not self.carrier.is_told(case, state):
            # After the seal nobody adopts the call: what the carrier was not told by then, nobody would tell it.
            decisions = tuple(decision for decision in decisions if not isinstance(decision, Seal))
        made_by = self.cast.made_by(state)
        drafts = [
            draft(decision, state, new_id=self.desk.new_id, now=self.desk.now(), made_by=made_by)
            for decision in decisions
        ]
        return drafts, waits

    def is_valid(self, state: CallState, draft: Event) -> bool:
        return still_fits(state, draft)

    def is_over(self, state: CallState) -> bool:
        return state.sealed

    # Work without effect, and acts

    def speculate(self, case: Case[CallState], drafts: Sequence[Event], state: CallState) -> bool:
        if any(isinstance(event, ReplyStarted | ReplyResumed) for event in drafts):
            return self._compose(case, state)
        return False

    def begin(self, case: Case[CallState]) -> None:
        for fact in callstate.missed(case.state):
            self.desk.outbound.fact(case.state, fact)
        for tool in case.state.talk.tools:
            self._run_tool(case, tool.id)
        self._ask_carrier(case)
        self._catch_up(case)

    def acted(self, case: Case[CallState], event: AnyEvent, position: int, at: int) -> None:
        if isinstance(event, StreamOpened):
            self._welcome(case.state)
        if (fact := fact_of(event, position)) is not None:
            ended = case.state.ended
            self.desk.outbound.fact(case.state, ended if ended is not None and ended.position == position else fact)
        match event:
            case ReplyInterrupted() | ReplyResumed():
                self._work(case).speaker.stop()
                self._stop_composing(case, keep_generation=getattr(event, "generation", 0))
            case ToolCalled():
                self._run_tool(case, event.id)
            case CallEnded():
                self._stop_composing(case)
                self._work(case).speaker.stop()
                self._ask_carrier(case)
            case RequestMade(kind="transfer"):
                self._ask_carrier(case)
        self._catch_up(case)

    def _welcome(self, state: CallState) -> None:
        """A new stream is told what it missed, before its own opening: whoever is not concerned by what was before
        knows by that where it ends."""
        if state.ended is not None:
            self.desk.outbound.fact(state, state.ended)
            return
        for fact in callstate.missed(state):
            if not fact.stream:
                self.desk.outbound.fact(state, fact)

    def drop(self, case: Case[CallState]) -> None:
        work: Work | None = case.work
        case.work = None
        if work is None:
            return
        work.speaker.stop()
        if work.composer is not None:
            work.composer.stop()
        for task in (*work.tools.values(), *work.requests.values()):
            task.cancel()

    def gone(self, call_id: str, event: AnyEvent, why: str) -> None:
        """A socket that speaks for a call that is over, or is not its user's, is told so."""
        if isinstance(event, StreamOpened):
            ended = CallEnded(id=self.desk.new_id(), call_id=call_id, role="conversation", reason=why)
            # Position 1: above the nothing that this stream was told so far.
            self.desk.outbound.tell(call_id, event.stream, event.mailbox, Fact(1, ended))

    def _catch_up(self, case: Case[CallState]) -> None:
        """Begin whatever the state wants done and nobody here is doing."""
        talk = case.state.talk
        reply = talk.reply
        if reply is None or reply.interrupted or talk.ended:
            return
        if not reply.composed and not reply.orphaned:
            self._compose(case, case.state)
        self._voice(case, reply)

    def _compose(self, case: Case[CallState], state: CallState) -> bool:
        reply, work = state.talk.reply, self._work(case)
        if reply is None or reply.composed or state.talk.ended:
            return False
        running = work.composer
        if running is not None:
            if running.reply == reply.id and running.generation == reply.generation:
                return False
            self._stop_composing(case)
        work.composer = Composer(
            self.cast.agent(state, reply),
            conversation_of(state, reply),
            reply,
            call_id=case.call_id,
            hands_over_to=lambda agent: self.cast.hands_over_to(state, reply, agent),
            fallback=self.cast.profile(state, reply).fallback,
            new_id=self.desk.new_id,
            emit=lambda event: self._ready(case, event),
            # The prompt after the last one is a goodbye, whatever the agent makes of it.
            last_word="silence" if state.talk.is_last_prompt else "",
        )
        return True

    def _stop_composing(self, case: Case[CallState], keep_generation: int = 0) -> None:
        composer = self._work(case).composer
        if composer is not None and composer.generation != keep_generation:
            composer.stop()
            self._work(case).composer = None
            # What it said and nobody appended yet goes with it.
            case.ready = [event for event in case.ready if not isinstance(event, ReplySentence | ReplyComposed)]

    def _voice(self, case: Case[CallState], reply: Reply) -> None:
        line, work, take = case.state.life.line, self._work(case), case.state.talk.take
        if line is None or line.id != reply.stream:
            return
        for sentence in reply.sentences:
            if sentence.over or (sentence.id, take) in work.voiced:
                continue
            work.voiced.add((sentence.id, take))
            from_ms = sentence.heard_ms // 20 * 20
            if sentence.duration_ms is not None and reply.generation > 1:
                from_ms = word_start_ms(sentence.text, sentence.duration_ms, sentence.heard_ms)
            work.speaker.speak(
                ToSpeak(
                    call_id=case.call_id,
                    reply=reply.id,
                    sentence_id=sentence.id,
                    index=sentence.index,
                    text=sentence.text,
                    take=take,
                    generation=reply.generation,
                    line=line,
                    from_ms=from_ms,
                    profile=self.cast.voice(case.state, reply),
                )
            )

    def _on_voiced(self, case: Case[CallState], voiced: Voiced) -> None:
        sentence = voiced.sentence
        if voiced.error is not None:
            self._fail(case, "tts", voiced.error.code, str(voiced.error))
        self._ready(
            case,
            ReplyVoiced(
                id=self.desk.new_id(),
                call_id=case.call_id,
                reply=sentence.reply,
                index=sentence.index,
                duration_ms=voiced.duration_ms,
                made_by=voiced.made_by,
            ),
        )

    def _run_tool(self, case: Case[CallState], tool_id: str) -> None:
        work = self._work(case)
        tool = next((tool for tool in case.state.talk.tools if tool.id == tool_id), None)
        if tool is None or tool_id in work.tools:
            return
        if tool.position < case.state.talk.adopted and not tool.repeatable:
            return  # the turns owe its answer `unknown`
        work.tools[tool_id] = asyncio.get_running_loop().create_task(
            run_tool(
                self.desk.tools.get(tool.name),
                tool,
                call=ToolCall(case.call_id, case.tenant_id, case.state.parameters),
                new_id=self.desk.new_id,
                emit=lambda event: self._ready(case, event),
            )
        )

    def _ask_carrier(self, case: Case[CallState]) -> None:
        self.carrier.ask(case, self._work(case), lambda: self.pump(case))

    def _fail(self, case: Case[CallState], stage: str, code: str, message: str) -> None:
        failed = WorkFailed(id=self.desk.new_id(), call_id=case.call_id, stage=stage, code=code, message=message)
        self._ready(case, failed)

    def _ready(self, case: Case[CallState], event: Event) -> None:
        if case.owned or case.held or case.flight:
            case.ready.append(event)
            self.pump(case)

    def _work(self, case: Case[CallState]) -> Work:
        if case.work is None:
            speaker = Speaker(self.desk.tts, self.desk.outbound, lambda voiced: self._on_voiced(case, voiced))
            case.work = Work(speaker)
        work: Work = case.work
        return work


__all__ = ["ConversationRole", "Desk"]
