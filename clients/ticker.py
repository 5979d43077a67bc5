"""Beats the 20 ms of every simulated call from one task, on an absolute schedule that cannot drift."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

FRAME_MS = 20


class Ticker:
    """Calls everyone registered once a beat; late beats are made up, so n beats always last n intervals.

    Time is the running loop's own, so that a loop on virtual time carries calls on virtual time.
    """

    def __init__(self, pace: float = 1.0) -> None:
        """pace: 1.0 is real time, 20.0 twenty times as fast."""
        self.pace = pace
        self._interval_s = FRAME_MS / 1000 / pace
        self._listeners: dict[int, Callable[[], None]] = {}
        self._numbers = 0
        self._last_beat = 0.0
        self._task: asyncio.Task[None] | None = None
        self.late_beats = 0

    async def __aenter__(self) -> Self:
        self._last_beat = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._beat(), name="ticker")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def add(self, listener: Callable[[], None]) -> tuple[int, float]:
        """Register; returns the number to remove it by and the loop time from which its beats count."""
        self._numbers += 1
        self._listeners[self._numbers] = listener
        return self._numbers, self._last_beat

    def remove(self, number: int) -> None:
        self._listeners.pop(number, None)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = self._last_beat + self._interval_s
            wait_s = due - loop.time()
            if wait_s < -self._interval_s:
                self.late_beats += 1
            await asyncio.sleep(max(0.0, wait_s))
            self._last_beat = due
            for number, listener in list(self._listeners.items()):
                self._call(number, listener)

    def _call(self, number: int, listener: Callable[[], None]) -> None:
        """One call's mistake must not stop the clock of the others: it loses its own beats and is reported."""
        try:
            listener()
        except Exception as error:
            self.remove(number)
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a listener of the ticker failed and was removed", "exception": error}
            )
