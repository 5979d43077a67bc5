"""The SQLite log keeps the contract, also between processes and on bad disks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest

from eventlog.port import Entry, Log, LogBroken, LogError, LogFull, LogUnavailable
from eventlog.sqlite import SqliteLog
from eventlog.sqlite_file import LogFile, Tuning
from eventlog.sqlite_members import Seat
from eventlog.uri import open_log as open_uri
from schema.topics import PARTITIONS, TOPICS, Topic
from tests.contract.eventlog import (
    PATIENCE_S,
    TOPIC,
    Clock,
    EventLogContract,
    OpenLog,
    by_partition,
    entries,
    from_begin,
    read_count,
    settled,
)

ROOT = Path(__file__).parents[2]
QUICK = Tuning(retention_every_ms=5, balance_ms=10)


class TestSqliteLog(EventLogContract):
    @pytest.fixture
    def open_log(self, clock: Clock, tmp_path: Path) -> OpenLog:
        def open_one(name: str) -> AbstractAsyncContextManager[Log]:
            return SqliteLog(tmp_path / f"{name}.sqlite", now=clock, tuning=QUICK)

        return open_one


class TestSqliteLogWithoutTail(EventLogContract):
    """The same with nothing kept in memory: every read is one of the file."""

    @pytest.fixture
    def open_log(self, clock: Clock, tmp_path: Path) -> OpenLog:
        def open_one(name: str) -> AbstractAsyncContextManager[Log]:
            tuning = Tuning(retention_every_ms=5, balance_ms=10, tail_bytes=0)
            return SqliteLog(tmp_path / f"{name}.sqlite", now=clock, tuning=tuning)

        return open_one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def log_at(path: Path, tuning: Tuning = QUICK) -> SqliteLog:
    return SqliteLog(path, now=Clock(), tuning=tuning)


@asynccontextmanager
async def process(path: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real second process on the same file, killed -9 at the end if it still runs."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tests.contract.log_process", str(path), *arguments)
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return (await child.stdout.readline()).decode().strip()


# Several processes


async def test_a_reader_misses_nothing_of_several_writing_processes(path: Path) -> None:
    async with log_at(path) as log:
        reader = await from_begin(log)
        async with process(path, "append", "a", "300"), process(path, "append", "b", "300"):
            for number in range(100):
                await log.append(TOPIC, entries(f"here {number}", key="here"))
            records = await read_count(reader, 700)
    for part in by_partition(records).values():
        assert [record.position for record in part] == sorted({record.position for record in part})
    for name, count in (("a", 300), ("b", 300), ("here", 100)):
        said = [record.value.decode() for record in records if record.key == name]
        assert said == [f"{name} {number}" for number in range(count)]


async def test_another_process_tails_the_file_while_it_is_written(path: Path) -> None:
    async with log_at(path) as log, process(path, "tail", "200") as tail:
        assert await line(tail) == "ready"
        for number in range(200):
            await log.append(TOPIC, entries(str(number), key=f"call {number % 5}"))
        seen = [await line(tail) for _ in range(200)]
    assert sorted(seen, key=int) == [str(number) for number in range(200)]
    for call in range(5):
        assert [value for value in seen if int(value) % 5 == call] == [str(n) for n in range(200) if n % 5 == call]


async def test_a_killed_owners_partitions_move_and_its_last_append_is_kept(path: Path) -> None:
    async with log_at(path) as log, process(path, "own", "victim") as victim:
        assert await line(victim) == f"owns {PARTITIONS}"
        heir = await log.join("workers", TOPIC, "heir")
        assert heir.assigned == frozenset()
        victim.kill()
        assert await settled(heir, PARTITIONS) == frozenset(range(PARTITIONS))
        (record,) = await read_count(await from_begin(log), 1)
        assert record.value == b"victim was here"


async def test_a_frozen_owner_keeps_its_share_and_what_it_says_when_it_wakes_is_read(path: Path) -> None:
    async with log_at(path) as log, process(path, "own", "zombie") as zombie:
        assert await line(zombie) == f"owns {PARTITIONS}"
        os.kill(zombie.pid, 19)  # SIGSTOP
        heir = await log.join("workers", TOPIC, "heir")
        with pytest.raises(LogUnavailable):
            await log.join("workers", TOPIC, "zombie")
        await log.append(TOPIC, entries("meanwhile"))
        assert heir.assigned == frozenset()
        os.kill(zombie.pid, 18)  # SIGCONT
        assert zombie.stdin is not None
        zombie.stdin.write(b"late\n")
        records = await read_count(await from_begin(log), 3)
        assert sorted(record.value for record in records) == [b"late", b"meanwhile", b"zombie was here"]


async def test_a_forked_child_does_not_keep_its_dead_parents_share(path: Path) -> None:
    async with log_at(path) as log, process(path, "fork", "parent") as parent:
        assert await line(parent) == f"owns {PARTITIONS}"
        child = int(await line(parent))
        heir = await log.join("workers", TOPIC, "heir")
        parent.kill()
        try:
            assert await settled(heir, PARTITIONS) == frozenset(range(PARTITIONS))
        finally:
            os.kill(child, 9)


async def test_what_was_appended_before_a_kill_is_there_after_it(path: Path) -> None:
    async with process(path, "append", "a", "100") as writer:
        assert await line(writer) == "done"
        writer.kill()
    async with log_at(path) as log:
        assert len(await read_count(await from_begin(log), 100)) == 100


# Closing, bounds


async def test_closing_writes_what_is_pending(path: Path) -> None:
    async with log_at(path) as log:
        appending = [asyncio.create_task(log.append(TOPIC, entries(str(number)))) for number in range(100)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*appending)) == 100
    async with log_at(path) as log:
        assert len(await read_count(await from_begin(log), 100)) == 100


async def test_an_append_waits_while_too_much_is_on_its_way(path: Path) -> None:
    async with log_at(path, Tuning(pending_bytes=10_000)) as log:
        large = [Entry("call", b"x" * 5_000)]
        appending = [asyncio.create_task(log.append(TOPIC, large)) for _ in range(40)]
        most = 0
        while not all(task.done() for task in appending):
            most = max(most, log.pending_bytes)
            await asyncio.sleep(0)
        assert most < 10_000 + 2 * 5_000
        assert len(await read_count(await from_begin(log), 40)) == 40


async def test_the_tail_is_bounded_and_a_slow_reader_falls_back_to_the_file(path: Path) -> None:
    async with log_at(path, Tuning(tail_bytes=20_000)) as log:
        quick, slow = await from_begin(log), await from_begin(log)
        for _ in range(100):
            await log.append(TOPIC, [Entry("call", b"x" * 1_000)])
            await read_count(quick, 1)
            assert log.tail_bytes(TOPIC) <= 20_000
        assert len(await read_count(slow, 100)) == 100


async def test_what_lies_far_behind_others_records_is_found_without_patience(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventlog.sqlite_readers._SPAN", 10)
    async with log_at(path, Tuning(tail_bytes=0)) as log:
        await log.append(TOPIC, [Entry("other", b"x", 2)] * 55)
        await log.append(TOPIC, [Entry("call", b"mine", 1)])
        reader = log.reader(TOPIC, {1: await log.begin(TOPIC, 1)})
        assert [record.value for record in await reader.read(wait_ms=0)] == [b"mine"]
        assert await reader.read(wait_ms=0) == []


async def test_a_cancelled_append_hurts_nobody(path: Path) -> None:
    async with log_at(path) as log:
        appending = asyncio.create_task(log.append(TOPIC, entries("a")))
        await asyncio.sleep(0)
        appending.cancel()
        await log.append(TOPIC, entries("b"))
        assert [record.value for record in await read_count(await from_begin(log), 2)] == [b"a", b"b"]


# Bad disks, wrong files


def damage(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[100_000:-4096] = b"\xff" * (len(whole) - 104_096)
    path.write_bytes(whole)


async def test_a_file_that_is_no_database_is_refused_with_advice(path: Path) -> None:
    await asyncio.to_thread(path.write_bytes, b"Dear diary, " * 1000)
    with pytest.raises(LogBroken, match="check the path"):
        async with log_at(path):
            pass


async def test_a_damaged_file_breaks_reading_and_says_what_to_do(path: Path) -> None:
    async with log_at(path) as log:
        await log.append(TOPIC, [Entry("call", b"x" * 500) for _ in range(2_000)])
    damage(path)
    async with log_at(path) as log:
        with pytest.raises(LogBroken, match="damaged"):
            await read_count(await from_begin(log), 2_000)


async def test_a_full_disk_refuses_appends_and_health_until_there_is_room(path: Path) -> None:
    async with log_at(path, Tuning(most_pages=20)) as log:
        await log.append(TOPIC, entries("fits"))
        with pytest.raises(LogFull, match="free space"):
            await log.append(TOPIC, [Entry("call", b"x" * 1_000_000)])
        with pytest.raises(LogFull, match="free space"):
            await log.healthy()
        await log.append(TOPIC, entries("small enough"))
    async with log_at(path) as log:
        await log.healthy()
        await log.append(TOPIC, [Entry("call", b"x" * 1_000_000)])
        values = [record.value for record in await read_count(await from_begin(log), 3)]
        assert values == [b"fits", b"small enough", b"x" * 1_000_000]


async def test_a_lock_that_finds_no_room_is_a_full_disk_too(path: Path) -> None:
    file = LogFile(path, TOPICS, QUICK)
    with pytest.raises(LogFull, match="free space"), file.translated():
        await asyncio.to_thread(Path("/dev/full").write_bytes, b"taken")


async def test_who_could_not_join_leaves_the_name_free(path: Path) -> None:
    async with log_at(path) as log:
        await (await log.join("workers", TOPIC, "first")).leave()
        lock = Path(f"{path}.groups") / f"workers@{TOPIC}" / "partition-0"
        lock.unlink()
        lock.mkdir()
        with pytest.raises(LogBroken, match="partition-0"):
            await log.join("workers", TOPIC, "second")
        lock.rmdir()
        assert (await log.join("workers", TOPIC, "second")).assigned == frozenset(range(PARTITIONS))


async def test_who_leaves_while_shares_are_counted_has_nothing_any_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, go_on = threading.Event(), threading.Event()
    quota = Seat.quota

    def slow(seat: Seat) -> int:
        counting.set()
        assert go_on.wait(PATIENCE_S)
        return quota(seat)

    async with log_at(path) as log:
        member = await log.join("workers", TOPIC, "one")
        monkeypatch.setattr(Seat, "quota", slow)
        await asyncio.to_thread(counting.wait, PATIENCE_S)
        leaving = asyncio.create_task(member.leave())
        await asyncio.sleep(0)
        go_on.set()
        await leaving
        assert member.assigned == frozenset()


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # Root may write everywhere but into the kernel's own file system.
    folder = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"
    folder.mkdir(mode=0o500, exist_ok=True)
    with pytest.raises(LogBroken, match=r"log\.sqlite.*check"):
        async with log_at(folder / "log.sqlite"):
            pass


async def test_a_log_that_another_holds_is_unavailable_and_then_works_again(path: Path) -> None:
    async with log_at(path, Tuning(busy_timeout_ms=1)) as log:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable):
                await log.append(TOPIC, entries("a"))
            with pytest.raises(LogUnavailable):
                await log.healthy()
            other.execute("ROLLBACK")
        await log.append(TOPIC, entries("b"))
        assert [record.value for record in await read_count(await from_begin(log), 1)] == [b"b"]


async def test_a_topics_number_of_partitions_never_changes(path: Path) -> None:
    async with log_at(path):
        pass
    other = dict(TOPICS) | {TOPIC: Topic(TOPIC, "call_id", "json", None, PARTITIONS + 1)}
    with pytest.raises(LogBroken, match="24 partitions"):
        async with SqliteLog(path, now=Clock(), topics=other):
            pass


async def test_a_file_of_another_version_or_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    with pytest.raises(LogBroken, match="another program"):
        async with log_at(path):
            pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(LogBroken, match="version 99"):
        async with log_at(path):
            pass


async def test_processes_may_open_a_new_file_at_the_same_time(path: Path) -> None:
    async with process(path, "append", "a", "1") as one, process(path, "append", "b", "1") as two, log_at(path) as log:
        assert [await line(one), await line(two)] == ["done", "done"]
        assert len(await read_count(await from_begin(log), 2)) == 2


# Names of logs


async def test_a_uri_names_a_log(tmp_path: Path) -> None:
    for uri in ("memory:", f"sqlite:///{tmp_path}/deep/log.sqlite"):
        async with open_uri(uri, now=Clock()) as log:
            await log.append(TOPIC, entries("a"))
    assert (tmp_path / "deep" / "log.sqlite").exists()


@pytest.mark.parametrize("uri", ["postgres://x", "sqlite:///", "log.sqlite", ""])
def test_a_uri_that_names_no_log_is_refused_with_the_ones_that_do(uri: str) -> None:
    with pytest.raises(LogError, match="memory:"):
        open_uri(uri, now=Clock())
