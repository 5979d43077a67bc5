"""The life of a process of ours: its loop, its name in the log lines, and the ways in which it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from calltape.keeper import HAND_OVER, LEAVE, LEAVING
from calltape.terminal import Refused, say

if TYPE_CHECKING:
    from calltape.settings import Settings
    from calltape.wiring import House

# An orphan that cannot end by itself in this time, such as one whose loop is stuck, is ended.
LAST_MOMENT_S = 5.0
STDIN = 0


class Broken(Exception):
    """A part of this process failed while it ran; the cause says how."""


class Lifetime:
    """Ends by SIGTERM, SIGINT, a broken part or, if it hangs on its parent, by that one's end or wish.

    `is_kept`: its parent starts a successor first when somebody else sends SIGTERM; who sends it again means it.
    """

    def __init__(self, *, is_kept: bool = False) -> None:
        self.is_orphan = False
        self._is_kept = is_kept
        self.is_relieved = False  # another process listens at our socket already
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def begin(self, *, until_eof: bool) -> None:
        """Listen for signals, and with `until_eof` for the end of stdin."""
        self._loop.add_signal_handler(signal.SIGTERM, self._over.set)
        if until_eof:
            self._loop.add_signal_handler(HAND_OVER, self._relieved)
            self._loop.add_signal_handler(LEAVE, self._over.set)
            # Ctrl-C reaches the whole group; the parent decides who stops first.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
        else:
            self._loop.add_signal_handler(signal.SIGINT, self._over.set)

    async def spend(self, house: House) -> None:
        """Returns when it is over. Raises Broken when that is because a part of the house failed."""
        assert house.failed is not None
        house.failed.add_done_callback(lambda _: self._over.set())
        settle()
        if self._is_kept:  # not sooner: it has said that it is open
            self._loop.add_signal_handler(signal.SIGTERM, self._asked_to_leave)
        await self._over.wait()
        if house.failed.done():
            raise Broken from _first_cause(house.failed.result())

    def _watch_parent(self) -> None:
        with suppress(OSError):  # no stdin at all is no parent either
            while os.read(STDIN, 4096):
                pass
        with suppress(RuntimeError):  # the loop is closed: it ends anyway
            self._loop.call_soon_threadsafe(self._orphaned)
        time.sleep(LAST_MOMENT_S)
        os._exit(1)

    def _asked_to_leave(self) -> None:
        self._loop.add_signal_handler(signal.SIGTERM, self._over.set)
        say(LEAVING)

    def _relieved(self) -> None:
        self.is_relieved = True
        self._over.set()

    def _orphaned(self) -> None:
        self.is_orphan = True
        self._over.set()


def live(
    process: str, work: Callable[[Lifetime], Awaitable[None]], *, until_eof: bool = False, is_kept: bool = False
) -> None:
    """Run `work` to its end, with log lines that name the process. Raises Refused with what broke."""
    import uvloop

    from calltape.settings import settings

    begin_log(settings(), process=process)

    async def lived() -> None:
        lifetime = Lifetime(is_kept=is_kept)
        lifetime.begin(until_eof=until_eof)
        await work(lifetime)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(lived())
        except Broken as broken:
            raise Refused(f"{process} stopped: {str(broken.__cause__) or repr(broken.__cause__)}") from broken


def settle() -> None:
    """Everything has been started: the collector need not look again at what stays to the end.

    Else it would, several times a minute, and every call of the process would wait for it (docs/figures.md).
    """
    gc.freeze()


@asynccontextmanager
async def health_told(house: House, names: Sequence[str]) -> AsyncIterator[None]:
    """Health and metrics of these roles on METRICS_PORT; without one nothing is loaded: restarts are quick."""
    if not house.settings.metrics_port:
        yield
        return
    from calltape.health import opened_health

    async with opened_health(house, names):
        yield


def begin_log(configured: Settings, *, process: str) -> None:
    """Log lines as the settings want them, each with the name of this process."""
    from calltape.logs import configure

    configure(level=configured.log_level, form=configured.log_format, with_pii=configured.log_pii)
    structlog.contextvars.bind_contextvars(process=process)


def refuse_private_log(configured: Settings) -> None:
    """Raises Refused when no second process can read the log."""
    if configured.log_uri == "memory:":
        raise Refused("the log is memory:, which only its own process can read: name another with CALLTAPE_LOG")


def _first_cause(failure: BaseException) -> BaseException:
    """A group says only that something failed; its first member says what."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
