"""`calltape serve`: every role and every door, in one process or each role in its own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import Refused, say

if TYPE_CHECKING:
    from calltape.lifetime import Lifetime


def serve(
    dev: Annotated[
        bool, typer.Option("--dev", help="Take unsigned calls, on this machine alone: for trying things.")
    ] = False,
    processes: Annotated[
        bool, typer.Option("--processes", help="Each role in a process of its own, restarted when it dies.")
    ] = False,
    workers: Annotated[
        str,
        typer.Option(
            metavar="ROLE=N,…", help="With --processes: how many of a role, such as hearing=2 (1 each; 0: none here)."
        ),
    ] = "",
) -> None:
    """Answer calls: webhooks, media streams, workers, read models."""
    if processes:
        # It means "restart what runs". Before anything runs there is nothing to restart, and nothing to die of.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from calltape.doors import require_doors
    from calltape.lifetime import live
    from calltape.settings import settings

    if workers and not processes:
        raise Refused("--workers counts processes: it goes with --processes", code=2)
    require_doors(settings(), dev=dev)
    if processes:
        _supervise(workers, dev=dev)
    else:
        live("serve", lambda lifetime: _serve(lifetime, dev=dev))


def _supervise(workers: str, *, dev: bool) -> None:
    import asyncio

    from calltape.lifetime import begin_log, refuse_private_log
    from calltape.settings import settings
    from calltape.supervise import counted, listen, metrics_line, posts, supervise
    from calltape.unknown import warn_of_unknown_names

    configured = settings()
    refuse_private_log(configured)
    counts = counted(workers, configured)
    with listen(configured.host, configured.port) as listening:
        manned = posts(configured, counts, listening, dev=dev)
        begin_log(configured, process="supervisor")
        warn_of_unknown_names()
        if configured.metrics_port:
            say(metrics_line(configured, manned))
        asyncio.run(supervise(manned))


async def _serve(lifetime: Lifetime, *, dev: bool) -> None:
    from calltape.doors import announcement
    from calltape.engines import other_way_told
    from calltape.lifetime import health_told
    from calltape.serving import opened_ingest
    from calltape.settings import settings
    from calltape.unknown import warn_of_unknown_names
    from calltape.wiring import ROLES, House

    configured = settings()
    warn_of_unknown_names()
    roles = [name for name in ROLES if name != "recorder" or configured.record != "off"]
    async with House(configured) as house, health_told(house, roles):
        with other_way_told():
            await house.start(roles)
        async with opened_ingest(house, dev=dev) as port:
            for line in announcement(configured, dev=dev, port=port):
                say(line)
            await lifetime.spend(house)
            say("Stopping: calls in progress are closed in a quiet moment.")
