"""In which order processes are replaced, and what becomes of a successor that does not come up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from calltape import crew
from calltape.crew import Crew
from calltape.keeper import HAND_OVER, Keeper, Post
from calltape.supervise import counted, listen, posts
from tests.support.settings import plain_settings


class Stage:
    """Keepers of no processes: what they were told, and who of them comes up."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lame: set[str] = set()  # whose next process does not come up
        self.actors: list[Actor] = []

    def keeper(self, post: Post, *, gave_up: Callable[[], None], leaving: Callable[[Any], None]) -> Actor:
        self.actors.append(Actor(self, post, leaving))
        return self.actors[-1]

    def asks_door_to_leave(self) -> None:
        """Somebody who is not its keeper tells the newest door's process to end."""
        door = next(actor for actor in reversed(self.actors) if actor.post.is_door)
        door.leaving(door)

    async def until_told(self, *told: str) -> None:
        async with asyncio.timeout(5):
            while self.told != list(told):  # noqa: ASYNC110  # nobody tells of what a keeper is told
                await asyncio.sleep(0)


class Actor:
    pid = 1

    def __init__(self, stage: Stage, post: Post, leaving: Callable[[Any], None]) -> None:
        self.post = post
        self.leaving = leaving
        self._stage = stage

    async def run(self) -> None:
        self._stage.told.append(f"{self.post.name} starts")

    async def comes_up(self) -> bool:
        await asyncio.sleep(0)
        return self.post.name not in self._stage.lame

    async def renew(self) -> bool:
        self._stage.told.append(f"{self.post.name} is renewed")
        return self.post.name not in self._stage.lame

    async def stop(self, number: int = 0) -> None:
        self._stage.told.append(f"{self.post.name} {'hands over' if number == HAND_OVER else 'stops'}")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(crew, "Keeper", stage.keeper)
    return stage


@asynccontextmanager
async def manned(stage: Stage) -> AsyncIterator[Crew]:
    settings = plain_settings(record="on")
    with listen("127.0.0.1", 0) as listening:
        async with asyncio.TaskGroup() as tasks:
            all_posts = Crew(tasks, gave_up=lambda: None)
            for post in posts(settings, counted("hearing=2", settings), listening, dev=False):
                all_posts.man(post)
            await asyncio.sleep(0)
            stage.told.clear()
            relieving = tasks.create_task(all_posts.relieve_who_leave())
            yield all_posts
            relieving.cancel()


async def renewed(stage: Stage) -> tuple[bool, int]:
    """Whether all were, and how many keepers are left."""
    async with manned(stage) as all_posts:
        return await all_posts.renew_all(), len(all_posts.keepers)


async def test_who_reads_is_new_before_who_writes_and_the_doors_are_last(stage: Stage) -> None:
    assert await renewed(stage) == (True, 7)
    assert stage.told == [
        "projector:1 is renewed",
        "recorder:1 is renewed",
        "summariser:1 is renewed",
        "conversation:1 is renewed",
        "hearing:1 is renewed",
        "hearing:2 is renewed",
        "ingest starts",
        "ingest hands over",
    ]


async def test_a_worker_that_does_not_come_up_ends_the_restart(stage: Stage) -> None:
    stage.lame.add("recorder:1")
    assert await renewed(stage) == (False, 7)
    assert stage.told == ["projector:1 is renewed", "recorder:1 is renewed"]


async def test_a_door_whose_successor_does_not_come_up_stays(stage: Stage) -> None:
    stage.lame.add("ingest")
    assert await renewed(stage) == (False, 7)
    assert stage.told[-2:] == ["ingest starts", "ingest stops"], "its successor's"


async def test_a_door_that_somebody_else_asks_to_leave_hands_over_to_a_successor_that_is_open(stage: Stage) -> None:
    async with manned(stage) as all_posts:
        stage.asks_door_to_leave()
        await stage.until_told("ingest starts", "ingest hands over")
        stage.asks_door_to_leave()
        await stage.until_told(*2 * ["ingest starts", "ingest hands over"])
        assert len(all_posts.keepers) == 7


async def test_a_door_that_is_asked_to_leave_and_has_no_successor_stays(stage: Stage) -> None:
    stage.lame.add("ingest")
    async with manned(stage) as all_posts:
        stage.asks_door_to_leave()
        await stage.until_told("ingest starts", "ingest stops")
        assert len(all_posts.keepers) == 7, "its successor's is gone, its own is not"


async def test_a_door_that_is_asked_to_leave_during_a_rolling_restart_has_one_successor(stage: Stage) -> None:
    async with manned(stage) as all_posts:
        stage.asks_door_to_leave()
        assert await all_posts.renew_all()
        assert len(all_posts.keepers) == 7
    assert stage.told.count("ingest starts") == stage.told.count("ingest hands over") == 1


async def test_a_keeper_whose_process_never_comes_up_says_so() -> None:
    keeper = Keeper(Post("worker", ("worker", "nosuch")), gave_up=lambda: None)
    running = asyncio.create_task(keeper.run())
    assert not await keeper.comes_up()
    await running
