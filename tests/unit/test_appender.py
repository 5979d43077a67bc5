"""What is appended to one topic keeps its order, and waits for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventlog.memory import MemoryLog
from eventlog.port import Entry, LogUnavailable, Placed
from schema.topics import EVENTS, OUTBOX
from tests.support.runtimes import now, on_virtual_time
from workers.appender import Appender


class HeldLog(MemoryLog):
    """Takes appends to one topic only when it is let go; notes what came."""

    def __init__(self, held: str) -> None:
        super().__init__(now=now)
        self.let_go = asyncio.Event()
        self.came: list[tuple[str, bytes]] = []
        self.away = 0  # so many appends are refused
        self._held = held

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if self.away:
            self.away -= 1
            raise LogUnavailable("away")
        if topic == self._held:
            await self.let_go.wait()
        placed = await super().append(topic, entries)
        self.came += [(topic, entry.value) for entry in entries]
        return placed


def test_audio_does_not_wait_for_the_events_that_are_on_their_way() -> None:
    async def story() -> None:
        async with HeldLog(EVENTS.name) as log:
            appender = Appender(log)
            running = asyncio.create_task(appender.run())
            appender.put(EVENTS.name, Entry("call", b"event"))
            appender.put(OUTBOX.name, Entry("call", b"audio", 0))
            await _until(lambda: log.came == [(OUTBOX.name, b"audio")])
            log.let_go.set()
            await _until(lambda: len(log.came) == 2)
            running.cancel()

    on_virtual_time(story())


def test_what_was_refused_comes_before_what_was_put_later() -> None:
    async def story() -> None:
        async with HeldLog(OUTBOX.name) as log:
            log.away = 2
            appender = Appender(log)
            running = asyncio.create_task(appender.run())
            appender.put(EVENTS.name, Entry("call", b"first"))
            await _until(lambda: log.away < 2)
            appender.put(EVENTS.name, Entry("call", b"second"))
            await _until(lambda: len(log.came) == 2)
            assert [value for _, value in log.came] == [b"first", b"second"]
            running.cancel()

    on_virtual_time(story())


def test_what_the_log_has_not_taken_is_known_to_wait() -> None:
    async def story() -> None:
        async with HeldLog(EVENTS.name) as log:
            appender = Appender(log)
            running = asyncio.create_task(appender.run())
            first = appender.put(EVENTS.name, Entry("call", b"first"))
            await _later()
            second = appender.put(EVENTS.name, Entry("call", b"second"))
            assert not appender.has_taken(EVENTS.name, first), "it is on its way"
            assert appender.pending(EVENTS.name) == 2
            log.let_go.set()
            await _until(lambda: appender.has_taken(EVENTS.name, second))
            assert appender.has_taken(EVENTS.name, first)
            assert appender.pending(EVENTS.name) == 0
            running.cancel()

    on_virtual_time(story())


def test_what_was_refused_waits_until_it_is_taken() -> None:
    async def story() -> None:
        async with HeldLog(OUTBOX.name) as log:
            log.away = 3
            appender = Appender(log)
            running = asyncio.create_task(appender.run())
            number = appender.put(EVENTS.name, Entry("call", b"event"))
            await _until(lambda: log.away == 1)
            assert not appender.has_taken(EVENTS.name, number)
            await _until(lambda: appender.has_taken(EVENTS.name, number))
            assert log.came == [(EVENTS.name, b"event")]
            running.cancel()

    on_virtual_time(story())


async def _later() -> None:
    await asyncio.sleep(0.01)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)
