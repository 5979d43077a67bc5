"""One role's process: reads its share of the calls, keeps their timers and its checkpoint.

The order of one step, which everything rests on:
1. read a batch and fold it inline;
2. act on what was admitted, ask what is owed, append it;
3. ring the timers that are due, but only after reading to the end;
4. append again what was neither refused nor read back;
5. commit the start of the oldest call that is not over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from eventlog.port import Log, LogError, LogUnavailable, Membership, Reader
from schema import topics
from schema.turn import TimerRang
from workers.appender import Appender
from workers.calls import Calls
from workers.case import Case, RoleWorker

logger = structlog.get_logger()
S = TypeVar("S")

STOOD_STILL_MS = 1_000  # many times what a step takes


@dataclass(frozen=True, slots=True)
class RuntimeLimits:
    """Times in ms of the log's clock."""

    repeat_ms: int = 2000  # an append neither refused nor read back
    readopt_ms: int = 30_000  # a decision owed for so long by an owner that does nothing
    commit_ms: int = 2000
    wait_ms: int = 100  # for records, when no timer is nearer
    retry_ms: int = 100
    # Once the log was away nobody is silent before they had time to say what they kept meanwhile: ingest tries again
    # at least once a second.
    catch_up_ms: int = 3000
    slow_ms: int = 1000  # a log that needs so long was away
    batch: int = 1000


