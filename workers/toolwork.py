"""Runs one tool of an agent and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from schema.envelope import Event
from schema.turn import ToolReturned
from workers import talk
from workers.tools.port import PerCall, Tool, ToolCall, ToolError

logger = structlog.get_logger()

TOOL_TIMEOUT_S = 30
# Of names and values together: what a model can use, and far below what a log takes in one fact.
MOST_RESULT_BYTES = 64 * 1024
LONGEST_MESSAGE = 1_000  # characters
CUT = " …"


async def run_tool(
    tool: Tool | None,
    called: talk.Tool,
    *,
    call: ToolCall,
    new_id: Callable[[], str],
    emit: Callable[[Event], None],
) -> None:
    """Run it with the event's id as its key, so that a repetition is harmless."""
    status, result, message = await _outcome(tool, called, call)
    emit(
        ToolReturned(
            id=new_id(),
            call_id=call.call_id,
            call=called.id,
            status="ok" if status else "failed",
            result=dict(result),
            message=message[:LONGEST_MESSAGE],
            cause=called.id,
        )
    )


async def _outcome(tool: Tool | None, called: talk.Tool, call: ToolCall) -> tuple[bool, dict[str, str], str]:
    if tool is None:
        return False, {}, f"no tool named {called.name} is installed"
    try:
        async with asyncio.timeout(TOOL_TIMEOUT_S):
            mine = tool.of_call(call) if isinstance(tool, PerCall) else tool
            return True, *_cut(await mine.run(called.arguments, called.id))
    except TimeoutError:
        return False, {}, f"{called.name} did not answer within {TOOL_TIMEOUT_S} s"
    except ToolError as error:
        return False, {}, str(error)
    except Exception as error:
        logger.error("tool broke", call_id=call.call_id, tool=called.name, exc_info=error)
        return False, {}, f"{called.name} broke: {type(error).__name__}"


def _cut(result: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The result, and what is to be said of it: what was done is done, however much its tool has to tell."""
    whole = sum(len(text.encode()) for field in result.items() for text in field)
    if whole <= MOST_RESULT_BYTES:
        return dict(result), ""
    room, kept = MOST_RESULT_BYTES, {}
    for name, text in result.items():
        room -= len(name.encode())
        if room <= len(CUT.encode()):
            break
        size = len(text.encode())
        kept[name] = text if size <= room else _beginning(text, room)
        room -= size
    return kept, f"its result of {whole:,} bytes was cut to {MOST_RESULT_BYTES:,}"


def _beginning(text: str, most: int) -> str:
    """As many whole characters as fit, and a sign that there were more."""
    return text.encode()[: most - len(CUT.encode())].decode(errors="ignore") + CUT
