"""All processes of a supervisor, and how each gets a successor while calls go on.

The order of a rolling restart, against the stream of a call's events:
1. `projector`, `recorder`, `summariser`: they only read what others say, and nobody waits for them.
2. `conversation`, then `hearing`: whoever reads is new before whoever writes, so that no reader meets a word that only
   its successor knows. One at a time: while it is away its calls wait on the log, and no other role is missing.
3. The doors at last, which write what all others read.

A worker ends, then its successor starts: its locks and its name on the log are held by one process at a time. A door
holds neither, so its successor opens beside it at the same socket; only then the old one hands its callers over. Thus
no caller waits for a process to start, nor for another caller's moment of silence. So it is, too, when somebody else
asks a door's process to leave: it says so and goes on until its successor is there. A successor that does not come up
ends the restart: a new version that cannot start never takes the place of more than one worker, and of no door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from calltape.keeper import HAND_OVER, Keeper, Post

logger = structlog.get_logger()

ORDER = ("projector", "recorder", "summariser", "conversation", "hearing", "ingest")


class Crew:
    """The keepers of all posts. Calls `gave_up` when a process cannot be started at all."""

    def __init__(self, tasks: asyncio.TaskGroup, *, gave_up: Callable[[], None]) -> None:
        self.keepers: list[Keeper] = []
        self._tasks = tasks
        self._gave_up = gave_up
        self._leaving: asyncio.Queue[Keeper] = asyncio.Queue()
        self._relieving = asyncio.Lock()

    def man(self, post: Post) -> None:
        self._begin(Keeper(post, gave_up=self._gave_up, leaving=self._leaving.put_nowait))

    async def renew_all(self) -> bool:
        """One after the other; whether all were. Each is up before the next one goes."""
        began = asyncio.get_running_loop().time()
        logger.info("rolling restart begins", children=len(self.keepers))
        for keeper in sorted(self.keepers, key=lambda keeper: ORDER.index(keeper.post.name.partition(":")[0])):
            is_up = await (self.relieve(keeper) if keeper.post.is_door else keeper.renew())
            if not is_up:
                logger.error("rolling restart given up: a successor does not come up", child=keeper.post.name)
                return False
        logger.info("rolling restart done", seconds=round(asyncio.get_running_loop().time() - began, 1))
        return True

    async def relieve_who_leave(self) -> None:
        """The doors that others asked to leave, for as long as it runs."""
        while True:
            keeper = await self._leaving.get()
            logger.info("door asked to leave, its successor starts", child=keeper.post.name, pid=keeper.pid)
            if not await self.relieve(keeper):
                logger.error("door stays: its successor does not come up", child=keeper.post.name, pid=keeper.pid)

    async def relieve(self, keeper: Keeper) -> bool:
        """A door's successor opens first; then the old one lets its callers go there. Whether it has one."""
        async with self._relieving:
            return keeper not in self.keepers or await self._relieve(keeper)

    async def _relieve(self, keeper: Keeper) -> bool:
        await keeper.comes_up()  # before that it does not know what it would be told
        successor = Keeper(keeper.post, gave_up=lambda: None, leaving=self._leaving.put_nowait)
        self._begin(successor)
        if not await successor.comes_up():
            self.keepers.remove(successor)
            await successor.stop()
            return False
        await keeper.stop(HAND_OVER)
        self.keepers.remove(keeper)
        return True

    def _begin(self, keeper: Keeper) -> None:
        self.keepers.append(keeper)
        self._tasks.create_task(keeper.run(), name=keeper.post.name)
