"""Keeps each role's process running: executed, never forked; restarted when it died; stopped in order.

1. A worker's successor starts only when the old process is gone: its locks are free then, its names unused. The doors'
   port is held here: who calls while no door is open waits, and a door's successor opens beside it (`crew`), whether
   we want one or somebody told the door's process to end.
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
from collections.abc import Iterable, Mapping, Sequence

import structlog

from calltape.crew import Crew
from calltape.keeper import Keeper, Post
from calltape.settings import Settings
from calltape.terminal import Refused, no_port
from calltape.wiring import ROLES

logger = structlog.get_logger()

# Ingest gives its last sockets five seconds beyond DRAIN, and its runner three.
BEYOND_DRAIN_S = 10.0
SAME_PRESS_S = 0.1
BACKLOG = 1024
MOST_OF_A_ROLE = 24  # as many as the log has partitions: another one would have no call


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
        ("ingest", *(["--dev"] if dev else []), "--listen-fd", str(listening.fileno()), "--kept"),
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
    """Until SIGTERM or SIGINT; who presses Ctrl-C again kills. SIGHUP restarts one after the other.

    Raises Refused when a process cannot be started.
    """
    loop = asyncio.get_running_loop()
    stop, hurry, renewal = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def interrupted() -> None:
        if stop.is_set():
            hurry.set()
        # Whoever signals a process and then its group does it twice in a moment: that is not impatience.
        loop.call_later(SAME_PRESS_S, stop.set)

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGHUP, renewal.set)
    async with asyncio.TaskGroup() as tasks:
        crew = Crew(tasks, gave_up=stop.set)
        for post in manned:
            crew.man(post)
        renewing = tasks.create_task(_renew_when(renewal, crew))
        relieving = tasks.create_task(crew.relieve_who_leave())
        await stop.wait()
        renewing.cancel()
        relieving.cancel()
        impatience = tasks.create_task(_kill_when(hurry, crew.keepers))
        await asyncio.gather(*(keeper.stop() for keeper in crew.keepers if keeper.post.is_door))
        await asyncio.gather(*(keeper.stop() for keeper in crew.keepers))
        impatience.cancel()
    for keeper in crew.keepers:
        if keeper.failure:
            raise Refused(keeper.failure)


async def _renew_when(renewal: asyncio.Event, crew: Crew) -> None:
    while True:
        await renewal.wait()
        await crew.renew_all()
        # Asked again while it was under way: all of them are new by now.
        renewal.clear()


async def _kill_when(hurry: asyncio.Event, keepers: Iterable[Keeper]) -> None:
    await hurry.wait()
    logger.warning("asked twice: killing what still runs")
    for keeper in keepers:
        keeper.abandon()


def listen(host: str, port: int) -> socket.socket:
    """A socket that outlives the doors: who calls in between stands in the kernel's queue. Raises Refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise no_port(host, port, error) from error


__all__ = ["Keeper", "Post", "counted", "listen", "metrics_line", "posts", "supervise"]
