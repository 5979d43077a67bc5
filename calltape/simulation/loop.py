"""An event loop of virtual time: the clock jumps to the next timer and a seed draws who runs first.

No threads, sockets or executors. Steps of different tasks that are ready together may run in any order; everything
else keeps its place, because the callbacks of one future are promised in theirs.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from random import Random
from typing import Any, TypeVar

from calltape.simulation.process import PROCESS, Fate, Process

T = TypeVar("T")

# A call of ten minutes takes about 300,000 steps.
MAX_STEPS = 5_000_000


class Deadlock(Exception):
    """Nothing is ready and no timer is set: the run would wait for ever."""


class Runaway(Exception):
    """More steps than any honest run takes."""


class _Task(asyncio.Task[Any]):
    """Knows how many tasks came before it, so that an order never depends on a memory address."""

    ordinal: int


class VirtualLoop(asyncio.BaseEventLoop):
    """Use it through `run`. `shuffle=False` keeps asyncio's own order."""

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, seed: int, *, max_steps: int = MAX_STEPS, shuffle: bool = True) -> None:
        super().__init__()
        self.steps = 0
        self.complaints: list[dict[str, Any]] = []
        self._now = 0.0
        self._max_steps = max_steps
        self._chance = Random(f"order-{seed}")
        self._shuffle = shuffle
        self._ordinals = itertools.count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # when, in the order they were set
        self._timer_numbers = itertools.count()
        self._processes: list[Process] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._now

    def freeze(self, seconds: float) -> None:
        """The whole machine stands still: time passes, and nobody runs."""
        self._now += seconds

    def run(self, main: Coroutine[Any, Any, T], *, at_end: Callable[[], None] | None = None) -> T:
        """Run to its end, call `at_end`, then let everything that is left end too. Raises Deadlock, Runaway."""
        try:
            asyncio.set_event_loop(self)
            return self.run_until_complete(main)
        finally:
            if at_end is not None:
                at_end()
            self._bury()
            asyncio.set_event_loop(None)
            self.close()

    def process(self, name: str) -> Process:
        """A new process, running nothing yet."""
        self._processes.append(Process(name))
        return self._processes[-1]

    def thaw(self, process: Process) -> None:
        """A frozen process goes on with all that waited."""
        if process.fate is Fate.FROZEN:
            process.fate = Fate.RUNNING
            self._ready.extend(process.release())

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError("there are no threads on virtual time: give the simulation an in-process fake")

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector, so nobody needs waking."""

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Any,
        *,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        task = _Task(coro, loop=loop, context=context, **options)
        task.ordinal = next(self._ordinals)
        return task

    # The four that every step goes through, without what a loop of sockets, threads and debugging needs.

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _run_once(self) -> None:
        self._advance()
        ready = self._ready
        if len(ready) == 1:
            batch: Sequence[asyncio.Handle] = (ready.popleft(),)
        else:
            batch = self._in_drawn_order(list(ready))
            ready.clear()
        for handle in batch:
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            if process is not None and not process.may_step(handle):
                continue
            self.steps += 1
            handle._run()
        if self.steps > self._max_steps:
            raise Runaway(f"{self.steps} steps in {self._now:.1f} s of virtual time: something spins")

    def _advance(self) -> None:
        """Jump to the next timer if nothing is ready, then make ready what is due."""
        timers, ready = self._timers, self._ready
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise Deadlock("nothing is ready and no timer is set")
            self._now = max(self._now, timers[0][0])
        now = self._now
        while timers and timers[0][0] <= now:
            ready.append(heapq.heappop(timers)[2])

    def _in_drawn_order(self, batch: list[asyncio.Handle]) -> Sequence[asyncio.Handle]:
        if len(batch) < 2:
            return batch
        drawn: list[asyncio.Handle] = []
        together: list[tuple[int, asyncio.Handle]] = []
        for handle in batch:
            task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
            if isinstance(task, _Task):
                together.append((task.ordinal, handle))
            else:
                drawn += self._drawn(together)
                together.clear()
                drawn.append(handle)
        return drawn + self._drawn(together)

    def _drawn(self, together: list[tuple[int, asyncio.Handle]]) -> list[asyncio.Handle]:
        # First sorted: what came out of a set must not depend on where its members lie in memory.
        if len(together) > 1 and self._shuffle:
            together.sort(key=_ordinal)
            self._chance.shuffle(together)
        return [handle for _, handle in together]

    def _bury(self) -> None:
        """Cancel what is left, the dead included, now that nobody looks: their `finally` may run at last."""
        self._max_steps = self.steps + MAX_STEPS
        for process in self._processes:
            process.revive()
            self._ready.extend(process.release())
        for turn in range(5000):
            left = sorted(asyncio.all_tasks(self), key=_age)
            if not left:
                return
            for task in left if turn % 1000 == 0 else ():
                task.cancel()
            self.call_soon(_nothing)
            self._run_as_current(self._run_once)
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def _run_as_current(self, step: Callable[[], None]) -> None:
        asyncio._set_running_loop(self)
        try:
            step()
        finally:
            asyncio._set_running_loop(None)


def _ordinal(pair: tuple[int, asyncio.Handle]) -> int:
    return pair[0]


def _age(task: asyncio.Task[Any]) -> int:
    return getattr(task, "ordinal", 0)


def _nothing() -> None:
    return None
