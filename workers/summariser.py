"""Summarises a sealed call and finds what somebody has to do; every claim cites the lines it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from schema import call, insight
from schema.envelope import AnyEvent, Event, MadeBy, Role
from schema.failure import WorkFailed
from workers import heardlines
from workers.case import Case
from workers.engines.port import Summariser
from workers.heardlines import HeardLines
from workers.late import LateRole


@dataclass(frozen=True, slots=True)
class SummaryState:
    """The call's lines as heard, and whether they were summarised."""

    lines: HeardLines = HeardLines()
    revision: int = 0
    sealed: bool = False
    done: bool = False


class SummariserRole(LateRole[SummaryState]):
    """The role `summariser` for the runtime."""

    name: Role = "summariser"
    stage = "summary"

    def __init__(self, engine: Summariser, new_id: Callable[[], str]) -> None:
        super().__init__(new_id)
        self._engine = engine

    def fresh(self) -> SummaryState:
        return SummaryState()

    def fold(self, state: SummaryState, event: AnyEvent, position: int, at: int) -> SummaryState:
        match event:
            case call.CallStarted():
                return SummaryState()
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
        found = await self._engine.summarise(lines.lines(), lines.tools)
        by = self._engine.made_by()
        made_by = MadeBy(by.engine, by.model, by.settings)
        revision = case.state.revision + 1
        summary = insight.CallSummarised(
            id=self.new_id(),
            call_id=case.call_id,
            revision=revision,
            summary=found.text,
            key_points=tuple(insight.KeyPoint(point.text, point.cites) for point in found.key_points),
            sentiment=found.sentiment,
            cites=found.cites,
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
                cites=action.cites,
                made_by=made_by,
            )
            for number, action in enumerate(found.actions, 1)
        ]
        return [summary, *actions]