class Runtime(Generic[S]):
    """Runs one role over the partitions its group gives this member."""

    def __init__(
        self,
        log: Log,
        role: RoleWorker[S],
        *,
        instance: str,
        incarnation: str,
        now: Callable[[], int],
        new_id: Callable[[], str],
        appender: Appender | None = None,
        limits: RuntimeLimits | None = None,
    ) -> None:
        """`instance` is static, `incarnation` new for every process; `now` is the log's clock in ms."""
        self.log = log
        self.role = role
        self.member = f"{role.name}:{instance}"
        self.now = now
        self.new_id = new_id
        self.limits = limits or RuntimeLimits()
        self.appender = appender or Appender(log)
        owner = f"{self.member}:{incarnation}"
        self.calls: Calls[S] = Calls(role, self.appender, owner=owner, now=now, new_id=new_id)
        self._ends: dict[int, int] = {}  # assigned partition -> the end to reach before it is live
        self._given: dict[int, int] = {}  # assigned partition -> how often it was given to us when we took it
        self._committed: dict[int, int] = {}
        self._commit_at = 0
        self._quiet_until = 0  # no timer rings before
        self._stepped_at = self._claims_from = 0
        self._was_away = False  # the log, when it was last asked whether it takes records
        self._reader: Reader | None = None

    async def run(self) -> None:
        """Work until cancelled. Raises LogBroken and LogClosed, in an ExceptionGroup."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.appender.run())
            tasks.create_task(self._work())
            for work in self.beside():
                tasks.create_task(work)

    def beside(self) -> Sequence[Coroutine[None, None, None]]:
        """What else the role's process runs, such as reading calls.media."""
        return ()

    async def _work(self) -> None:
        membership = await self._join()
        self._reader = self.log.reader(topics.EVENTS.name, {})
        try:
            while True:
                try:
                    await self._step(membership, self._reader)
                except LogUnavailable as error:
                    logger.warning("log unavailable, trying again", role=self.role.name, error=str(error))
                    await self._pause()
        finally:
            self._commit_at = 0
            with suppress(LogError):  # who comes next reads a little more
                await self._commit(self._reader)
            self.calls.release(self._ends)
            await self._reader.close()
            await membership.leave()

    async def _join(self) -> Membership:
        while True:
            try:
                return await self.log.join(self.role.name, topics.EVENTS.name, self.member)
            except LogUnavailable as error:
                logger.warning("cannot join, trying again", role=self.role.name, error=str(error))
                await self._pause()

    async def _pause(self) -> None:
        """The log is away: its silence is nobody's."""
        self._was_away = True
        await asyncio.sleep(self.limits.retry_ms / 1000)
        self._quiet_until = self.now() + self.limits.catch_up_ms

    async def _step(self, membership: Membership, reader: Reader) -> None:
        if membership.assigned != frozenset(self._ends) or membership.given != self._given:
            await self._assign(dict(membership.given), reader)
            # What was withdrawn is another's from here on: its calls were dropped above.
            await membership.changed(wait_ms=0)
        if not self._ends:
            await membership.changed(wait_ms=self.limits.wait_ms)
            return
        records = await reader.read(max_records=self.limits.batch, wait_ms=self._wait_ms())
        for record in records:
            self.calls.read(record)
        self._notice_ends(reader)
        self.calls.pump_touched()
        await self._ring(reader)
        self._repeat_and_readopt()
        await self._commit(reader)

    async def _assign(self, given: dict[int, int], reader: Reader) -> None:
        # What left and came back unseen was perhaps another's meanwhile: lost and gained.
        kept = {p for p in self._ends if p in given and given[p] == self._given.get(p)}
        self.calls.release(self._ends.keys() - kept)
        positions = {p: position for p, position in reader.positions().items() if p in kept}
        # At once: a commit on the way out must not pass calls that were just dropped.
        self._ends = {p: end for p, end in self._ends.items() if p in kept}
        reader.assign(positions)
        ends = dict(self._ends)
        committed = await self.log.committed(self.role.name, topics.EVENTS.name)
        gained = sorted(given.keys() - kept)
        # All at once: on a broker the questions about 24 partitions travel together.
        await asyncio.gather(*(self.before_end(partition) for partition in gained))
        begins = await asyncio.gather(*(self.log.begin(topics.EVENTS.name, partition) for partition in gained))
        found = await asyncio.gather(*(self.log.end(topics.EVENTS.name, partition) for partition in gained))
        for partition, begin, end in zip(gained, begins, found, strict=True):
            positions[partition], ends[partition] = max(begin, committed.get(partition, 0)), end
        reader.assign(positions)
        self._ends = ends
        self._given = given
        self._committed = dict(committed)
        self._notice_ends(reader)

    async def before_end(self, partition: int) -> None:
        """Called for a gained partition before the end of its events is looked up."""

    def _notice_ends(self, reader: Reader) -> None:
        if len(self.calls.live) == len(self._ends):
            return
        positions = reader.positions()
        for partition, end in self._ends.items():
            if partition not in self.calls.live and positions[partition] >= end:
                self.calls.caught_up(partition)

    def _wait_ms(self) -> int:
        """Until the next timer, at most the limit."""
        now = self.now()
        # A timer cannot ring while something is in flight; what is read back wakes the reader by itself.
        ready = [case for case in self.calls.cases.values() if case.owned and not case.flight and not case.held]
        due = [max(wait.until, self._quiet_until) - now for case in ready for wait in case.waits]
        return max(1, min([self.limits.wait_ms, *due]))

    async def _ring(self, reader: Reader) -> None:
        """Timers are judged by the log's time, and only by who has read to the log's end."""
        now = self.now()
        if now < self._quiet_until:
            return
        for case in list(self.calls.cases.values()):
            if self.calls.due(case, now) is None:
                continue
            if await self.log.end(topics.EVENTS.name, case.partition) > reader.positions().get(case.partition, 0):
                continue
            wait = self.calls.due(case, now)
            if wait is not None and wait.of_absence and not await self._takes_records():
                return
            if wait is not None:
                due = TimerRang(id=self.new_id(), call_id=case.call_id, name=wait.name, due=wait.until)
                self.calls.append(case, [due])

    async def _takes_records(self) -> bool:
        """Whether nobody's word is kept from the log: what can be read may still refuse to be written."""
        asked = self.now()
        await self.log.healthy()
        if self.now() - asked < self.limits.slow_ms and not self._was_away:
            return True
        # It is back just now: others have yet to say what they kept.
        self._was_away = False
        self._quiet_until = self.now() + self.limits.catch_up_ms
        return False

    def _repeat_and_readopt(self) -> None:
        now = self.now()
        if now - self._stepped_at >= STOOD_STILL_MS:
            # Who stood still may have been replaced, and learns it within a session.
            self._claims_from = now + self.limits.readopt_ms if self._stepped_at else 0
        self._stepped_at = now
        for case in self.calls.cases.values():
            if case.flight and now - case.sent_at >= self.limits.repeat_ms:
                self.calls.repeat(case)
            if case.partition not in self.calls.live:
                continue  # half read: what it owes is not known yet
            if not case.owned and not case.wants_adoption and self._is_neglected(case, now):
                case.owed_since, case.lost_at, case.wants_adoption = 0, 0, True
                self.calls.pump(case)

    def _is_neglected(self, case: Case[S], now: int) -> bool:
        """Whether the call's owner has let a decision or a timer wait for too long, or cannot be its owner any more:
        one that had lost the partition to us, woke up and adopted its calls, says nothing more of them.
        """
        owed_since = min([wait.until for wait in case.waits], default=now)
        lost_at = case.lost_at if case.lost_at and now >= self._claims_from else now
        return now - min(owed_since, case.owed_since or now, lost_at) >= self.limits.readopt_ms

    async def _commit(self, reader: Reader) -> None:
        if not self._ends or self.now() < self._commit_at:
            return
        self._commit_at = self.now() + self.limits.commit_ms
        # A reader need not notice that the log is away; whoever is about to judge a silence has to.
        await self.log.end(topics.EVENTS.name, next(iter(self._ends)))
        oldest = dict(reader.positions())
        for case in self.calls.cases.values():
            oldest[case.partition] = min(oldest.get(case.partition, case.begin), case.begin)
        fresh = {p: position for p, position in oldest.items() if self._committed.get(p, -1) < position}
        if fresh:
            await self.log.commit(self.role.name, topics.EVENTS.name, fresh)
            self._committed.update(fresh)
