"""`calltape worker`: one role or several in one process, on the log that ingest and other workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from calltape.commands.ingest import UntilEof
from calltape.terminal import Refused, say

if TYPE_CHECKING:
    from calltape.lifetime import Lifetime


def worker(
    role: Annotated[
        list[str], typer.Argument(help="hearing, conversation, projector, summariser or recorder; one or several.")
    ],
    until_eof: UntilEof = False,
) -> None:
    """Work in these roles, as one process, until it is stopped."""
    from calltape.lifetime import live, refuse_private_log
    from calltape.settings import settings
    from calltape.wiring import ROLES

    configured = settings()
    names = tuple(dict.fromkeys(role))
    for name in names:
        if name not in ROLES:
            raise Refused(f"no role is called {name!r}: there are {', '.join(ROLES)}", code=2)
    if "recorder" in names and configured.record == "off":
        raise Refused("CALLTAPE_RECORD is off, so a recorder has nothing to do: set it to on or consent")
    refuse_private_log(configured)
    live("+".join(names), lambda lifetime: _work(lifetime, names), until_eof=until_eof)


async def _work(lifetime: Lifetime, names: tuple[str, ...]) -> None:
    from calltape.engines import other_way_told
    from calltape.lifetime import health_told
    from calltape.settings import settings
    from calltape.wiring import House

    async with House(settings()) as house, health_told(house, names):
        with other_way_told():
            await house.start(names)
        say(f"calltape works as {', '.join(names)} (instance {house.settings.instance})")
        await lifetime.spend(house)
