"""A call on a log whose disk is full: its worker waits, says why, and goes on when there is room. Real SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from eventlog.port import Entry, LogFull
from eventlog.sqlite import SqliteLog
from eventlog.sqlite_file import Tuning
from schema.registry import encode
from schema.stream import TextTyped
from schema.topics import EVENTS, MEDIA, OUTBOX
from tests.support.runtimes import BEGAN_AT, CallAtDoor, EchoAgent, World, fields, sentences
from workers.agents import Conversation, Said

CALL = "CA1"
SMALL_DISK = Tuning(most_pages=300, balance_ms=10)


class PonderingAgent(EchoAgent):
    """Answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        self.is_asked.set()
        await self.may_answer.wait()
        async for said in super().reply(conversation):
            yield said


async def test_a_reply_thought_of_while_the_disk_was_full_is_said_once_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    async with _log_on_small_disk(path) as log:
        world = World()
        world.log = log
        agent = world.agent = PonderingAgent()
        runtime = world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        agent.is_asked.clear()
        agent.may_answer.clear()
        await call.says("hello")
        await agent.is_asked.wait()
        await _fill(log)
        with capture_logs() as told:
            agent.may_answer.set()
            await _until(lambda: _complained(told))
            with pytest.raises(LogFull, match="free space"):
                await log.healthy()
            assert runtime.appender.pending(EVENTS.name)
            assert not world.running["a"].done()
            assert "reply.sentence" not in (await world.names(CALL))[-2:]
            await asyncio.to_thread(_make_room, path)
            await world.until_said(CALL, "reply.finished", 2)
        await call.hang_up()
        await world.until_said(CALL, "call.sealed")
        events = await world.events(CALL)
        assert fields(events, "call.adopted", "owner") == ["conversation:a:1"], "nobody had to take the call over"
        assert fields(events, "reply.sentence", "text")[2:] == ["You said hello.", "What else is there?"]
        assert len(sentences(events)) == len(set(sentences(events)))
        await world.close()


async def test_a_worker_that_begins_on_a_full_disk_waits_for_room(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    async with _log_on_small_disk(path) as log:
        world = World()
        world.log = log
        call = await CallAtDoor(world, CALL).start()
        await _fill(log)
        with capture_logs() as told:
            world.hire("a")
            await _until(lambda: _complained(told))
        assert not world.running["a"].done()
        await asyncio.to_thread(_make_room, path)
        await world.until_said(CALL, "reply.finished")
        await call.hang_up()
        await world.close()


async def test_a_full_log_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    async with _log_on_small_disk(path) as log:
        await _fill(log)
    async with _log_on_small_disk(path) as log:
        assert await log.end(EVENTS.name, 0) > 0
        with pytest.raises(LogFull):
            await log.healthy()


def _log_on_small_disk(path: Path) -> SqliteLog:
    clock = asyncio.get_running_loop().time  # as `now`, but the log's thread asks it, too
    return SqliteLog(path, now=lambda: BEGAN_AT + round(clock() * 1000), tuning=SMALL_DISK)


async def _fill(log: SqliteLog) -> None:
    """Until no page is free, and no table has a page with room for one event more."""
    for topic in (MEDIA, EVENTS, OUTBOX):
        size = 400_000
        while size:
            event = TextTyped(id="", call_id="filler", stream="", text="x" * size)
            try:
                await log.append(topic.name, [Entry("filler", encode(event), 0)])
            except LogFull:
                size //= 2


def _make_room(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as operator, operator:
        operator.execute(f'DELETE FROM "{MEDIA.name}"')


def _complained(told: list[dict[str, object]]) -> bool:
    return any(line["event"] == "append failed, trying again" and "free space" in str(line["error"]) for line in told)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # the log's thread is real
            await asyncio.sleep(0.01)
