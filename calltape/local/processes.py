"""A house of real processes on this machine under `calltape serve --processes`; its members can be killed by name."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from calltape.local.parts import Parts
from calltape.settings import environment, named
from calltape.wiring import ROLES

MEMBERS = ("ingest", *ROLES)
STARTS_S = 60.0  # every member imports and joins; on a busy machine that takes its time
ENDS_S = 30.0


class DidNotStart(Exception):
    """The house did not come up; the message holds its last words."""


class Processes:
    """`async with`: up on the way in, stopped in order on the way out."""

    def __init__(self, folder: Path, parts: Parts, *, drain_s: float = 2) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.pids: dict[str, int] = {}  # by the member's name, such as hearing:1
        self.said: list[str] = []
        self._since = 0  # of what was said, this is where the supervisor of now begins
        self._changed = asyncio.Event()
        self._supervisor: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._environment = environment(
            log=parts.log,
            database=parts.database,
            data=folder,
            host="127.0.0.1",
            port=self.port,
            public_url=self.address,
            record="on",
            instance="local",
            agent="notes",
            drain=drain_s,
            log_format="json",
            log_level="info",
            metrics_port=0,
        )

    def configure(self, **settings: object) -> None:
        """More settings of every member; to be said before the house starts."""
        self._environment |= named(**settings)

    def introduce(self, *, account: str, secret: str, rest: str) -> None:
        """The carrier's account and the address of its REST; to be said before the house starts."""
        self.configure(twilio_account_sid=account, twilio_auth_token=secret, twilio_api=rest)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when everybody is at work and webhooks are answered. Raises DidNotStart."""
        self._since = len(self.said)
        command = (sys.executable, "-P", "-m", "calltape", "serve", "--processes")
        self._supervisor = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=self._environment, process_group=0
        )
        self._reading = asyncio.create_task(self._read(self._supervisor))
        try:
            async with asyncio.timeout(STARTS_S):
                await self._until(lambda: self.is_gone or all(map(self.comings, MEMBERS)))
                if not self.is_gone:
                    await self._answers()
        except TimeoutError:
            await self.stop()
            raise DidNotStart(self.last_words) from None
        if self.is_gone:
            raise DidNotStart(self.last_words)

    def kill(self, role: str) -> int:
        """SIGKILL to the role's process, or to the supervisor; its pid."""
        pid = self.pid_of(role)
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid_of(self, role: str) -> int:
        if role == "supervisor":
            assert self._supervisor is not None
            return self._supervisor.pid
        return next(pid for name, pid in self.pids.items() if name.partition(":")[0] == role)

    def comings(self, role: str) -> int:
        """How often it has said on stdout that it is open or at work, since the supervisor started."""
        word = "calltape listens" if role == "ingest" else f"calltape works as {role} "
        return sum(line.startswith(word) for line in self.said[self._since :])

    async def comes(self, role: str, was: int) -> None:
        """Returns when it has come once more than it `was`. Raises DidNotStart."""
        try:
            async with asyncio.timeout(STARTS_S):
                await self._until(lambda: self.is_gone or self.comings(role) > was)
        except TimeoutError:
            raise DidNotStart(f"{role} did not come back: {self.last_words}") from None

    async def gone(self) -> None:
        """Returns when no member is left; after the supervisor was killed nobody ends them but themselves."""
        async with asyncio.timeout(ENDS_S):
            while any(map(_lives, self.pids.values())):  # noqa: ASYNC110  # nobody tells of others' children
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Asks, waits, and kills what does not end."""
        process = self._supervisor
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(ENDS_S):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.pids.clear()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def last_words(self) -> str:
        return "\n".join(self.said[-20:])

    @property
    def is_gone(self) -> bool:
        """No supervisor runs."""
        return self._supervisor is None or self._supervisor.returncode is not None

    async def _answers(self) -> None:
        """Returns when somebody accepts at the port."""
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.05)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(process.stdout))
            tasks.create_task(self._keep(process.stderr))
        await process.wait()
        self._changed.set()

    async def _keep(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            text = line.decode(errors="replace").rstrip()
            self.said.append(text)
            self._note(text)
            self._changed.set()

    def _note(self, text: str) -> None:
        """The supervisor's log names each child it starts."""
        with suppress(ValueError, AttributeError):
            told = json.loads(text)
            if told.get("event") == "process started":
                self.pids[told["child"]] = int(told["pid"])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    """Signatures name the port, so it has to be known before anybody listens on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
