"""What the processes of `live_calls` have in common: they speak in JSON lines and end when their parent does."""

from __future__ import annotations

import asyncio
import json
import sys
import time

# The agent speaks two seconds of every four, in messages of 160 ms; the caller's stamped frames come as often.
TURN_MS = 4_000
SPEAKS_MS = 2_000
PIECE_MS = 160
FRAME_MS = 20


def agent_speaks(call: int, ms: int) -> bool:
    """Whether it is the agent's turn at this moment of a call. Calls take their turns at different moments."""
    return (ms + call * 137) % TURN_MS < SPEAKS_MS


def call_number(call_id: str) -> int:
    """Its number among the calls of the run."""
    return int(call_id.lstrip("CAMZ").split(".")[0])


def tell(**said: object) -> None:
    """One line to the parent."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def clock_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def parent_is_done() -> None:
    """Returns when the parent closes our input, or dies, which closes it too."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
