"""The command line: one verb a file of `calltape/commands`; whatever is heavy is imported when its verb runs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    import typer
    from typer.main import get_command

    from calltape.commands.call import call
    from calltape.commands.calls import calls
    from calltape.commands.chaos import chaos
    from calltape.commands.check import check
    from calltape.commands.demo import demo
    from calltape.commands.ingest import ingest
    from calltape.commands.migrate import migrate
    from calltape.commands.serve import serve
    from calltape.commands.show import show
    from calltape.commands.simulate import simulate
    from calltape.commands.tail import tail
    from calltape.commands.token import token
    from calltape.commands.topics import topics
    from calltape.commands.worker import worker
    from calltape.terminal import Refused
except KeyboardInterrupt:  # before anything began
    sys.exit(130)

if TYPE_CHECKING:
    from calltape.catalogue import Verb

VERBS: tuple[Callable[..., Any], ...] = (
    demo,
    serve,
    ingest,
    worker,
    calls,
    show,
    tail,
    call,
    check,
    migrate,
    token,
    topics,
    simulate,
    chaos,
)

# Errors that are sentences for whoever typed the command. A module that was never imported raised nothing.
SENTENCES = (
    ("calltape.terminal", "Refused"),
    ("calltape.settings", "SettingsError"),
    ("eventlog.port", "LogError"),
    ("projections.errors", "ProjectionError"),
    ("workers.profiles", "ProfileError"),
    ("workers.engines.port", "EngineError"),
    ("clients.script", "ScriptError"),
    ("ingest.numbers", "NumbersError"),
    ("ingest.app", "NoDoor"),
)

app = typer.Typer(
    name="calltape",
    help="Live voice calls on an event log: append-only, replayable, and the only source of truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _verb in VERBS:
    app.command(_verb.__name__)(_verb)


@app.callback()
def _calltape() -> None:
    """Keeps `calltape VERB` even if there were only one."""


def verbs() -> list[Verb]:
    """Every command as the reference describes it."""
    from calltape.catalogue import Option, Verb

    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        options = tuple(
            Option(
                ", ".join([*parameter.opts, *parameter.secondary_opts])
                if parameter.opts[0].startswith("-")
                else parameter.opts[0].upper(),
                _help(parameter),
            )
            for parameter in command.params
            if parameter.name != "help"
        )
        found.append(Verb(name, (command.help or "").strip(), options))
    return found


def main() -> None:
    """Runs the command; its failures are one sentence on stderr and a code that is not 0."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character gets the rest
    try:
        app(prog_name="calltape")
    except KeyboardInterrupt:
        sys.exit(130)
    except (SystemExit, BrokenPipeError, BaseExceptionGroup) as error:
        if not _has_seen_enough(error):
            raise
        # Whoever read along (`calltape tail | head`); what is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if not isinstance(error, _sentences()):
            raise
        sys.stderr.write(f"calltape: {error}\n")
        sys.exit(error.code if isinstance(error, Refused) else 1)


def _has_seen_enough(error: BaseException) -> bool:
    """Whether the reader of stdout is gone: click and rich make an exit of it, a task group wraps it."""
    if isinstance(error, BaseExceptionGroup):
        return all(_has_seen_enough(each) for each in error.exceptions)
    return isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError)


def _sentences() -> tuple[type[BaseException], ...]:
    loaded = ((sys.modules.get(module), name) for module, name in SENTENCES)
    return tuple(getattr(module, name) for module, name in loaded if module is not None)


def _help(parameter: Any) -> str:
    return str(getattr(parameter, "help", "") or "")


if __name__ == "__main__":
    main()
