"""The log that fails: each fault does what its name says, and the dead may still be heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from calltape.simulation.faulty_log import Faults, FaultyLog, LogPort
from calltape.simulation.house import TOPICS
from calltape.simulation.loop import VirtualLoop
from calltape.simulation.process import Fate, Process
from eventlog.memory import MemoryLog
from eventlog.port import Entry, LogUnavailable
from schema.topics import EVENTS

T = TypeVar("T")


class Bench:
    """A log behind a faulty wire, and one process that uses it."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.loop = VirtualLoop(seed)
        self.log = MemoryLog(now=lambda: int(self.loop.time() * 1000), topics=TOPICS)
        self.wire = FaultyLog(self.log, seed)
        self.wire.faults = faults
        self.process: Process = self.loop.process("writer")
        self.port: LogPort = self.wire.port(self.process)

    async def append(self) -> None:
        await self.port.append(EVENTS.name, [Entry("call", b"x", 0)])

    async def landed(self) -> int:
        return await self.log.end(EVENTS.name, 0)


def _on(faults: Faults, story: Callable[[Bench], Awaitable[T]], seed: int = 1) -> T:
    bench = Bench(faults, seed)

    async def main() -> T:
        return await story(bench)

    return bench.loop.run(main())


def test_without_faults_it_is_the_log() -> None:
    async def story(bench: Bench) -> int:
        await bench.append()
        return await bench.landed()

    assert _on(Faults(), story) == 1


def test_a_lost_append_is_refused_and_never_appears() -> None:
    async def story(bench: Bench) -> int:
        with pytest.raises(LogUnavailable):
            await bench.append()
        await _later(60)
        return await bench.landed()

    assert _on(Faults(lose=1.0), story) == 0


def test_a_lost_answer_is_a_refusal_of_what_appears() -> None:
    async def story(bench: Bench) -> int:
        with pytest.raises(LogUnavailable):
            await bench.append()
        return await bench.landed()

    assert _on(Faults(lose_answer=1.0), story) == 1


def test_a_doubled_append_appears_twice() -> None:
    async def story(bench: Bench) -> int:
        await bench.append()
        await _later(60)
        return await bench.landed()

    assert _on(Faults(double=1.0), story) == 2


def test_a_stalled_log_takes_everything_later() -> None:
    async def story(bench: Bench) -> tuple[int, int]:
        bench.wire.stall()
        bench.loop.call_later(5, bench.wire.flow)
        before = await bench.landed()
        await bench.append()
        return before, int(bench.loop.time())

    assert _on(Faults(), story) == (0, 5)


def test_what_a_dead_process_had_sent_lands_late_or_never() -> None:
    async def story(bench: Bench) -> int:
        bench.process.spawn(bench.loop, bench.append())
        await _later(0)
        await _later(0)
        bench.port.cut()
        bench.process.stop(Fate.DEAD)
        await _later(60)
        return await bench.landed()

    assert {_on(Faults(), story, seed) for seed in range(20)} == {0, 1}


def test_a_cut_port_sends_nothing_more_and_never_returns() -> None:
    async def story(bench: Bench) -> int:
        bench.port.cut()
        task = bench.process.spawn(bench.loop, bench.append())
        await _later(60)
        assert not task.done()
        return await bench.landed()

    assert _on(Faults(), story) == 0


def test_partitions_move_while_their_old_owner_believes() -> None:
    async def story(bench: Bench) -> list[bool]:
        other = bench.wire.port(bench.loop.process("other"))
        first = await bench.port.join("role", EVENTS.name, "role:a")
        second = await other.join("role", EVENTS.name, "role:b")
        assert bench.wire.shares.take_from("role", "role:a")
        both = [bool(first.assigned), bool(second.assigned)]
        bench.wire.shares.tell("role", "role:a")
        return [*both, await first.changed(wait_ms=10), bool(first.assigned)]

    assert _on(Faults(), story) == [True, True, True, False]


async def _later(seconds: float) -> None:
    await asyncio.sleep(seconds)
