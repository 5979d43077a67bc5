"""What the summariser and the recorder have in common: one piece of work a sealed call, said once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from eventlog.port import MAX_VALUE_BYTES, LogUnavailable
from schema.envelope import AnyEvent, Event, Role
from schema.failure import WorkFailed
from schema.registry import encode
from workers.case import Case
from workers.engines.port import EngineError
from workers.talk import Wait

logger = structlog.get_logger()

TRIES = 3
RETRY_S = 2.0
LONGEST_MESSAGE = 1_000  # characters of what an engine says of its failure
MOST_BYTES = MAX_VALUE_BYTES - 10_000  # of a fact, before its writer adds predecessor, role and tenant


class LateState(Protocol):
    """What has to be known of a late role's state."""

    @property
    def sealed(self) -> bool: ...

    @property
    def done(self) -> bool: ...


S = TypeVar("S", bound=LateState)


class LateRole(Generic[S]):
    """Begins when the call is sealed. No adoption: its one chain of events decides between two owners (R1)."""

    name: Role = ""
    adopts = False
    pipelined = False
    stage = ""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self.new_id = new_id
        self.pump: Callable[[Case[S]], None] = lambda case: None  # the runtime's, set by wiring

    def fresh(self) -> S:
        raise NotImplementedError

    def fold(self, state: S, event: AnyEvent, position: int, at: int) -> S:
        raise NotImplementedError

    async def work(self, case: Case[S]) -> Sequence[Event]:
        """The events that say what came of it. Raises EngineError, OSError or LogUnavailable."""
        raise NotImplementedError

    def owed(self, case: Case[S], state: S) -> tuple[Sequence[Event], tuple[Wait, ...]]:
        return (), ()

    def is_valid(self, state: S, draft: Event) -> bool:
        return not state.done

    def is_over(self, state: S) -> bool:
        return state.done

    def speculate(self, case: Case[S], drafts: Sequence[Event], state: S) -> bool:
        return False

    def begin(self, case: Case[S]) -> None:
        self._start(case)

    def acted(self, case: Case[S], event: AnyEvent, position: int, at: int) -> None:
        self._start(case)

    def drop(self, case: Case[S]) -> None:
        task: asyncio.Task[None] | None = case.work
        case.work = None
        if task is not None:
            task.cancel()

    def gone(self, call_id: str, event: AnyEvent, why: str) -> None:
        """Late words change nothing."""

    def _start(self, case: Case[S]) -> None:
        if case.state.sealed and not case.state.done and case.work is None:
            case.work = asyncio.get_running_loop().create_task(self._run(case))

    async def _run(self, case: Case[S]) -> None:
        events = await self._try(case)
        # Another owner may have been quicker: then all of it is said already.
        if not case.state.done:
            case.ready.extend(events)
            self.pump(case)

    async def _try(self, case: Case[S]) -> Sequence[Event]:
        """What came of it, or its failure. A log that is away is waited for; all else is tried three times."""
        tried = 0
        while True:
            try:
                return _fitting(await self._attempt(case))
            except LogUnavailable as error:
                logger.warning("log unavailable, trying again", stage=self.stage, error=str(error))
            except (EngineError, OSError) as error:
                tried += 1
                retryable = not isinstance(error, EngineError) or error.retryable
                logger.warning(
                    "late work failed", stage=self.stage, call_id=case.call_id, tried=tried, error=str(error)
                )
                if tried == TRIES or not retryable:
                    return [self._failed(case, error)]
            except Exception as error:
                logger.error("late work broke", stage=self.stage, call_id=case.call_id, exc_info=error)
                return [self._failed(case, error)]
            await asyncio.sleep(RETRY_S)

    async def _attempt(self, case: Case[S]) -> Sequence[Event]:
        try:
            return await self.work(case)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # Nobody wants us to stop: something we awaited was cancelled, which is a failure like any other.
            raise InterruptedError("something it waited for was cancelled") from error

    def _failed(self, case: Case[S], error: Exception) -> Event:
        code = error.code if isinstance(error, EngineError) else type(error).__name__
        message = str(error)[:LONGEST_MESSAGE]
        return WorkFailed(id=self.new_id(), call_id=case.call_id, stage=self.stage, code=code, message=message)


def _fitting(events: Sequence[Event]) -> Sequence[Event]:
    """The events, if the log takes every one of them; some of what was found would say that it is all."""
    largest = max([len(encode(event)) for event in events], default=0)
    if largest > MOST_BYTES:
        raise EngineError("too_large", f"{largest:,} bytes came of it: {MOST_BYTES:,} are taken", retryable=False)
    return events
