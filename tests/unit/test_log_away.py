"""While the log is away nobody is silent: workers wait for it, and for what others have to say of the time between."""

from __future__ import annotations

import asyncio

from eventlog.memory import MemoryLog
from eventlog.memory_groups import MemoryMembership
from eventlog.port import LogUnavailable
from schema.call import CallStarted
from schema.stream import StreamMeasured, StreamOpened
from tests.support.runtimes import World, now, on_virtual_time
from workers.projector import Projector

CALL = "CA1"
SOURCE = "MZ1"


async def _measured(world: World) -> None:
    await world.say(StreamMeasured(id=world.new_id(), call_id=CALL, stream=SOURCE), SOURCE)


async def _call(world: World) -> None:
    await world.say(CallStarted(id=world.new_id(), call_id=CALL, channel="twilio"), "web")
    await world.say(StreamOpened(id=world.new_id(), call_id=CALL, stream=SOURCE, door="twilio", mailbox=0), SOURCE)
    await world.until_said(CALL, "reply.finished", seconds=120)


def test_a_stream_is_not_given_up_for_the_logs_own_silence() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        await _call(world)
        await _measured(world)
        world.log.fault = LogUnavailable("away")
        await asyncio.sleep(40)
        world.log.fault = None
        await asyncio.sleep(1)  # ingest tries again as often
        await _measured(world)
        await asyncio.sleep(4)
        assert "stream.lost" not in await world.names(CALL)
        await world.close()

    on_virtual_time(story())


def test_a_stream_that_stays_silent_is_given_up_all_the_same() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        await _call(world)
        await _measured(world)
        world.log.fault = LogUnavailable("away")
        await asyncio.sleep(40)
        world.log.fault = None
        await world.until_said(CALL, "stream.lost")
        await world.close()

    on_virtual_time(story())


class _LateLog(MemoryLog):
    """Nobody can join it at first."""

    refused = 0

    async def join(self, group: str, topic: str, member: str) -> MemoryMembership:
        if self.refused < 3:
            self.refused += 1
            raise LogUnavailable("away")
        return await super().join(group, topic, member)


class _NoTables:
    async def positions(self) -> dict[int, int]:
        return {}

    async def apply(self, records: object, expected: object) -> dict[int, int]:
        return {}


def test_a_projector_waits_for_the_log_it_cannot_join() -> None:
    async def story() -> None:
        log = _LateLog(now=now)
        running = asyncio.create_task(Projector(log, _NoTables(), instance="a", now=now).run())
        await asyncio.sleep(10)
        assert log.refused == 3
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    on_virtual_time(story())
