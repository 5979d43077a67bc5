"""Runs one tool of an agent and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from schema.envelope import Event
from schema.turn import ToolReturned
from workers import talk
from workers.tools.port import PerCall, Tool, ToolCall, ToolError

logger = structlog.get_logger()

TOOL_TIMEOUT_S = 30


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
            message=message,
            cause=called.id,
        )
    )


async def _outcome(tool: Tool | None, called: talk.Tool, call: ToolCall) -> tuple[bool, dict[str, str], str]:
    if tool is None:
        return False, {}, f"no tool named {called.name} is installed"
    try:
        async with asyncio.timeout(TOOL_TIMEOUT_S):
            mine = tool.of_call(call) if isinstance(tool, PerCall) else tool
            return True, await mine.run(called.arguments, called.id), ""
    except TimeoutError:
        return False, {}, f"{called.name} did not answer within {TOOL_TIMEOUT_S} s"
    except ToolError as error:
        return False, {}, str(error)
    except Exception as error:
        logger.error("tool broke", call_id=call.call_id, tool=called.name, exc_info=error)
        return False, {}, f"{called.name} broke: {type(error).__name__}"
