"""Keeps one process running: executed, never forked; restarted when it died, replaced when that is wanted."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from calltape.settings import environment
from calltape.terminal import say

logger = structlog.get_logger()

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
GROWN_UP_S = 10.0  # who lived so long is restarted at once again
MOST_FALSE_STARTS = 3
WORKER_ENDS_S = 10.0
COMES_UP_S = 60.0  # imports, engines, migrations, on a busy machine
# To a door: another process listens at your socket, so let callers go there and end.
HAND_OVER = signal.SIGUSR1
# To a door: end, nobody comes after you. SIGTERM may come from anybody: a door then says LEAVING and goes on until it
# has one of ours.
LEAVE = signal.SIGUSR2
LEAVING = "Asked to leave: calls in progress stay until another process listens at this port."


@dataclass(frozen=True, slots=True)
class Post:
    """One process to be kept running. `ends_s`: how long it may take to end when it was asked to."""

    name: str
    arguments: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    ends_s: float = WORKER_ENDS_S
    listening: socket.socket | None = None  # a door's: whoever calls while it is restarted waits instead of failing

    @property
    def is_door(self) -> bool:
        return self.listening is not None

    @property
    def ends_by(self) -> int:
        """The signal with which its keeper ends it."""
        return LEAVE if self.is_door else signal.SIGTERM


def _let_it(_keeper: Keeper) -> None:
    """For who starts no successors."""


class Keeper:
    """Keeps one post manned until `stop`. Calls `gave_up` when it cannot, `leaving` when a door was asked to leave."""

    def __init__(self, post: Post, *, gave_up: Callable[[], None], leaving: Callable[[Keeper], None] = _let_it) -> None:
        self.post = post
        self.failure = ""
        self.pid: int | None = None
        self._gave_up = gave_up
        self._leaving = leaving
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._up = asyncio.Event()  # the process of this moment has said that it is open or at work
        self._left = asyncio.Event()  # the process of this moment is gone
        self._came_up = False  # ever: what came up once comes up again, sooner or later
        self._is_renewed = False  # its process ends because we want another one
        self._false_starts = 0

    async def run(self) -> None:
        try:
            await self._keep()
        finally:
            self.abandon()
            self._gone.set()

    async def stop(self, number: int = 0) -> None:
        """Returns when the process is gone; it is killed when it does not end in time. Harmless when repeated.

        `number` is the signal, 0 the usual one.
        """
        self._stopping.set()
        self._signal(number or self.post.ends_by)
        await self._end(self._gone)

    async def renew(self) -> bool:
        """A clean end, then a successor; whether that one came up in time."""
        if self._process is not None:
            self._is_renewed = True
            left = self._left
            self._signal(self.post.ends_by)
            await self._end(left)
        return await self.comes_up()

    async def comes_up(self) -> bool:
        """Whether the process is open or at work in time."""
        up, gone = asyncio.create_task(self._up.wait()), asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait((up, gone), timeout=COMES_UP_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            gone.cancel()
        return self._up.is_set()

    def abandon(self) -> None:
        """No process any more, whatever this one was about to finish."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _end(self, ended: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self.post.ends_s):
                await ended.wait()
        except TimeoutError:
            logger.warning("does not end, killing it", child=self.post.name, pid=self.pid)
            self._signal(signal.SIGKILL)
            await ended.wait()

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        wait_s = FIRST_WAIT_S
        while not self._stopping.is_set():
            began = clock()
            code = await self._live()
            if self._stopping.is_set():
                return
            if self._is_renewed:
                self._is_renewed = False
                logger.info("process makes room for its successor", child=self.post.name, code=code)
                continue
            if self._is_hopeless(code):
                self._gave_up()
                return
            if clock() - began >= GROWN_UP_S:
                wait_s = FIRST_WAIT_S
            logger.warning("process ended, restarting it", child=self.post.name, code=code, wait_s=wait_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _is_hopeless(self, code: int) -> bool:
        """A killed process has a negative code: that is nobody's configuration."""
        self._false_starts += not self._came_up and code > 0
        if self._false_starts < MOST_FALSE_STARTS:
            return False
        self.failure = (
            f"{self.post.name} could not be started ({self._false_starts} times, exit code {code}): "
            "it says why above; everything was stopped"
        )
        return True

    async def _live(self) -> int:
        """One process from its start to its end; its exit code."""
        # -P: no folder of the place we were started in is taken for a package of ours.
        command = (sys.executable, "-P", "-m", "calltape", *self.post.arguments, "--until-eof")
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                env=environment(**self.post.settings),
                pass_fds=() if self.post.listening is None else (self.post.listening.fileno(),),
                process_group=0,  # what is sent to our group is for us: we say who stops first
            )
        except OSError as error:
            logger.error("no process could be made", child=self.post.name, error=str(error))
            return 1
        self._process, self.pid = process, process.pid
        logger.info("process started", child=self.post.name, pid=process.pid)
        if self._stopping.is_set():
            self._signal(self.post.ends_by)
        await self._pass_on(process)
        code = await process.wait()
        self._process = self.pid = None
        self._up.clear()
        self._left.set()
        self._left = asyncio.Event()
        return code

    async def _pass_on(self, process: Process) -> None:
        """What it says goes to our stdout; its log lines, which name it, went to our stderr by themselves."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._came_up = True  # each says so when it is open or at work, and nothing before
            self._up.set()
            text = line.decode(errors="replace").rstrip("\n")
            if text == LEAVING and not self._stopping.is_set():
                self._leaving(self)
            with suppress(BrokenPipeError):  # nobody reads along any more; calls go on
                say(text)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
