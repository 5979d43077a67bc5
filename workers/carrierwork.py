"""Asks the carrier for what a call is owed, again when it is refused, and says what came of it only then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from schema.call import CallTransferred
from schema.envelope import Event
from schema.failure import WorkFailed
from workers.callstate import CallState
from workers.case import Case
from workers.desk import Desk, Work

logger = structlog.get_logger()

TRIES = 3
TRY_S = 12.0  # longer than the carrier's client waits: whoever answers nothing at all is given up, too
FIRST_WAIT_S = 0.5  # then twice that
CALL_OVER = "call_over"
HANG_UP = "hang_up"


class CarrierError(Exception):
    """The carrier did not do what it was asked; the message is safe to show.

    `code` is carrier_refused, carrier_unreachable, or call_over: there is no such call any more.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


async def asked(request: Callable[[], Awaitable[None]], is_wanted: Callable[[], bool]) -> CarrierError | None:
    """Ask up to three times, while it is wanted. None: the carrier has said that it does it."""
    number = 1
    while True:
        error = await _tried(request)
        if error is None or not error.retryable or number == TRIES:
            return error
        logger.warning("the carrier did not do it, asking again", code=error.code, error=str(error))
        await asyncio.sleep(FIRST_WAIT_S * 2 ** (number - 1))
        if not is_wanted():
            return error
        number += 1


async def _tried(request: Callable[[], Awaitable[None]]) -> CarrierError | None:
    try:
        async with asyncio.timeout(TRY_S):
            await request()
    except CarrierError as error:
        return error
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return CarrierError("carrier_unreachable", "the request was cancelled by nobody here", retryable=True)
    except TimeoutError:
        return CarrierError("carrier_unreachable", f"no answer within {TRY_S:.0f} s", retryable=True)
    except Exception as error:
        logger.error("a request to the carrier broke", exc_info=error)
        return CarrierError("carrier_unreachable", f"the request broke: {type(error).__name__}")
    return None


class CarrierWork:
    """Requests of one conversation process, each a task among the work of its call. Whoever owns the call next asks
    for the same again: the carrier takes a repetition for nothing."""

    def __init__(self, desk: Desk, ready: Callable[[Case[CallState], Event], None]) -> None:
        """`ready(case, event)` has the fact said."""
        self._desk = desk
        self._ready = ready

    def ask(self, case: Case[CallState], work: Work, pump: Callable[[], None]) -> None:
        """Begin what the state owes the carrier and nobody here is asking for. `pump` is called when a request ends:
        the seal waits for it."""
        life = case.state.life
        if life.hang_up_owed and self._desk.hang_up is not None and HANG_UP not in work.requests:
            self._begin(work, HANG_UP, self._hang_up(case, self._desk.hang_up), pump)
        owed = life.transfer_owed
        if owed is None or owed[0] in work.requests:
            return
        if self._desk.transfer is None:
            nobody = CarrierError("no_carrier", "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN")
            self._ready(case, self._failed(case, "transfer", nobody, owed[0]))
            return
        self._begin(work, owed[0], self._transfer(case, *owed, self._desk.transfer), pump)

    def is_told(self, case: Case[CallState], state: CallState) -> bool:
        """Whether who owns the call, or is about to, has nothing left to ask, and no answer to wait for."""
        if not (case.owned or case.wants_adoption):
            return True  # it is another's to ask
        requests = case.work.requests if case.work is not None else {}
        if state.life.hang_up_owed and self._desk.hang_up is not None and HANG_UP not in requests:
            return False
        return all(task.done() for task in requests.values())

    def _begin(self, work: Work, key: str, asking: Coroutine[Any, Any, None], pump: Callable[[], None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                pump()

        work.requests[key] = task = asyncio.get_running_loop().create_task(asking)
        task.add_done_callback(ended)

    async def _hang_up(self, case: Case[CallState], hang_up: Callable[[str], Awaitable[None]]) -> None:
        async def request() -> None:
            try:
                await hang_up(case.call_id)
            except CarrierError as error:
                if error.code != CALL_OVER:  # nobody is left to hang up on: that was all that was wanted
                    raise

        error = await asked(request, lambda: case.state.life.hang_up_owed)
        if error is not None:
            self._ready(case, self._failed(case, HANG_UP, error, ""))

    async def _transfer(
        self, case: Case[CallState], request: str, number: str, transfer: Callable[[str, str], Awaitable[None]]
    ) -> None:
        def is_wanted() -> bool:
            owed = case.state.life.transfer_owed
            return owed is not None and owed[0] == request

        error = await asked(lambda: transfer(case.call_id, number), is_wanted)
        if error is None:
            done = CallTransferred(id=self._desk.new_id(), call_id=case.call_id, to=number, cause=request)
            self._ready(case, done)
        else:
            self._ready(case, self._failed(case, "transfer", error, request))

    def _failed(self, case: Case[CallState], stage: str, error: CarrierError, cause: str) -> WorkFailed:
        logger.warning("the carrier did not do it", call_id=case.call_id, stage=stage, code=error.code)
        return WorkFailed(
            id=self._desk.new_id(),
            call_id=case.call_id,
            stage=stage,
            code=error.code,
            message=str(error),
            retryable=error.retryable,
            cause=cause,
        )
