"""`calltape check`: looks at everything a call needs and says how to mend what is not right."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calltape.terminal import AsJson, emit, say

if TYPE_CHECKING:
    from calltape.checks.part import Part
    from calltape.settings import Settings

_PASSWORD = re.compile(r"(://[^/:@]*:)[^@]*@")

# Every name a part can have; each has its section in docs/guides/troubleshooting.md.
PARTS = (
    "python",
    "settings",
    "disk",
    "log",
    "database",
    "projections",
    "agent",
    "hearing",
    "speaking",
    "twilio",
    "public_url",
    "tokens",
    "doors",
    "sites",
    "dev",
    "numbers",
    "port",
    "twilio_account",
    "twilio_number",
)


def check(
    dev: Annotated[
        bool, typer.Option("--dev", help="Check for `calltape serve --dev`, which needs no secrets.")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help="Ask Twilio about the account and the number, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything a call needs; exit 0 only if all of it is right."""
    from calltape.checks.machine import python
    from calltape.checks.part import bad
    from calltape.settings import SettingsError, load

    try:
        settings = load()
    except SettingsError as error:
        fix = "correct these in the environment or in .env (docs/operating/settings.md)"
        _tell([python(), bad("settings", str(error), fix)], None, as_json=as_json)
    else:
        _tell(asyncio.run(_parts(settings, dev=dev, online=online)), settings, as_json=as_json)


async def _parts(settings: Settings, *, dev: bool, online: bool) -> list[Part]:
    from calltape.checks import agent, carrier, doors, machine, storage

    parts = [
        machine.python(),
        machine.environment(settings),
        machine.disk(settings),
        await storage.log(settings),
        await storage.database(settings),
        await storage.projections(settings),
        agent.profile(settings),
        await agent.hearing(settings),
        await agent.speaking(settings),
        doors.twilio(settings, dev=dev),
        doors.public_url(settings, dev=dev),
        await doors.tokens(settings, dev=dev),
        doors.sites(settings),
        doors.dev_host(settings, dev=dev),
        doors.must_open(settings, dev=dev),
        doors.numbers(settings),
        machine.port(settings),
        *(await carrier.ask(settings) if online else ()),
    ]
    return [part for part in parts if part is not None]


def _tell(parts: list[Part], settings: Settings | None, *, as_json: bool) -> None:
    every_one = all(part.ok for part in parts)
    if as_json:
        emit({"ok": every_one, "parts": [asdict(part) for part in parts], "settings": _shown(settings)})
    else:
        for part in parts:
            state = "WRONG" if not part.ok else "warn " if part.fix else "ok   "
            say(f"{state}  {part.name:<14}  {part.detail}")
            if part.fix:
                say(f"{'':21}  → {part.fix}")
        if not every_one:
            say("\nMore about each: docs/guides/troubleshooting.md")
    if not every_one:
        raise typer.Exit(1)


def _shown(settings: Settings | None) -> dict[str, Any]:
    """Every setting by its environment name; secrets and passwords only as stars."""
    from calltape.settings import environment_name

    if settings is None:
        return {}
    return {environment_name(name): _masked(value) for name, value in settings.model_dump(mode="json").items()}


def _masked(value: Any) -> Any:
    return _PASSWORD.sub(r"\1***@", value) if isinstance(value, str) else value
