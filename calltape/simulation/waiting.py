"""Tells when a run is over: all calls sealed, all that hangs on a seal said, and all of it in the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from calltape.simulation.database import Database
from calltape.simulation.plan import Plan
from eventlog.memory import MemoryLog
from schema.admit import Admission, admit
from schema.envelope import AnyEvent
from schema.failure import WorkFailed
from schema.insight import CallSummarised, RecordingSaved
from schema.registry import decode
from schema.topics import EVENTS

LOOK_S = 0.5
REST_S = 5.0  # after the end, for what still comes too late
NEVER_S = 60.0  # a call that has not begun by then never will


class Waiting:
    """Reads the log as it grows."""

    def __init__(self, plan: Plan, call_ids: Sequence[str], log: MemoryLog, database: Database) -> None:
        self._plan = plan
        self._call_ids = call_ids
        self._records = log._shelves[EVENTS.name].partitions[0].records
        self._database = database
        self._admissions: dict[str, Admission] = {}
        self._late: dict[str, set[str]] = {}  # life -> roles whose late work is done
        self._read = 0

    async def wait(self, calling: Sequence[asyncio.Task[None]], longest_s: float) -> bool:
        """Until the end, at most `longest_s` of virtual time; whether it came."""
        loop = asyncio.get_running_loop()
        while loop.time() < longest_s:
            await asyncio.sleep(LOOK_S)
            self._read_on()
            if not (self._is_over(loop.time()) and all(task.done() for task in calling)):
                continue
            if loop.time() > self._plan.until_s / 3:
                await asyncio.sleep(REST_S)
                self._read_on()
                return await self._settled(loop.time() + longest_s)
        return False

    async def _settled(self, until_s: float) -> bool:
        """What came in the last moments, a new life of a call even, is waited for, too."""
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            self._read_on()
            if self._is_over(loop.time()) and self._is_projected():
                return True
            await asyncio.sleep(LOOK_S / 10)
        return False

    def _read_on(self) -> None:
        for record in self._records[self._read :]:
            event = decode(record.value)
            admission = admit(self._admissions.get(event.call_id, Admission()), event)
            if admission is not None:
                self._admissions[event.call_id] = admission
                self._note_late(event, admission.life)
        self._read = len(self._records)

    def _note_late(self, event: AnyEvent, life: str) -> None:
        if isinstance(event, CallSummarised | RecordingSaved | WorkFailed):
            self._late.setdefault(life, set()).add(event.role)

    def _is_over(self, now_s: float) -> bool:
        wanted = {"summariser", "recorder"} if self._plan.records else {"summariser"}
        for call_id in self._call_ids:
            admission = self._admissions.get(call_id)
            if admission is None:
                if now_s <= NEVER_S:
                    return False
            elif not admission.sealed or not wanted <= self._late.get(admission.life, set()):
                return False
        return True

    def _is_projected(self) -> bool:
        return not self._database.is_busy and self._database.committed.get(0, 0) >= len(self._records)
