"""The memory log keeps the contract, and does what a double is needed for."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from eventlog.memory import MemoryLog
from eventlog.port import Log, LogBroken
from schema.topics import PARTITIONS
from tests.contract.eventlog import TOPIC, Clock, EventLogContract, OpenLog, entries, read_count


class TestMemoryLog(EventLogContract):
    @pytest.fixture
    def open_log(self, clock: Clock) -> OpenLog:
        def open_one(name: str) -> AbstractAsyncContextManager[Log]:
            return MemoryLog(now=clock)

        return open_one


async def test_a_killed_member_loses_its_share_without_being_told() -> None:
    async with MemoryLog(now=Clock()) as log:
        victim = await log.join("workers", TOPIC, "victim")
        log.kill("victim")
        heir = await log.join("workers", TOPIC, "heir")
        assert heir.assigned == victim.assigned == frozenset(range(PARTITIONS))


async def test_a_fault_is_raised_until_it_is_mended() -> None:
    async with MemoryLog(now=Clock()) as log:
        reader = log.reader(TOPIC, dict.fromkeys(range(PARTITIONS), 0))
        log.fault = LogBroken("the disk is full: free space")
        with pytest.raises(LogBroken):
            await log.append(TOPIC, entries("a"))
        with pytest.raises(LogBroken):
            await log.healthy()
        log.fault = None
        await log.append(TOPIC, entries("b"))
        assert [record.value for record in await read_count(reader, 1)] == [b"b"]
