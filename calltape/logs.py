"""Log lines: a static message with attributes, JSON or readable, without what belongs to a caller."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

PRIVATE_PREFIX = "pii_"
# Never told, whatever the settings say.
SECRET_WORDS = ("token", "secret", "authorization", "signature", "password", "jwt")

# Who speaks of requests, and where the exceptions are made of those that cannot be read.
SERVER, UNREADABLE = "aiohttp.server", "aiohttp.http_exceptions"

Line = MutableMapping[str, Any]
Level = Literal["debug", "info", "warning", "error"]
Form = Literal["auto", "console", "json"]


def configure(level: Level = "info", form: Form = "auto", *, with_pii: bool = False, to: TextIO | None = None) -> None:
    """Set up structlog and the standard library's loggers for this process. Lines go to stderr: stdout is data."""
    stream = to if to is not None else sys.stderr
    readable = form == "console" or (form == "auto" and stream.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_secrets,
        *([] if with_pii else [drop_private]),
    ]
    ends: list[structlog.types.Processor] = (
        # Its own way with exceptions shows the variables of every frame: settings, tokens, callers' words.
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_foreign(ends)))
    handler.addFilter(without_request)
    # Libraries speak only when something is wrong: at info they tell addresses and numbers of callers.
    logging.basicConfig(level=max(_number(level), logging.WARNING), handlers=[handler], force=True)


def drop_private(_logger: Any, _method: str, line: Line) -> Line:
    """Callers' words, numbers and names stand only under keys that begin with `pii_`: here they go."""
    return {key: value for key, value in line.items() if not key.startswith(PRIVATE_PREFIX)}


def drop_secrets(_logger: Any, _method: str, line: Line) -> Line:
    """Tokens and secrets are never told."""
    return {key: value for key, value in line.items() if not any(word in key.lower() for word in SECRET_WORDS)}


def without_request(record: logging.LogRecord) -> bool:
    """A request's line and headers may hold a token, and aiohttp quotes them in its exceptions.

    A request that could not be read is told as such, without any of it. Of what else failed in aiohttp's server stay
    kind and place, as its words may be the request's.
    """
    error = record.exc_info[1] if record.exc_info else None
    if record.name != SERVER or error is None:
        return True
    if type(error).__module__ == UNREADABLE:
        record.msg, record.args = "malformed request", ()
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        record.exc_info = record.exc_text = record.stack_info = None
        return logging.getLogger(record.name).isEnabledFor(record.levelno)
    bare = type(type(error).__qualname__, (Exception,), {"__module__": type(error).__module__})
    record.exc_info, record.exc_text = (bare, bare(), error.__traceback__), None
    return True


def _foreign(ends: list[structlog.types.Processor]) -> list[structlog.types.Processor]:
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ends]


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
