"""Two members of hearing and of conversation beside one door, unsupervised: who is killed does not come back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Self

from calltape.local.parts import Parts
from calltape.local.processes import free_port
from calltape.settings import environment

ROLES = ("hearing", "conversation")
MEMBERS = 2
STARTS_S = 60.0


class Members:
    """`async with`: all at work on the way in, gone on the way out. The same names as `local.processes.Processes`."""

    def __init__(self, folder: Path, parts: Parts, *, session: str) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._given: dict[str, object] = {
            "log": parts.log,
            "database": parts.database,
            "data": folder,
            "host": "127.0.0.1",
            "port": self.port,
            "public_url": self.address,
            "agent": "notes",
            "record": "off",
            "kafka_session": session,
            "log_level": "warning",
            "metrics_port": 0,
        }
        self._running: dict[str, Process] = {}

    def introduce(self, *, account: str, secret: str, rest: str) -> None:
        self._given |= {"twilio_account_sid": account, "twilio_auth_token": secret, "twilio_api": rest}

    async def __aenter__(self) -> Self:
        names = [f"{role}:{number}" for role in ROLES for number in range(1, MEMBERS + 1)]
        await asyncio.gather(*(self.bring(name) for name in ("ingest:1", *names)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.kill()
            await process.wait()

    def kill(self, name: str) -> int:
        """SIGKILL to `hearing:2`; its pid."""
        pid = self._running[name].pid
        os.kill(pid, signal.SIGKILL)
        return pid

    async def bring(self, name: str) -> None:
        """Start it, and wait until it says that it is at work. Raises TimeoutError."""
        role, _, number = name.partition(":")
        verb = ("ingest",) if role == "ingest" else ("worker", role)
        command = (sys.executable, "-P", "-m", "calltape", *verb, "--until-eof")
        if name in self._running:
            await self._running[name].wait()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=environment(**self._given, instance=f"local:{number}"),
        )
        self._running[name] = process
        assert process.stdout is not None
        async with asyncio.timeout(STARTS_S):
            if not await process.stdout.readline():
                raise RuntimeError(f"{name} ended with {await process.wait()}")
