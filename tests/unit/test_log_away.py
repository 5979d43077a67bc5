"""While the log is away nobody is silent: workers wait for it, and for what others have to say of the time between."""

from __future__ import annotations

import asyncio

import pytest

from calltape.simulation.faulty_log import NO_FAULTS, Faults, FaultyLog
from calltape.simulation.process import Process
from eventlog.memory import MemoryLog
from eventlog.memory_groups import MemoryMembership
from eventlog.port import LogUnavailable
from schema.call import CallStarted
from schema.stream import StreamMeasured, StreamOpened
from schema.topics import EVENTS, PARTITIONS
from tests.support.runtimes import World, now, on_virtual_time
from workers.callstate import CallState
from workers.projector import Projector
from workers.runtime import Runtime

CALL = "CA1"
CALLS = 100
SOURCE = "MZ1"


async def _measured(world: World) -> None:
    await world.say(StreamMeasured(id=world.new_id(), call_id=CALL, stream=SOURCE), SOURCE)


async def _call(world: World) -> None:
    await world.say(CallStarted(id=world.new_id(), call_id=CALL, channel="twilio"), "web")
    await world.say(StreamOpened(id=world.new_id(), call_id=CALL, stream=SOURCE, door="twilio", mailbox=0), SOURCE)
    await world.until_said(CALL, "reply.composed")
    # Its door lives, and plays the greeting without saying so.
    await asyncio.sleep(5)
    await _measured(world)
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


@pytest.mark.parametrize("faults", [None, Faults(lose=1.0)], ids=["stalled", "refusing"])
def test_what_is_owed_while_the_log_takes_nothing_waits_once(faults: Faults | None) -> None:
    """A hundred calls, ten minutes: what waits in memory hangs on the calls, not on how long the log was away."""

    async def story() -> None:
        world = World()
        wire = FaultyLog(world.log, 1)
        runtime = world.hire("a", log=wire.port(Process("conversation:a")))
        await world.until(lambda: _is_at_work(runtime))
        if faults is None:
            wire.stall()
        else:
            wire.faults = faults
        calls = [f"CA{number}" for number in range(CALLS)]
        for call_id in calls:
            await world.say(CallStarted(id=world.new_id(), call_id=call_id, channel="twilio"), f"web-{call_id}")
        await asyncio.sleep(10)
        waiting = runtime.appender.pending(EVENTS.name)
        assert waiting >= CALLS, "each call owes its adoption"
        await asyncio.sleep(600)
        assert runtime.appender.pending(EVENTS.name) == waiting
        wire.faults = NO_FAULTS
        wire.flow()
        for call_id in calls:
            await world.until_said(call_id, "profile.used")
            assert (await world.names(call_id)).count("call.adopted") == 1
        await world.close()

    on_virtual_time(story())


async def _is_at_work(runtime: Runtime[CallState]) -> bool:
    return len(runtime.calls.live) == PARTITIONS


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
