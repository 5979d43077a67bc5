"""A process as the scheduler sees it: everything it runs can be stopped between two steps, for a while or for ever."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any


class Fate(enum.Enum):
    """What the operating system does with it."""

    RUNNING = "running"
    FROZEN = "frozen"  # SIGSTOP: its steps wait
    DEAD = "dead"  # kill -9: its steps never come, no `finally` runs


class Process:
    """One incarnation. Whatever is created inside its `context` belongs to it: tasks, timers, callbacks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fate = Fate.RUNNING
        self.context = copy_context()
        self.context.run(PROCESS.set, self)
        self._parked: list[asyncio.Handle] = []
        self._fuse: int | None = None
        self._at_fuse: Callable[[], None] = _nothing

    def __repr__(self) -> str:
        return f"<{self.name} {self.fate.value}>"

    @property
    def dead(self) -> bool:
        return self.fate is Fate.DEAD

    def spawn(self, loop: asyncio.AbstractEventLoop, main: Any) -> asyncio.Task[Any]:
        """Run a coroutine inside."""
        return loop.create_task(main, context=self.context.copy())

    def light_fuse(self, steps: int, then: Callable[[], None]) -> None:
        """Do something to it just before the step that comes after so many others: a fault at any await."""
        self._fuse, self._at_fuse = steps, then

    def may_step(self, handle: asyncio.Handle) -> bool:
        """Whether this step runs now; else it is kept for the thaw."""
        if self._fuse is not None and self.fate is Fate.RUNNING:
            self._fuse -= 1
            if self._fuse <= 0:
                self._fuse = None
                self._at_fuse()
        if self.fate is Fate.RUNNING:
            return True
        self._parked.append(handle)
        return False

    def stop(self, fate: Fate) -> None:
        """Freeze or kill. What is dead stays dead."""
        if self.fate is not Fate.DEAD:
            self.fate = fate

    def revive(self) -> None:
        """The run is over: let it come to its end, where nobody hears it."""
        self.fate, self._fuse = Fate.RUNNING, None

    def release(self) -> list[asyncio.Handle]:
        """The steps that waited, in their order; the scheduler takes them back."""
        parked, self._parked = self._parked, []
        return parked


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)


def world_context() -> Context:
    """A context outside every process: for what is on the wire and does not die with its sender."""
    context = copy_context()
    context.run(PROCESS.set, None)
    return context


def _nothing() -> None:
    return None
