"""A role whose partition left and came back between two looks knows that another may have owned its calls."""

from __future__ import annotations

from eventlog.memory import MemoryLog
from eventlog.memory_groups import MemoryMembership
from tests.support.runtimes import CallAtDoor, EchoAgent, World, fields, now, on_virtual_time, sentences

CALL = "CA1"


class LogThatGivesBack(MemoryLog):
    """Gives a member its partitions once more while it believes it never lost them, as a broker can."""

    def __init__(self) -> None:
        super().__init__(now=now)
        self.members: dict[str, MemoryMembership] = {}

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
