"""What moves with a partition: who owns its calls, what its last owner left undone, and who may ring for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from eventlog.memory import MemoryLog
from eventlog.memory_groups import MemoryMembership
from eventlog.port import Entry, Placed, Reader, Record
from schema import topics
from schema.call import CallEnded, CallSealed, CallStarted, ProfileUsed
from schema.envelope import type_of
from schema.outbox import OutboxFact
from schema.registry import decode, unpack_outbox
from schema.stream import TextTyped
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


class LostMail:
    """An owner's way to the log: from one fact on, nothing of it reaches the outbox any more."""

    def __init__(self, log: MemoryLog, fact: str) -> None:
        self._log, self._fact, self.lost = log, fact, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if topic == topics.OUTBOX.name and (self.lost.is_set() or any(self._says(entry) for entry in entries)):
            self.lost.set()
            await asyncio.Event().wait()
        return await self._log.append(topic, entries)

    def _says(self, entry: Entry) -> bool:
        message = unpack_outbox(entry.value)
        return isinstance(message, OutboxFact) and type_of(decode(message.body)) == self._fact


@pytest.mark.parametrize("fact", ["reply.interrupted", "turn.taken", "call.ended"])
def test_a_fact_that_its_owner_did_not_copy_is_copied_by_its_successor(fact: str) -> None:
    async def story() -> None:
        world = World()
        mail = LostMail(world.log, fact)
        world.hire("a", log=mail)
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "playback.started")
        await call.says("bye" if fact == "call.ended" else "wait a moment")
        await mail.lost.wait()
        await world.fire("a")
        world.hire("b")

        async def is_told() -> bool:
            copies = [one for one in await world.outbox() if isinstance(one, OutboxFact)]
            return fact in [type_of(decode(one.body)) for one in copies]

        await world.until(is_told)
        await world.close()

    on_virtual_time(story())


class LogThatLags(MemoryLog):
    """While it lags, readers of events are given nothing, although there is something."""

    def __init__(self) -> None:
        super().__init__(now=now)
        self.lags = asyncio.Event()

    def reader(self, topic: str, positions: Mapping[int, int]) -> Any:
        reader = super().reader(topic, positions)
        return LaggingReader(reader, self.lags) if topic == topics.EVENTS.name else reader


class LaggingReader:
    def __init__(self, reader: Reader, lags: asyncio.Event) -> None:
        self._reader, self._lags = reader, lags

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        if self._lags.is_set():
            await asyncio.sleep(wait_ms / 1000)
            return []
        return await self._reader.read(max_records=max_records, wait_ms=wait_ms)


def test_who_has_not_read_to_the_end_rings_for_nobody() -> None:
    """The caller spoke in time; the owner reads that only after the time is up."""

    async def story() -> None:
        world = World()
        world.log = log = LogThatLags()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await asyncio.sleep(1)
        log.lags.set()
        await asyncio.sleep(1)  # what it was reading then is over
        await world.say(TextTyped(id="t", call_id=CALL, stream=call.stream, text="hello"), call.stream)
        await asyncio.sleep(10)
        log.lags.clear()
        await world.until_said(CALL, "turn.taken")
        assert "timer.rang" not in await world.names(CALL)
        await world.close()

    on_virtual_time(story())


async def _appended(world: World) -> list[str]:
    """Whatever anybody wrote about the call, believed or not."""
    partition = topics.partition_of(CALL, topics.PARTITIONS)
    reader = world.log.reader(topics.EVENTS.name, {partition: 0})
    return [type_of(decode(record.value)) for record in await reader.read(wait_ms=0)]
