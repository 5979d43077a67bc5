"""A role whose partition left and came back between two looks knows that another may have owned its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from eventlog.memory import MemoryLog
from eventlog.memory_groups import MemoryMembership
from schema import topics
from schema.call import CallEnded, CallSealed, CallStarted, ProfileUsed
from schema.envelope import type_of
from schema.registry import decode
from tests.support.runtimes import CallAtDoor, EchoAgent, World, fields, now, on_virtual_time, sentences
from workers.profiles import profile_body
from workers.runtime import RuntimeLimits

CALL = "CA1"


class LogThatGivesBack(MemoryLog):
    """Gives a member its partitions once more while it believes it never lost them, as a broker can."""

    def __init__(self) -> None:
        super().__init__(now=now)
        self.members: dict[str, MemoryMembership] = {}
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        self.asked.set()
        await self.answers.wait()
        return await super().committed(group, topic)

    async def join(self, group: str, topic: str, member: str) -> MemoryMembership:
        self.members[member] = await super().join(group, topic, member)
        return self.members[member]

    def give_back(self, member: str) -> None:
        membership = self.members[member]
        again = list(membership.assigned)
        membership.offered.clear()
        membership.give(again)


def test_an_owner_that_missed_its_successor_folds_and_adopts_its_calls_again() -> None:
    async def story() -> None:
        world = World()
        world.log = log = LogThatGivesBack()
        world.agent = EchoAgent(think_s=0.1)
        first = world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.sentence")
        log.kill("conversation:a")
        world.hire("b")
        await world.until_said(CALL, "call.adopted", 2)
        await world.until_said(CALL, "reply.finished")
        await world.fire("b")
        assert not first.calls.cases[CALL].owned
        log.give_back("conversation:a")
        # Long before a call that nobody tends would be noticed (30 s).
        await world.until_said(CALL, "call.adopted", 3, seconds=5)
        await call.says("one more thing")
        await world.until_said(CALL, "reply.finished", 2)
        events = await world.events(CALL)
        owners = fields(events, "call.adopted", "owner")
        assert owners == ["conversation:a:1", "conversation:b:1", "conversation:a:1"]
        said = sentences(events)
        assert len(said) == len(set(said))
        await world.close()

    on_virtual_time(story())


def test_a_partition_that_is_kept_is_not_folded_again() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        world.hire("b")
        await call.says("bye")
        await world.until_said(CALL, "call.sealed")
        owners = fields(await world.events(CALL), "call.adopted", "owner")
        # A call moves with its partition or stays with its owner; nobody adopts what it has.
        assert len(owners) == len(set(owners))
        await world.close()

    on_virtual_time(story())


def test_an_owner_that_ends_while_its_share_changes_commits_past_no_call_it_dropped() -> None:
    async def story() -> None:
        world = World()
        world.log = log = LogThatGivesBack()
        world.hire("a")
        await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        log.asked.clear()
        log.answers.clear()
        log.give_back("conversation:a")
        await log.asked.wait()
        await world.fire("a")
        log.answers.set()
        world.hire("b")
        await world.until_said(CALL, "call.adopted", 2)
        await world.close()

    on_virtual_time(story())


def test_a_call_that_is_half_read_is_not_adopted() -> None:
    async def story() -> None:
        world = World()
        await world.say(CallStarted(id=world.new_id(), call_id=CALL, channel="twilio"), "web")
        used = ProfileUsed(id=world.new_id(), call_id=CALL, hash="h", body=profile_body(world.profile))
        await world.say_as(used, "conversation")
        await world.say_as(CallEnded(id=world.new_id(), call_id=CALL, reason="no_stream"), "conversation")
        await world.say_as(CallSealed(id=world.new_id(), call_id=CALL, complete=True), "conversation")
        # Read up to its second event, the call has waited for a stream for far too long.
        await asyncio.sleep(3600)
        runtime = world.hire("a", limits=RuntimeLimits(batch=1))

        async def is_read() -> bool:
            return len(runtime.calls.live) == topics.PARTITIONS and CALL not in runtime.calls.cases

        await world.until(is_read)
        await asyncio.sleep(60)
        assert await _appended(world) == ["call.started", "profile.used", "call.ended", "call.sealed"]
        await world.close()

    on_virtual_time(story())


async def _appended(world: World) -> list[str]:
    """Whatever anybody wrote about the call, believed or not."""
    partition = topics.partition_of(CALL, topics.PARTITIONS)
    reader = world.log.reader(topics.EVENTS.name, {partition: 0})
    return [type_of(decode(record.value)) for record in await reader.read(wait_ms=0)]
