"""Opens the doors of a house: settings become limits, and the webhook learns from the read models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from calltape import world
from calltape.limits import ingest_config
from calltape.terminal import Refused
from calltape.wiring import House
from ingest.app import Ingest
from ingest.numbers import load_numbers
from ingest.web.webhooks import Standing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

CATCH_UP_S = 1.0  # the carrier waits for our answer: longer than the projector's usual milliseconds, no longer
LOOK_S = 0.02


@asynccontextmanager
async def opened_ingest(house: House, *, dev: bool = False) -> AsyncIterator[int]:
    """The port the doors listen on. On the way out calls in progress are closed in a quiet moment."""
    settings = house.settings
    config = ingest_config(settings, dev=dev)
    ingest = Ingest(
        config,
        house.log,
        now=world.now_ms,
        clock=world.clock_ms,
        new_id=world.new_id,
        numbers=load_numbers(settings.numbers, agent=config.agent),
        read_model=_standing_of(await house.open_database()),
    )
    async with ingest:
        try:
            port = await ingest.start(settings.host, settings.port)
        except OSError as error:
            raise Refused(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): is another server running? "
                "Choose another with CALLTAPE_PORT"
            ) from error
        try:
            yield port
        finally:
            await ingest.drain()


def _standing_of(engine: AsyncEngine) -> Callable[[str, int, int], Awaitable[Standing]]:
    """What the read models know of a call, once they have caught up with a position, or after a second."""
    from projections.queries import call_state, positions
    from projections.results import CallState

    async def standing(call_id: str, partition: int, position: int) -> Standing:
        deadline = asyncio.get_running_loop().time() + CATCH_UP_S
        while (await positions(engine)).get(partition, 0) < position:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(LOOK_S)
        state = await call_state(engine, call_id)
        return Standing(ended=state is CallState.ENDED)

    return standing
