"""A log that may fail in every way a real one can: slow, lost, unanswered, doubled, late, stalled, wrongly shared.

What was sent before its sender died is on the wire, not in the sender: it may still land, seconds later. Every
process has its own port; a cut port sends nothing more, but what it had sent goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from calltape.simulation.fuse import Fuse
from calltape.simulation.process import Process, world_context
from calltape.simulation.shares import FaultyMembership, Shares
from eventlog.memory import MemoryLog, MemoryReader
from eventlog.port import Entry, LogClosed, LogUnavailable, Placed, Record


@dataclass(frozen=True, slots=True)
class Faults:
    """How probable (0..1) each fault is for one append, and how bad."""

    lose: float = 0.0  # never appears, and the writer is told it may not have
    lose_answer: float = 0.0  # appears, and the writer is told it may not have
    hide_answer: float = 0.0  # appears, and the writer is told nothing for a long time
    double: float = 0.0  # appears twice, the second up to `late_ms` later
    slow: float = 0.0  # takes up to `slow_ms`
    slow_ms: int = 1500
    late_ms: int = 4000  # how late the mail of the dead may come
    lag: float = 0.0  # a read takes up to `slow_ms`

    @property
    def any(self) -> bool:
        return any((self.lose, self.lose_answer, self.hide_answer, self.double, self.slow, self.lag))


NO_FAULTS = Faults()


class FaultyLog:
    """The wire between all processes and one honest log. `faults` may be changed at any time."""

    def __init__(self, log: MemoryLog, seed: int) -> None:
        self.log = log
        self.faults = NO_FAULTS
        self.shares = Shares()
        self.happened: dict[str, int] = {}  # fault -> how often
        self.is_closed = False
        self.is_away = False
        self._chance = Random(f"log-{seed}")
        self._context = world_context()
        self._open = asyncio.Event()
        self._open.set()
        self._mail: set[asyncio.Task[None]] = set()

    def port(self, process: Process, *, lag_ms: int = 0) -> LogPort:
        """`lag_ms`: every read of this process comes so much later."""
        return LogPort(self, process, lag_ms)

    def close(self) -> None:
        """The run is over: whoever still asks is refused."""
        self.is_closed = True
        self.flow()

    def stall(self) -> None:
        """Nothing lands until `flow`."""
        self._count("stall")
        self._open.clear()

    def flow(self) -> None:
        self._open.set()

    def leave(self, seconds: float) -> None:
        """No broker answers for so long: nothing is written, read, committed or looked up."""
        self._count("away")
        self.is_away = True
        asyncio.get_running_loop().call_later(seconds, self.come_back, context=self._context.copy())

    def come_back(self) -> None:
        self.is_away = False

    async def knock(self) -> None:
        """Raises LogUnavailable while the broker is away, after a while."""
        if self.is_away:
            await asyncio.sleep(self._chance.random() * 0.5)
            raise LogUnavailable("no broker answers")

    def send(self, sender: Process, topic: str, entries: Sequence[Entry]) -> asyncio.Future[list[Placed]]:
        """Put it on the wire; the answer may never come."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Placed]] = loop.create_future()
        carried = self._carry(sender, topic, tuple(entries), answer)
        task = loop.create_task(carried, context=self._context.copy())
        self._mail.add(task)
        task.add_done_callback(self._mail.discard, context=self._context.copy())
        return answer

    async def linger(self) -> None:
        """A read's own time."""
        if self._strikes(self.faults.lag, "lag"):
            await asyncio.sleep(self._chance.random() * self.faults.slow_ms / 1000)

    async def _carry(
        self, sender: Process, topic: str, entries: tuple[Entry, ...], answer: asyncio.Future[list[Placed]]
    ) -> None:
        faults = self.faults
        slow = self._strikes(faults.slow, "slow")
        await asyncio.sleep(self._chance.random() * (faults.slow_ms / 1000 if slow else 0.003))
        await self._open.wait()
        if sender.dead and not await self._mail_of_the_dead():
            return
        if self.is_away:
            await self._refuse(answer)
            return
        if self._strikes(faults.lose, "lose"):
            await self._refuse(answer)
            return
        try:
            placed = await self.log.append(topic, entries)
        except LogUnavailable as error:
            _fail(answer, error)
            return
        await self._reply(answer, placed)
        if self._strikes(faults.double, "double"):
            await asyncio.sleep(self._chance.random() * faults.late_ms / 1000)
            if not self.is_away:
                await self.log.append(topic, entries)

    async def _mail_of_the_dead(self) -> bool:
        """Whether it still arrives; if so, late."""
        if self._chance.random() < 0.5:
            return False
        self._count("zombie")
        await asyncio.sleep(self._chance.random() * self.faults.late_ms / 1000)
        return True

    async def _refuse(self, answer: asyncio.Future[list[Placed]]) -> None:
        await asyncio.sleep(self._chance.random() * 0.2)
        _fail(answer, LogUnavailable("the log did not answer"))

    async def _reply(self, answer: asyncio.Future[list[Placed]], placed: list[Placed]) -> None:
        if self._strikes(self.faults.lose_answer, "lose_answer"):
            await self._refuse(answer)
        elif self._strikes(self.faults.hide_answer, "hide_answer"):
            await asyncio.sleep(2 + self._chance.random() * 8)
        else:
            await asyncio.sleep(self._chance.random() * 0.002)
        if not answer.done():
            answer.set_result(placed)

    def _strikes(self, probability: float, name: str) -> bool:
        if probability and self._chance.random() < probability:
            self._count(name)
            return True
        return False

    def _count(self, name: str) -> None:
        self.happened[name] = self.happened.get(name, 0) + 1


