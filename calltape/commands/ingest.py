"""`calltape ingest`: the doors alone; workers run elsewhere, on the same log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from calltape.terminal import say

if TYPE_CHECKING:
    from calltape.lifetime import Lifetime

UntilEof = Annotated[
    bool,
    typer.Option(
        "--until-eof", help="Stop at once, without draining, when stdin ends: for whoever starts it and may be killed."
    ),
]


def ingest(
    dev: Annotated[
        bool, typer.Option("--dev", help="Take unsigned calls, on this machine alone: for trying things.")
    ] = False,
    until_eof: UntilEof = False,
    listen_fd: Annotated[
        int | None,
        typer.Option("--listen-fd", min=3, help="A file descriptor that listens already, for whoever starts it."),
    ] = None,
    kept: Annotated[
        bool,
        typer.Option(
            "--kept",
            help="Told to end by SIGTERM, say so and go on until SIGUSR1 (another process listens at the descriptor) "
            "or SIGUSR2 (none will): for whoever starts it.",
        ),
    ] = False,
) -> None:
    """Open the doors and nothing else: webhooks and media streams, onto the log and from it."""
    from calltape.doors import require_doors
    from calltape.lifetime import live, refuse_private_log
    from calltape.settings import settings

    configured = settings()
    refuse_private_log(configured)
    require_doors(configured, dev=dev)
    live(
        "ingest",
        lambda lifetime: _doors(lifetime, dev=dev, listen_fd=listen_fd),
        until_eof=until_eof,
        is_kept=kept and until_eof,
    )


async def _doors(lifetime: Lifetime, *, dev: bool, listen_fd: int | None) -> None:
    import socket

    from calltape.doors import announcement
    from calltape.serving import opened_ingest
    from calltape.settings import settings
    from calltape.wiring import House

    configured = settings()
    listening = None if listen_fd is None else socket.socket(fileno=listen_fd)
    async with (
        House(configured) as house,
        opened_ingest(
            house,
            dev=dev,
            is_hasty=lambda: lifetime.is_orphan,
            is_relieved=lambda: lifetime.is_relieved,
            listening=listening,
        ) as port,
    ):
        for line in announcement(configured, dev=dev, port=port):
            say(line)
        await lifetime.spend(house)
        if lifetime.is_relieved:
            say("Handing over: calls in progress go to another process, each in a quiet moment.")
        elif not lifetime.is_orphan:
            say("Stopping: calls in progress are closed in a quiet moment.")
