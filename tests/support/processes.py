"""calltape as people run it: processes of its own, spoken to by signals, heard by their output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from calltape.world import now_ms
from eventlog.uri import open_log
from projections.database import open_database
from projections.errors import ProjectionError
from projections.queries import call_details
from projections.show import show_json
from schema import topics
from schema.envelope import AnyEvent
from schema.media import MediaSpoken
from schema.registry import decode, unpack_media

PATIENCE_S = 60


class Running:
    """A command that runs: what it said so far, and its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._news = asyncio.Condition()
        self._open = 2  # stdout and stderr
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.lines)),
            asyncio.create_task(self._read(process.stderr, self.errors)),
        ]

    async def said(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The line of stdout that matched as the count-th."""
        found = await self._until(lambda: [match for line in self.lines if (match := re.search(pattern, line))], count)
        return found[count - 1]

    async def started(self, child: str, count: int = 1) -> int:
        """The process id of a supervisor's child, at its count-th start."""
        found = await self._until(lambda: [pid for name, pid in self.starts() if name == child], count)
        return found[count - 1]

    def starts(self) -> list[tuple[str, int]]:
        """Every process a supervisor told of."""
        told = (json.loads(line) for line in self.errors if line.startswith("{"))
        return [(line["child"], line["pid"]) for line in told if line["event"] == "process started"]

    async def ended(self) -> int:
        """The exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def _read(self, stream: asyncio.StreamReader, into: list[str]) -> None:
        while line := await stream.readline():
            into.append(line.decode().rstrip("\n"))
            async with self._news:
                self._news.notify_all()
        async with self._news:
            self._open -= 1
            self._news.notify_all()

    async def _until(self, look: Callable[[], list[Any]], count: int) -> list[Any]:
        try:
            async with asyncio.timeout(PATIENCE_S), self._news:
                while len(found := look()) < count and self._open:
                    await self._news.wait()
        except TimeoutError:
            found = []
        assert len(found) >= count, "\n".join(["it never came:", *self.lines, *self.errors])
        return found


class Place:
    """A folder with a log and a database, and the commands that run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, **settings: str) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CALLTAPE_", "TWILIO_"))}
        own = {"CALLTAPE_DATA": str(self.folder), "CALLTAPE_PORT": "0", "CALLTAPE_DRAIN": "1s"}
        return plain | own | {f"CALLTAPE_{name}": value for name, value in settings.items()}

    @asynccontextmanager
    async def running(self, *arguments: str, **settings: str) -> AsyncIterator[Running]:
        """A command of ours; killed on the way out if it still runs."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "calltape", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe,
            cwd=self.folder, env=self.environment(**settings),
        )  # fmt: skip
        running = Running(process)
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await running.ended()

    async def run(self, *arguments: str, **settings: str) -> Running:
        """A command of ours, run to its end."""
        async with self.running(*arguments, **settings) as running:
            await running.ended()
        return running

    async def call(self, address: str, *words: str) -> dict[str, Any]:
        """What the carrier simulator reports of a call."""
        says = [part for text in words for part in ("--say", text)]
        done = await self.run("call", "--unsigned", "--to", address, *says, "--json")
        report: dict[str, Any] = json.loads("\n".join(done.lines))
        return report

    async def events(self, call_id: str = "") -> list[AnyEvent]:
        """Everything on calls.events, believed or not, in the order of the log."""
        return [event for event in await self._read(topics.EVENTS.name, decode) if call_id in ("", event.call_id)]

    async def spoken(self, call_id: str) -> list[MediaSpoken]:
        """What went out to the caller, in the order of the log."""
        media = await self._read(topics.MEDIA.name, unpack_media)
        return [each for each in media if isinstance(each, MediaSpoken) and each.call_id == call_id]

    async def _read(self, topic: str, decoded: Callable[[bytes], Any]) -> list[Any]:
        async with open_log(f"sqlite:///{self.folder / 'log.sqlite'}", now=now_ms) as log:
            ends = {part: await log.end(topic, part) for part in range(await log.partitions(topic))}
            reader = log.reader(topic, dict.fromkeys(ends, 0))
            found = []
            while any(reader.positions()[part] < end for part, end in ends.items()):
                found += [decoded(record.value) for record in await reader.read(wait_ms=50)]
            await reader.close()
            return found

    async def until(self, wanted: Callable[[list[AnyEvent]], bool]) -> list[AnyEvent]:
        """The log's events, once they are as wanted."""
        events: list[AnyEvent] = []

        async def are_so() -> bool:
            events[:] = await self.events()
            return wanted(events)

        await eventually(are_so)
        return events

    async def finished(self, call_id: str) -> dict[str, Any]:
        """`calltape show --json` of a call that is sealed and summarised."""
        engine = open_database(f"sqlite+aiosqlite:///{self.folder / 'calls.sqlite'}")
        shown: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (shown.get("sealed_at") and shown.get("summary") is not None):
                    await asyncio.sleep(0.05)
                    try:
                        shown = show_json(await call_details(engine, call_id))
                    except ProjectionError:
                        continue
        except TimeoutError:
            raise AssertionError(f"the call was never finished: {shown}") from None
        finally:
            await engine.dispose()
        return shown


async def eventually(is_so: Callable[[], Awaitable[bool]], *, patience_s: float = PATIENCE_S) -> None:
    """Returns when it is so; looks again and again, at most for so long."""
    async with asyncio.timeout(patience_s):
        while True:
            if await is_so():
                return
            await asyncio.sleep(0.05)


async def offspring(pid: int) -> set[int]:
    """Every process below this one."""
    parents = {child: parent for child, parent, _ in await _processes()}
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


async def all_gone(pids: set[int]) -> None:
    """Returns when none of them runs; one that only waits to be buried does not."""

    async def are_gone() -> bool:
        return not pids & {pid for pid, _, state in await _processes() if not state.startswith("Z")}

    await eventually(are_gone)


async def _processes() -> list[tuple[int, int, str]]:
    listing = await asyncio.create_subprocess_exec("ps", "-A", "-o", "pid=,ppid=,stat=", stdout=asyncio.subprocess.PIPE)
    told, _ = await listing.communicate()
    rows = [line.split() for line in told.decode().splitlines()]
    return [(int(pid), int(parent), state) for pid, parent, state in rows]


def stop(pid: int) -> None:
    """Ask a process to end."""
    os.kill(pid, signal.SIGTERM)


def kill(pid: int) -> None:
    """As the kernel does when memory is short."""
    os.kill(pid, signal.SIGKILL)
