"""The tasks that move an ingest's sockets. None of them may end: a process without one would only seem to work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import structlog

_log = structlog.get_logger(__name__)


class PartFailed(Exception):
    """A part of the doors broke, and its process with it; the cause says how."""


class Parts:
    """Runs them until `stop`; `failed` is done when the first one broke."""

    def __init__(self) -> None:
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        self.watch(task)

    def watch(self, task: asyncio.Task[None]) -> None:
        """One that another runs and stops."""
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed.done():
            return
        cause = task.exception()
        why = "it stopped by itself" if cause is None else f"{type(cause).__name__}: {cause}"
        failure = PartFailed(f"{task.get_name()} failed ({why}), so this process can carry no calls")
        failure.__cause__ = cause
        _log.critical("a part of ingest failed", part=task.get_name(), exc_info=cause)
        self.failed.set_result(failure)
