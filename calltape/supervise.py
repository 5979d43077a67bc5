"""Keeps each role's process running: executed, never forked; restarted when it died; stopped in order.

1. A successor starts only when the old process is gone: its locks are free then, its names unused. The doors' port is
   held here, so that who calls meanwhile waits.
2. The first restart comes at once; one that dies young waits longer each time.
3. A process that never came up and ends by itself time and again has a reason that no restart mends: all stop.
4. The doors stop first, while the workers still speak; then the workers; then whoever is left is killed.
5. Each child holds the other end of a pipe as stdin. When this process dies, however it does, the pipe ends,
   and so does the child.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from calltape.settings import Settings, environment
from calltape.terminal import Refused, say
from calltape.wiring import ROLES

logger = structlog.get_logger()

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
GROWN_UP_S = 10.0  # who lived so long is restarted at once again
MOST_FALSE_STARTS = 3
# Ingest gives its last sockets five seconds beyond DRAIN, and its runner three.
BEYOND_DRAIN_S = 10.0
WORKER_ENDS_S = 10.0
SAME_PRESS_S = 0.1
BACKLOG = 1024
MOST_OF_A_ROLE = 24  # as many as the log has partitions: another one would have no call


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


def counted(text: str, settings: Settings) -> dict[str, int]:
    """How many of each role, from `hearing=2,conversation=2`; one each unless said. Raises Refused."""
    counts = {name: 1 for name in ROLES if name != "recorder" or settings.record != "off"}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name == "ingest":
            raise Refused(
                "there is one ingest on this machine's port: behind a balancer each further one is a `calltape ingest` "
                "with a CALLTAPE_PORT and a CALLTAPE_INSTANCE of its own",
                code=2,
            )
        if name not in ROLES or not number.isdecimal() or int(number) > MOST_OF_A_ROLE:
            raise Refused(
                f"--workers {part!r}: write ROLE=N with a role of {', '.join(ROLES)} and N at most {MOST_OF_A_ROLE}",
                code=2,
            )
        if name == "recorder" and int(number) and settings.record == "off":
            raise Refused("CALLTAPE_RECORD is off, so a recorder has nothing to do: set it to on or consent")
        counts[name] = int(number)
    return counts


def posts(settings: Settings, counts: Mapping[str, int], listening: socket.socket, *, dev: bool) -> list[Post]:
    """The doors, then the workers. Their instances are static: a restarted one gets its share back at once."""
    door = Post(
        "ingest",
        ("ingest", *(["--dev"] if dev else []), "--listen-fd", str(listening.fileno())),
        {"instance": f"{settings.instance}:1", "port": listening.getsockname()[1], "metrics_port": 0},
        settings.drain + BEYOND_DRAIN_S,
        listening,
    )
    found = [door]
    for role, count in counts.items():
        for number in range(1, count + 1):
            metrics_port = settings.metrics_port and settings.metrics_port + len(found) - 1
            own = {"instance": f"{settings.instance}:{number}", "metrics_port": metrics_port}
            found.append(Post(f"{role}:{number}", ("worker", role), own))
    return found


def metrics_line(settings: Settings, manned: Iterable[Post]) -> str:
    """Where each worker's health and metrics are."""
    places = [f"{post.name} {settings.host}:{post.settings['metrics_port']}" for post in manned if not post.is_door]
    return f"Health and metrics of the workers: {', '.join(places)}"


async def supervise(manned: Sequence[Post]) -> None:
    """Until SIGTERM or SIGINT; who presses Ctrl-C again kills. Raises Refused when a process cannot be started."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()
    keepers = [Keeper(post, gave_up=stop.set) for post in manned]

    def interrupted() -> None:
        if stop.is_set():
            hurry.set()
        # Whoever signals a process and then its group does it twice in a moment: that is not impatience.
        loop.call_later(SAME_PRESS_S, stop.set)

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    async with asyncio.TaskGroup() as tasks:
        for keeper in keepers:
            tasks.create_task(keeper.run(), name=keeper.post.name)
        await stop.wait()
        impatience = tasks.create_task(_kill_when(hurry, keepers))
        await asyncio.gather(*(keeper.stop() for keeper in keepers if keeper.post.is_door))
        await asyncio.gather(*(keeper.stop() for keeper in keepers))
        impatience.cancel()
    for keeper in keepers:
        if keeper.failure:
            raise Refused(keeper.failure)


async def _kill_when(hurry: asyncio.Event, keepers: Iterable[Keeper]) -> None:
    await hurry.wait()
    logger.warning("asked twice: killing what still runs")
    for keeper in keepers:
        keeper.abandon()


class Keeper:
    """Keeps one post manned until `stop`. Calls `gave_up` when it cannot."""

    def __init__(self, post: Post, *, gave_up: Callable[[], None]) -> None:
        self.post = post
        self.failure = ""
        self.pid: int | None = None
        self._gave_up = gave_up
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._came_up = False  # ever: what came up once comes up again, sooner or later
        self._false_starts = 0

    async def run(self) -> None:
        try:
            await self._keep()
        finally:
            self.abandon()
            self._gone.set()

    async def stop(self) -> None:
        """Returns when the process is gone; it is killed when it does not end in time. Harmless when repeated."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.post.ends_s):
                await self._gone.wait()
        except TimeoutError:
            logger.warning("does not end, killing it", child=self.post.name, pid=self.pid)
            self.abandon()
            await self._gone.wait()

    def abandon(self) -> None:
        """No process any more, whatever this one was about to finish."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        wait_s = FIRST_WAIT_S
        while not self._stopping.is_set():
            began = clock()
            code = await self._live()
            if self._stopping.is_set():
                return
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
            self._signal(signal.SIGTERM)
        await self._pass_on(process)
        code = await process.wait()
        self._process = self.pid = None
        return code

    async def _pass_on(self, process: Process) -> None:
        """What it says goes to our stdout; its log lines, which name it, went to our stderr by themselves."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._came_up = True  # each says so when it is open or at work, and nothing before
            with suppress(BrokenPipeError):  # nobody reads along any more; calls go on
                say(line.decode(errors="replace").rstrip("\n"))

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def listen(host: str, port: int) -> socket.socket:
    """A socket that outlives the doors: who calls in between stands in the kernel's queue. Raises Refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Refused(
            f"cannot listen on {host}:{port} ({error.strerror}): is another server running? "
            "Choose another with CALLTAPE_PORT"
        ) from error
