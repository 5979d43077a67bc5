"""Opens the doors of a house: settings become limits, and the webhook learns from the read models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from socket import socket
from typing import TYPE_CHECKING

import structlog

from calltape import world
from calltape.limits import ingest_config
from calltape.settings import Settings
from calltape.terminal import Refused, no_port
from calltape.wiring import House
from ingest.app import Ingest
from ingest.numbers import load_numbers
from ingest.token_keys import KeysError
from ingest.web.webhooks import Standing
from schema.topics import EVENTS, partition_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

logger = structlog.get_logger()

CATCH_UP_S = 1.0  # the carrier waits for our answer: longer than the projector's usual milliseconds, no longer
LOOK_S = 0.02


@asynccontextmanager
async def opened_ingest(
    house: House,
    *,
    dev: bool = False,
    is_hasty: Callable[[], bool] = lambda: False,
    is_relieved: Callable[[], bool] = lambda: False,
    listening: socket | None = None,
) -> AsyncIterator[int]:
    """The port the doors listen on. On the way out calls in progress are closed in a quiet moment, or at once in haste.

    `is_relieved`: another process accepts at the same socket, so this one lets go of it first. A part of the doors that
    breaks is told by `house.failed`, like a role's.
    Needs no database: what the read models cannot say, the log says.
    """
    ingest = await _doors_of(house, dev=dev)
    async with _entered(ingest):
        ingest.failed.add_done_callback(partial(_tell, house))
        port = await _started(ingest, house.settings, listening)
        try:
            yield port
        finally:
            # Who cannot hear the log any more keeps no caller waiting for a quiet moment.
            if not (is_hasty() or ingest.failed.done()):
                await ingest.drain(is_relieved=is_relieved())


async def _doors_of(house: House, *, dev: bool) -> Ingest:
    config = ingest_config(house.settings, dev=dev)
    engine = house.database_as_it_is()
    return Ingest(
        config,
        house.log,
        now=world.now_ms,
        clock=world.clock_ms,
        new_id=world.new_id,
        numbers=load_numbers(house.settings.numbers, agent=config.agent),
        read_model=_standing_of(engine),
        first_position=_first_position_of(engine, await house.log.partitions(EVENTS.name)),
        oldest_live=_oldest_live_of(engine),
    )


async def _started(ingest: Ingest, settings: Settings, listening: socket | None) -> int:
    """The port. Raises Refused when it cannot be had."""
    try:
        return await ingest.start(settings.host, settings.port, listening=listening)
    except OSError as error:
        raise no_port(settings.host, settings.port, error) from error


@asynccontextmanager
async def _entered(ingest: Ingest) -> AsyncIterator[None]:
    """Raises Refused when the keys of tokens cannot be used as they are configured."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(ingest)
        except KeysError as error:
            raise Refused(f"tokens cannot be checked: {error}") from error
        yield


def _tell(house: House, failed: asyncio.Future[BaseException]) -> None:
    if house.failed is not None and not house.failed.done() and not failed.cancelled():
        house.failed.set_result(failed.result())


def _standing_of(engine: AsyncEngine) -> Callable[[str, int, int], Awaitable[Standing]]:
    """What the read models know of a call, once they have caught up with a position, or after a second."""
    from projections.errors import ProjectionUnavailable
    from projections.queries import call_state, positions
    from projections.results import CallState

    async def standing(call_id: str, partition: int, position: int) -> Standing:
        deadline = asyncio.get_running_loop().time() + CATCH_UP_S
        try:
            while not (has_all := (await positions(engine)).get(partition, 0) >= position):
                if asyncio.get_running_loop().time() >= deadline:
                    break
                await asyncio.sleep(LOOK_S)
            state = await call_state(engine, call_id)
        except ProjectionUnavailable as error:
            # A call must not end because a database is away: the log tells its new stream if it is over.
            logger.warning("read models unavailable, the log decides", call_id=call_id, error=str(error))
            return Standing()
        return Standing(ended=state is CallState.ENDED, known=state is not CallState.UNKNOWN or not has_all)

    return standing


def _first_position_of(engine: AsyncEngine, partitions: int) -> Callable[[str], Awaitable[int | None]]:
    """For live views; while the read models are away the whole partition is read."""
    from projections.errors import ProjectionUnavailable
    from projections.queries import first_position

    async def asked(call_id: str) -> int | None:
        try:
            return await first_position(engine, call_id, partition_of(call_id, partitions))
        except ProjectionUnavailable:
            return None

    return asked


def _oldest_live_of(engine: AsyncEngine) -> Callable[[int], Awaitable[int | None]]:
    from projections.errors import ProjectionUnavailable
    from projections.queries import oldest_live

    async def asked(partition: int) -> int | None:
        try:
            return await oldest_live(engine, partition)
        except ProjectionUnavailable:
            return None

    return asked
