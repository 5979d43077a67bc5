"""`calltape serve`: every role and every door in one process."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from calltape.terminal import Refused, say


def serve(
    dev: Annotated[
        bool, typer.Option("--dev", help="Take unsigned calls, on this machine alone: for trying things.")
    ] = False,
) -> None:
    """Answer calls: webhooks, media streams, workers, read models, all in this process."""
    from calltape.doors import require_doors
    from calltape.logs import configure
    from calltape.settings import settings

    configured = settings()
    configure(level=configured.log_level, form=configured.log_format, with_pii=configured.log_pii)
    require_doors(configured, dev=dev)
    failure = _with_fast_loop(dev)
    if failure is not None:
        raise Refused(f"the server stopped: {_first_cause(failure)}")


def _first_cause(failure: BaseException) -> BaseException:
    """A group says only that something failed; its first member says what."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _with_fast_loop(dev: bool) -> BaseException | None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(dev))


async def _serve(dev: bool) -> BaseException | None:
    """Until SIGTERM, SIGINT or a broken part; returns what broke."""
    from calltape.doors import announcement
    from calltape.serving import opened_ingest
    from calltape.settings import settings
    from calltape.wiring import ROLES, House

    configured = settings()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    roles = [name for name in ROLES if name != "recorder" or configured.record != "off"]
    async with House(configured) as house:
        await house.start(roles)
        async with opened_ingest(house, dev=dev) as port:
            for line in announcement(configured, dev=dev, port=port):
                say(line)
            assert house.failed is not None
            house.failed.add_done_callback(lambda _: stop.set())
            await stop.wait()
            if not house.failed.done():
                say("Stopping: calls in progress are closed in a quiet moment.")
        return house.failed.result() if house.failed.done() else None
