"""What the late roles work with: a summary whose every word can be checked, and a disk that is now and then full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from workers.engines.port import ActionFound, CallSummary, EngineError, KeyPoint, MadeBy, SpokenLine, ToolOutcome


class ToySummariser:
    """Repeats what was said, line by line, and what has to be done."""

    def __init__(self, chance: Random, *, failing: float, slowest_ms: int = 3000) -> None:
        self._chance = chance
        self._failing = failing
        self._slowest_ms = slowest_ms

    def made_by(self) -> MadeBy:
        return MadeBy("toy", "clerk", "")

    async def summarise(self, lines: Sequence[SpokenLine], tools: Sequence[ToolOutcome]) -> CallSummary:
        await asyncio.sleep(self._chance.random() * self._slowest_ms / 1000)
        if self._chance.random() < self._failing:
            raise EngineError("toy_tired", "the toy clerk gave up", retryable=True)
        cites = tuple(line.id for line in lines)
        points = tuple(KeyPoint(line.text, (line.id,)) for line in lines[:2])
        actions = tuple(ActionFound(f"{tool.name} it", "note", tool.cites) for tool in tools if tool.ok)
        return CallSummary(summary_of(lines), points, actions, "neutral", cites)


def summary_of(lines: Sequence[SpokenLine]) -> str:
    return "; ".join(f"{line.speaker}: {line.text}" for line in lines)


class ToyDisk:
    """Runs what would run in a thread; before and after it the process may die."""

    def __init__(self, chance: Random, *, failing: float) -> None:
        self._chance = chance
        self._failing = failing

    async def __call__(self, work: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(self._chance.random() * 0.3)
        if self._chance.random() < self._failing:
            raise OSError("the toy disk is full")
        done = work(*args)
        await asyncio.sleep(self._chance.random() * 0.1)
        return done