class LogPort:
    """One process's way to the log. See `eventlog.port.Log`."""

    def __init__(self, wire: FaultyLog, process: Process, lag_ms: int) -> None:
        self._wire = wire
        self._process = process
        self._lag_ms = lag_ms
        self._is_cut = False
        self.fuse = Fuse()

    def cut(self) -> None:
        """From here on every call is inert: it neither appends nor returns."""
        self._is_cut = True

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        await self._pass()
        if self.fuse.holds(topic, entries):
            await asyncio.get_running_loop().create_future()
        await self._wire.knock()
        answer = self._wire.send(self._process, topic, entries)
        self.fuse.burn(topic, entries)
        return await answer

    def reader(self, topic: str, positions: Mapping[int, int]) -> LogPortReader:
        return LogPortReader(self, self._wire.log.reader(topic, positions))

    async def partitions(self, topic: str) -> int:
        await self._pass()
        await self._wire.knock()
        return await self._wire.log.partitions(topic)

    async def begin(self, topic: str, partition: int) -> int:
        await self._pass()
        await self._wire.knock()
        return await self._wire.log.begin(topic, partition)

    async def end(self, topic: str, partition: int) -> int:
        await self._pass()
        await self._wire.knock()
        return await self._wire.log.end(topic, partition)

    async def join(self, group: str, topic: str, member: str) -> FaultyMembership:
        await self._pass()
        await self._wire.knock()
        partitions = await self._wire.log.partitions(topic)
        return self._wire.shares.join(group, member, partitions, self._process)

    async def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        await self._pass()
        await self._wire.knock()
        await self._wire.log.commit(group, topic, positions)

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        await self._pass()
        await self._wire.knock()
        return await self._wire.log.committed(group, topic)

    async def now(self) -> int:
        await self._pass()
        return await self._wire.log.now()

    async def healthy(self) -> None:
        await self._pass()

    async def close(self) -> None:
        """The wire is the simulation's, not this process's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def reach(self) -> None:
        """Raises LogUnavailable."""
        await self._pass()
        await self._wire.knock()

    async def arrive(self) -> None:
        """What stands between a record and its reader."""
        await self._pass()
        if self._lag_ms:
            await asyncio.sleep(self._lag_ms / 1000)
        await self._wire.linger()

    async def _pass(self) -> None:
        if self._wire.is_closed:
            raise LogClosed("the simulation is over")
        if self._is_cut:
            await asyncio.get_running_loop().create_future()


class LogPortReader:
    """See `eventlog.port.Reader`."""

    def __init__(self, port: LogPort, reader: MemoryReader) -> None:
        self._port = port
        self._reader = reader

    def assign(self, positions: Mapping[int, int]) -> None:
        self._reader.assign(positions)

    def positions(self) -> Mapping[int, int]:
        return self._reader.positions()

    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        await self._port.reach()
        records = await self._reader.read(max_records=max_records, wait_ms=wait_ms)
        await self._port.arrive()
        return records

    async def close(self) -> None:
        await self._reader.close()


def _fail(answer: asyncio.Future[list[Placed]], error: LogUnavailable) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # a sender that died never asks
