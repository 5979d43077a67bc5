"""The contract of every event log: what `eventlog/port.py` promises, as tests that each backend inherits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventlog.port import (
    MAX_KEY_CHARACTERS,
    MAX_VALUE_BYTES,
    Entry,
    EntryTooLarge,
    Log,
    LogClosed,
    LogUnavailable,
    Membership,
    Reader,
    Record,
    UnknownTopic,
)
from schema.topics import EVENTS, HOUR_MS, OUTBOX, PARTITIONS, partition_of

TOPIC = EVENTS.name
ALL = range(PARTITIONS)
PATIENCE_S = 20  # how long a test waits for what must happen; nothing is asserted about time


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


# The property is inherited by each backend and opens a log of its own for each example.
_INHERITED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
OpenLog = Callable[[str], AbstractAsyncContextManager[Log]]


def entries(*values: str, key: str = "call") -> list[Entry]:
    return [Entry(key, value.encode()) for value in values]


async def from_begin(log: Log, topic: str = TOPIC) -> Reader:
    partitions = range(await log.partitions(topic))
    return log.reader(topic, {partition: await log.begin(topic, partition) for partition in partitions})


async def read_count(reader: Reader, count: int, *, max_records: int = 1000) -> list[Record]:
    """Reads until there are so many."""
    found: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found += await reader.read(max_records=max_records)
    return found


async def last_share(membership: Membership) -> frozenset[int]:
    """What it has when nothing changes any more for as long as patience lasts."""
    share = membership.assigned
    while await membership.changed(wait_ms=PATIENCE_S * 1000):
        share = membership.assigned
    return share


async def settled(membership: Membership, count: int) -> frozenset[int]:
    """Waits, as an owner does, until this many partitions are assigned, and lets go of the others."""
    async with asyncio.timeout(PATIENCE_S):
        while len(membership.assigned) != count or await membership.changed(wait_ms=0):
            await membership.changed(wait_ms=1000)
    return membership.assigned


def by_partition(records: list[Record]) -> Mapping[int, list[Record]]:
    parts: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        parts[record.partition].append(record)
    return parts


class EventLogContract:
    """`open_log(name)` opens the log of that name; every call with the same name opens the same records."""

    # What a backend cannot do as the others, and why it is harmless, stands where it is set to False.
    waits_for_the_owner = True  # a partition moves only when its owner has let go (promise 7)
    refuses_a_living_name = True  # a second member of one name

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    def is_time(self, at: int, ms: int) -> bool:
        """Whether the log's time `at` is what the clock said."""
        return at == ms

    async def expire(self, log: Log, clock: Clock, topic: str, partition: int) -> None:
        """Let everything there grow older than the topic's retention."""
        clock.ms += HOUR_MS + 1

    @pytest.fixture
    def open_log(self, clock: Clock) -> OpenLog:
        raise NotImplementedError

    @pytest.fixture
    async def log(self, open_log: OpenLog) -> AsyncIterator[Log]:
        async with open_log("log") as log:
            yield log

    # Order, batches, places

    async def test_records_of_one_key_are_read_in_the_order_they_were_appended(self, log: Log) -> None:
        for number in range(20):
            await log.append(TOPIC, entries(str(number)))
        records = await read_count(await from_begin(log), 20)
        assert [record.value for record in records] == [b"%d" % number for number in range(20)]
        assert [record.position for record in records] == sorted({record.position for record in records})

    async def test_a_record_is_read_where_its_append_said_it_went(self, log: Log, clock: Clock) -> None:
        placed = await log.append(TOPIC, [Entry("a", b"1"), Entry("b", b"2"), Entry("a", b"3", partition=7)])
        records = await read_count(await from_begin(log), 3)
        assert [place.partition for place in placed] == [
            partition_of("a", PARTITIONS),
            partition_of("b", PARTITIONS),
            7,
        ]
        assert all(self.is_time(place.at, clock.ms) for place in placed)
        expected = [
            Record(TOPIC, place.partition, place.position, place.at, key, value)
            for place, key, value in zip(placed, "aba", (b"1", b"2", b"3"), strict=True)
        ]
        assert sorted(records, key=lambda record: record.value) == expected

    async def test_records_of_one_append_are_adjacent_whoever_else_appends(self, log: Log) -> None:
        batches = [[f"{batch}:{number}" for number in range(5)] for batch in range(40)]
        await asyncio.gather(*(log.append(TOPIC, entries(*batch)) for batch in batches))
        values = [record.value.decode() for record in await read_count(await from_begin(log), 200)]
        found = [values[start : start + 5] for start in range(0, 200, 5)]
        assert sorted(found) == sorted(batches)

    async def test_the_log_gives_all_records_of_a_batch_one_time_which_is_its_own(self, log: Log, clock: Clock) -> None:
        clock.ms += 5
        at_first = clock.ms
        await log.append(TOPIC, entries("a", "b"))
        clock.ms -= 3
        await log.append(TOPIC, entries("c"))
        assert self.is_time(await log.now(), clock.ms)
        a, b, c = await read_count(await from_begin(log), 3)
        assert a.at == b.at
        assert self.is_time(a.at, at_first)
        assert self.is_time(c.at, clock.ms)

    async def test_every_log_takes_a_value_of_the_promised_size(self, log: Log) -> None:
        large = b"x" * MAX_VALUE_BYTES
        await log.append(TOPIC, [Entry("call", large), Entry("call", b"small"), Entry("call", large)])
        assert [record.value for record in await read_count(await from_begin(log), 3)] == [large, b"small", large]

    @pytest.mark.parametrize(
        "large",
        [Entry("call", b"x" * (MAX_VALUE_BYTES + 1)), Entry("k" * (MAX_KEY_CHARACTERS + 1), b"x")],
        ids=["value", "key"],
    )
    async def test_what_is_too_large_is_refused_with_all_of_its_append(self, log: Log, large: Entry) -> None:
        with pytest.raises(EntryTooLarge):
            await log.append(TOPIC, [*entries("before"), large, *entries("behind")])
        await log.append(TOPIC, entries("after"))
        assert [record.value for record in await read_count(await from_begin(log), 1)] == [b"after"]

    async def test_appending_nothing_is_nothing(self, log: Log) -> None:
        assert await log.append(TOPIC, []) == []
        assert await (await from_begin(log)).read(wait_ms=0) == []

    # No lost late commit

    async def test_a_reader_that_follows_misses_nothing_of_many_writers(self, log: Log) -> None:
        async def write(writer: int) -> None:
            for number in range(50):
                await log.append(TOPIC, entries(f"{writer}:{number}", key=f"call {writer}"))

        reader = await from_begin(log)
        async with asyncio.TaskGroup() as tasks:
            for writer in range(12):
                tasks.create_task(write(writer))
            records = await read_count(reader, 600)
        for part in by_partition(records).values():
            assert [record.position for record in part] == sorted({record.position for record in part})
        for writer in range(12):
            said = [record.value for record in records if record.key == f"call {writer}"]
            assert said == [b"%d:%d" % (writer, number) for number in range(50)]

    async def test_readers_of_one_topic_do_not_disturb_each_other(self, log: Log) -> None:
        early, late = await from_begin(log), await from_begin(log)
        await log.append(TOPIC, entries("a", "b"))
        first = await read_count(early, 2)
        await log.append(TOPIC, entries("c"))
        assert first + await read_count(early, 1) == await read_count(late, 3)

    # Reading

    async def test_a_waiting_reader_gets_what_is_appended_meanwhile(self, log: Log) -> None:
        reader = await from_begin(log)
        reading = asyncio.create_task(reader.read(wait_ms=PATIENCE_S * 1000))
        await asyncio.sleep(0)
        await log.append(TOPIC, entries("news"))
        assert [record.value for record in await reading] == [b"news"]

    async def test_a_reader_of_other_partitions_is_not_given_the_record(self, log: Log) -> None:
        reader = log.reader(TOPIC, {3: await log.begin(TOPIC, 3), 4: await log.begin(TOPIC, 4)})
        await log.append(TOPIC, [Entry("k", b"%d" % partition, partition) for partition in ALL])
        assert {record.partition for record in await read_count(reader, 2)} == {3, 4}
        assert await reader.read(wait_ms=0) == []

    async def test_a_read_gives_no_more_than_was_asked_for(self, log: Log) -> None:
        await log.append(TOPIC, [Entry("k", b"%d" % number, number % PARTITIONS) for number in range(500)])
        reader = await from_begin(log)
        sizes, found = [], []
        while records := await reader.read(max_records=7, wait_ms=0):
            sizes.append(len(records))
            found += records
        assert max(sizes) == 7
        assert len({(record.partition, record.position) for record in found}) == len(found) == 500

    async def test_reading_without_news_ends_empty(self, log: Log) -> None:
        assert await (await from_begin(log)).read(wait_ms=1) == []

    async def test_a_reader_goes_on_where_another_stopped(self, log: Log) -> None:
        await log.append(TOPIC, [Entry("k", b"%d" % number, number % 5) for number in range(50)])
        first = await from_begin(log)
        before = await read_count(first, 20, max_records=20)
        second = log.reader(TOPIC, first.positions())
        await first.close()
        values = [record.value for record in before + await read_count(second, 30)]
        assert sorted(values, key=int) == [b"%d" % number for number in range(50)]

    async def test_an_assignment_replaces_the_one_before(self, log: Log) -> None:
        await log.append(TOPIC, [Entry("k", b"one", 1), Entry("k", b"two", 2)])
        reader = log.reader(TOPIC, {1: await log.begin(TOPIC, 1)})
        await read_count(reader, 1)
        reader.assign({2: await log.begin(TOPIC, 2), 1: reader.positions()[1]})
        assert [record.value for record in await read_count(reader, 1)] == [b"two"]
        reader.assign({1: await log.begin(TOPIC, 1)})
        assert [record.value for record in await read_count(reader, 1)] == [b"one"]
        assert set(reader.positions()) == {1}

    async def test_a_reader_of_nothing_reads_nothing(self, log: Log) -> None:
        reader = log.reader(TOPIC, {})
        await log.append(TOPIC, entries("a"))
        assert await reader.read(wait_ms=0) == []

    async def test_a_reading_that_is_cancelled_loses_nothing(self, log: Log) -> None:
        reader = await from_begin(log)
        for number in range(30):
            reading = asyncio.create_task(reader.read(wait_ms=PATIENCE_S * 1000))
            appending = asyncio.create_task(log.append(TOPIC, entries(str(number))))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            was_waiting = reading.cancel()
            results = await asyncio.gather(reading, return_exceptions=True)
            await appending
            got = results[0] if isinstance(results[0], list) else await read_count(reader, 1)
            assert [record.value for record in got] == [b"%d" % number], was_waiting

    # Ends

    async def test_an_append_that_returned_lies_between_begin_and_end(self, log: Log) -> None:
        assert await log.begin(TOPIC, 5) == await log.end(TOPIC, 5)
        (place,) = await log.append(TOPIC, [Entry("k", b"v", 5)])
        assert await log.begin(TOPIC, 5) <= place.position < await log.end(TOPIC, 5)
        assert await log.begin(TOPIC, 6) == await log.end(TOPIC, 6)

    async def test_a_reader_that_has_read_everything_stands_at_the_end(self, log: Log) -> None:
        await log.append(TOPIC, [Entry("k", b"v", number % 3) for number in range(10)])
        reader = await from_begin(log)
        await read_count(reader, 10)
        for partition in ALL:
            assert reader.positions()[partition] >= await log.end(TOPIC, partition)

    async def test_a_reader_from_the_end_is_given_only_what_comes_later(self, log: Log) -> None:
        await log.append(TOPIC, [Entry("k", b"old", 2)])
        reader = log.reader(TOPIC, {2: await log.end(TOPIC, 2)})
        await log.append(TOPIC, [Entry("k", b"new", 2)])
        assert [record.value for record in await read_count(reader, 1)] == [b"new"]

    async def test_expired_records_are_dropped_and_their_positions_are_not_given_again(
        self, log: Log, clock: Clock
    ) -> None:
        old = await log.append(OUTBOX.name, [Entry("k", b"old", 9) for _ in range(20)])
        await self.expire(log, clock, OUTBOX.name, 9)
        (new,) = await log.append(OUTBOX.name, [Entry("k", b"new", 9)])
        async with asyncio.timeout(PATIENCE_S):
            while await log.begin(OUTBOX.name, 9) <= old[-1].position:
                await log.healthy()
        reader = log.reader(OUTBOX.name, {9: old[0].position})
        assert [record.value for record in await read_count(reader, 1)] == [b"new"]
        assert new.position > old[-1].position

    # Errors of the caller

    async def test_what_does_not_exist_is_the_callers_fault(self, log: Log) -> None:
        with pytest.raises(UnknownTopic):
            await log.append("calls.gossip", entries("a"))
        with pytest.raises(UnknownTopic):
            await log.append(TOPIC, [Entry("k", b"v", PARTITIONS)])
        with pytest.raises(UnknownTopic):
            log.reader(TOPIC, {PARTITIONS: 0})
        with pytest.raises(UnknownTopic):
            await log.end(TOPIC, -1)
        with pytest.raises(UnknownTopic):
            await log.join("workers", "calls.gossip", "a")
        with pytest.raises(UnknownTopic):
            await log.commit("workers", TOPIC, {PARTITIONS: 1})

    async def test_a_closed_log_says_so(self, open_log: OpenLog) -> None:
        async with open_log("closed") as log:
            reader = await from_begin(log)
            await log.healthy()
        await log.close()
        with pytest.raises(LogClosed):
            await log.append(TOPIC, entries("a"))
        with pytest.raises(LogClosed):
            await reader.read(wait_ms=0)
        with pytest.raises(LogClosed):
            await log.end(TOPIC, 0)
        with pytest.raises(LogClosed):
            await log.healthy()

    async def test_who_waits_while_the_log_closes_is_told(self, open_log: OpenLog) -> None:
        async with open_log("closed") as log:
            membership = await log.join("workers", TOPIC, "one")
            await settled(membership, PARTITIONS)
            reader = await from_begin(log)
            waiting = [
                asyncio.create_task(reader.read(wait_ms=PATIENCE_S * 1000)),
                asyncio.create_task(last_share(membership)),
            ]
            await asyncio.sleep(0)
        read, changed = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(read, LogClosed)
        assert isinstance(changed, LogClosed)
        assert membership.assigned == frozenset()

    async def test_who_has_just_begun_to_read_when_the_reader_closes_is_told(self, log: Log) -> None:
        for rounds in range(6):
            reader = await from_begin(log)
            reading = asyncio.create_task(reader.read(wait_ms=PATIENCE_S * 1000))
            for _ in range(rounds):
                await asyncio.sleep(0)
            await reader.close()
            with pytest.raises(LogClosed):
                await reading

    async def test_a_closed_reader_says_so(self, log: Log) -> None:
        reader = await from_begin(log)
        await reader.close()
        await reader.close()
        with pytest.raises(LogClosed):
            await reader.read()

    # Groups

    async def test_a_groups_positions_are_remembered_and_never_move_back(self, log: Log) -> None:
        assert await log.committed("workers", TOPIC) == {}
        await log.commit("workers", TOPIC, {1: 10, 2: 20})
        await log.commit("workers", TOPIC, {2: 5, 3: 30})
        assert await log.committed("workers", TOPIC) == {1: 10, 2: 20, 3: 30}
        assert await log.committed("others", TOPIC) == {}
        assert await log.committed("workers", OUTBOX.name) == {}

    async def test_a_member_alone_owns_every_partition_at_once(self, log: Log) -> None:
        membership = await log.join("workers", TOPIC, "one")
        assert membership.assigned == frozenset(ALL)

    async def test_members_share_without_overlap_and_groups_do_not_know_each_other(self, log: Log) -> None:
        members = [await log.join("workers", TOPIC, name) for name in ("one", "two", "three", "four", "five")]
        other = await log.join("others", TOPIC, "one")
        shares = await asyncio.gather(
            *(settled(member, count) for member, count in zip(members, (5, 4, 5, 5, 5), strict=True))
        )
        assert sorted(partition for share in shares for partition in share) == list(ALL)
        assert other.assigned == frozenset(ALL)

    async def test_a_partition_moves_only_when_its_owner_has_let_go(self, log: Log) -> None:
        one = await log.join("workers", TOPIC, "one")
        assert len(one.assigned) == PARTITIONS
        two = await log.join("workers", TOPIC, "two")
        assert await one.changed(wait_ms=PATIENCE_S * 1000)
        kept = one.assigned
        assert len(kept) == PARTITIONS // 2
        if self.waits_for_the_owner:
            # One has seen it, and is still stopping.
            assert two.assigned == frozenset()
        assert not await one.changed(wait_ms=0)
        assert await settled(two, PARTITIONS // 2) == frozenset(ALL) - kept

    async def test_who_shares_keeps_its_part_all_the_while(self, log: Log) -> None:
        one = await log.join("workers", TOPIC, "one")
        whole = one.given

        async def watch() -> list[frozenset[int]]:
            seen = [one.assigned]
            while len(seen[-1]) != PARTITIONS // 2:
                await one.changed(wait_ms=PATIENCE_S * 1000)
                seen.append(one.assigned)
            return seen

        watching = asyncio.create_task(watch())
        two = await log.join("workers", TOPIC, "two")
        async with asyncio.timeout(PATIENCE_S):
            seen = await watching
        assert all(kept >= seen[-1] for kept in seen)
        # What was kept was nobody else's in between, and that is told.
        assert one.given == {partition: whole[partition] for partition in seen[-1]}
        await settled(one, PARTITIONS // 2)
        await settled(two, PARTITIONS // 2)

    async def test_a_partition_that_comes_back_was_given_once_more(self, log: Log) -> None:
        one = await log.join("workers", TOPIC, "one")
        whole = one.given
        assert whole.keys() == set(ALL)
        two = await log.join("workers", TOPIC, "two")
        moved = frozenset(ALL) - await settled(one, PARTITIONS // 2)
        await settled(two, PARTITIONS // 2)
        await two.leave()
        await settled(one, PARTITIONS)
        assert {partition for partition in ALL if one.given[partition] > whole[partition]} == moved

    async def test_who_leaves_gives_everything_to_the_others(self, log: Log) -> None:
        one, two = await log.join("workers", TOPIC, "one"), await log.join("workers", TOPIC, "two")
        await asyncio.gather(settled(one, 12), settled(two, 12))
        await one.leave()
        await one.leave()
        assert one.assigned == frozenset()
        assert await settled(two, PARTITIONS) == frozenset(ALL)
        with pytest.raises(LogClosed):
            await one.changed(wait_ms=0)

    async def test_a_member_that_comes_back_gets_the_share_it_had(self, log: Log) -> None:
        one, two = await log.join("workers", TOPIC, "one"), await log.join("workers", TOPIC, "two")
        share, _ = await asyncio.gather(settled(one, 12), settled(two, 12))
        await one.leave()
        await settled(two, PARTITIONS)
        again = await log.join("workers", TOPIC, "one")
        back, _ = await asyncio.gather(settled(again, 12), settled(two, 12))
        assert back == share

    async def test_two_members_cannot_have_one_name(self, log: Log) -> None:
        await log.join("workers", TOPIC, "one")
        if self.refuses_a_living_name:
            with pytest.raises(LogUnavailable):
                await log.join("workers", TOPIC, "one")
        else:
            # The newcomer is taken for the same process, started again.
            assert (await log.join("workers", TOPIC, "one")).assigned == frozenset(ALL)

    async def test_the_late_append_of_a_former_owner_is_there_to_be_judged(self, log: Log) -> None:
        zombie = await log.join("workers", TOPIC, "zombie")
        reader = await from_begin(log)
        await zombie.leave()
        heir = await log.join("workers", TOPIC, "heir")
        await log.append(TOPIC, [Entry("call", b"call.adopted", 1)])
        await log.append(TOPIC, [Entry("call", b"too late", 1)])
        await log.append(TOPIC, [Entry("call", b"goes on", 1)])
        assert 1 in heir.assigned
        assert [record.value for record in await read_count(reader, 3)] == [b"call.adopted", b"too late", b"goes on"]

    # Against a model

    @settings(max_examples=40, deadline=None, suppress_health_check=_INHERITED)
    @given(
        st.lists(
            st.one_of(
                st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.binary(max_size=9)), max_size=12),
                st.integers(1, 9),
            ),
            max_size=30,
        ),
        st.sets(st.integers(0, PARTITIONS - 1), min_size=1),
        st.integers(0, 10**9),
    )
    async def test_it_is_a_list_for_each_partition(
        self, open_log: OpenLog, steps: list[list[tuple[int, bytes]] | int], mine: set[int], example: int
    ) -> None:
        model: dict[int, list[bytes]] = {partition: [] for partition in ALL}
        seen: dict[int, list[bytes]] = {partition: [] for partition in mine}
        async with open_log(f"model {example}") as log:
            # The same example may run again on what it left behind.
            reader = log.reader(TOPIC, {partition: await log.end(TOPIC, partition) for partition in mine})
            for step in steps:
                if isinstance(step, int):
                    self._keep(seen, await reader.read(max_records=step, wait_ms=0))
                    continue
                placed = await log.append(TOPIC, [Entry("k", value, partition) for partition, value in step])
                assert [place.partition for place in placed] == [partition for partition, _ in step]
                for partition, value in step:
                    model[partition].append(value)
            while records := await reader.read(wait_ms=0):
                self._keep(seen, records)
            assert seen == {partition: model[partition] for partition in mine}

    @staticmethod
    def _keep(seen: dict[int, list[bytes]], records: list[Record]) -> None:
        for record in records:
            seen[record.partition].append(record.value)
