"""Summarises a sealed call and finds what somebody has to do; every claim cites the lines it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schema import call, insight
from schema.envelope import AnyEvent, Event, MadeBy, Role
from schema.failure import WorkFailed
from workers import heardlines
from workers.case import Case
from workers.engines.port import Summariser
from workers.heardlines import HeardLines
from workers.late import LateRole
from workers.profiles import Profile, decode_profile

# Of one fact: a reader follows a few lines, and a call may have tens of thousands.
MOST_CITES = 500
MOST_POINTS = 20


@dataclass(frozen=True, slots=True)
class SummaryState:
    """The call's lines as heard, and whether they were summarised."""

    lines: HeardLines = HeardLines()
    profile: dict[str, Any] | None = None  # body of the call's own profile
    profile_hash: str = ""
    revision: int = 0
    sealed: bool = False
    done: bool = False


class SummariserRole(LateRole[SummaryState]):
    """The role `summariser` for the runtime."""

    name: Role = "summariser"
    stage = "summary"

    def __init__(self, engine_of: Callable[[Profile | None], Summariser], new_id: Callable[[], str]) -> None:
        super().__init__(new_id)
        self._engine_of = engine_of
        self._engines: dict[str, Summariser] = {}

    def fresh(self) -> SummaryState:
        return SummaryState()

    def fold(self, state: SummaryState, event: AnyEvent, position: int, at: int) -> SummaryState:
        match event:
            case call.CallStarted():
                return SummaryState()
            case call.ProfileUsed():
                return replace(state, profile=event.body, profile_hash=event.hash)
            case call.CallSealed():
                return replace(state, sealed=True)
            case insight.CallSummarised():
                return replace(state, revision=event.revision, done=True)
            case WorkFailed() if event.role == self.name:
                return replace(state, done=True)
        return replace(state, lines=heardlines.fold(state.lines, event))

    def is_valid(self, state: SummaryState, draft: Event) -> bool:
        # The items follow their summary in the same append.
        return not state.done or isinstance(draft, insight.ActionFound)

    async def work(self, case: Case[SummaryState]) -> Sequence[Event]:
        lines = case.state.lines
        engine = self._engine(case.state)
        found = await engine.summarise(lines.lines(), lines.tools)
        by = engine.made_by()
        made_by = MadeBy(by.engine, by.model, by.settings)
        revision = case.state.revision + 1
        summary = insight.CallSummarised(
            id=self.new_id(),
            call_id=case.call_id,
            revision=revision,
            summary=found.text,
            key_points=tuple(
                insight.KeyPoint(point.text, point.cites[:MOST_CITES]) for point in found.key_points[:MOST_POINTS]
            ),
            sentiment=found.sentiment,
            cites=found.cites[:MOST_CITES],
            made_by=made_by,
        )
        actions = [
            insight.ActionFound(
                id=self.new_id(),
                call_id=case.call_id,
                title=action.title,
                kind=action.kind,
                due=action.due,
                assignee=action.assignee,
                revision=revision,
                number=number,
                cites=action.cites[:MOST_CITES],
                made_by=made_by,
            )
            for number, action in enumerate(found.actions, 1)
        ]
        return [summary, *actions]

    def _engine(self, state: SummaryState) -> Summariser:
        if state.profile_hash not in self._engines:
            profile = decode_profile(state.profile) if state.profile is not None else None
            self._engines[state.profile_hash] = self._engine_of(profile)
        return self._engines[state.profile_hash]
