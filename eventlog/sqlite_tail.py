"""What this process knows of the log's newest records, and who is to be woken when there are more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from eventlog.port import LogError, Record
from eventlog.sqlite_file import FIRST, LogFile
from eventlog.sqlite_work import Slice

_NOTHING_SEEN = -1


class Waiting(Protocol):
    """A reader that has read everything so far."""

    def notice(self, ends: Mapping[int, int]) -> None:
        """These partitions may have more."""

    def rouse(self) -> None:
        """Something else happened: look."""


class Tail:
    """One topic. The slices it keeps follow each other without a gap, so whoever stands at or above `first` and below
    `stop` finds everything here; a transaction of another process makes a gap, and the tail begins anew behind it."""

    def __init__(self, limit_bytes: int) -> None:
        self.first = FIRST
        self.stop = FIRST
        self.ends: dict[int, int] = {}
        self.waiting: set[Waiting] = set()
        self._limit_bytes = limit_bytes
        self.size = 0
        self._slices: deque[Slice] = deque()

    def extend(self, new: Slice) -> None:
        if new.start != self.stop or not new.records:
            self._begin_at(new.start if new.records else new.stop)
        if new.records:
            self._slices.append(new)
            self.size += new.size
            self.stop = new.stop
        while self.size > self._limit_bytes:
            self.size -= self._slices.popleft().size
            self.first = self._slices[0].start if self._slices else self.stop
        self.learn(new.ends)

    def learn(self, ends: Mapping[int, int]) -> None:
        """These partitions end there, or later."""
        news = {partition: end for partition, end in ends.items() if end > self.ends.get(partition, FIRST)}
        if news:
            self.ends |= news
            for reader in tuple(self.waiting):
                reader.notice(news)

    def take(self, positions: Mapping[int, int], low: int, limit: int) -> tuple[list[Record], int]:
        """Records from `low` on (kept here: see above), and the position below which nothing is left to read."""
        unread: list[Slice] = []
        for piece in reversed(self._slices):
            if piece.stop <= low:
                break
            unread.append(piece)
        taken: list[Record] = []
        for piece in reversed(unread):
            if not positions.keys().isdisjoint(piece.ends):
                taken += wanted(piece.records, positions)
            if len(taken) >= limit:
                del taken[limit:]
                return taken, taken[-1].position + 1
        return taken, self.stop

    def _begin_at(self, position: int) -> None:
        self._slices.clear()
        self.size = 0
        self.first = self.stop = position


def wanted(records: Sequence[Record], positions: Mapping[int, int]) -> list[Record]:
    """Those that a reader standing at `positions` has not read."""
    never = 2**63
    return [record for record in records if record.position >= positions.get(record.partition, never)]


class Watcher:
    """A thread that sees what other processes committed. `news` and `failed` are called on the event loop."""

    def __init__(
        self,
        file: LogFile,
        *,
        news: Callable[[Mapping[str, Mapping[int, int]]], None],
        failed: Callable[[LogError], None],
    ) -> None:
        self._file = file
        self._news = news
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._connection = file.connect()
        self._thread = threading.Thread(target=self._run, name="log-watcher", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        soonest, latest = self._file.tuning.poll_ms
        pause_ms, version = soonest, _NOTHING_SEEN
        # When the loop is gone nobody is left to tell.
        with contextlib.closing(self._connection), contextlib.suppress(RuntimeError):
            while not self._stop.wait(pause_ms / 1000):
                found = self._look(version)
                pause_ms = soonest if found != version else min(pause_ms * 1.25, latest)
                version = found

    def _look(self, version: int) -> int:
        """The file's data version, which another connection's commit changes; tells what changed."""
        try:
            with self._file.translated():
                (found,) = self._connection.execute("PRAGMA data_version").fetchone()
                if found != version:
                    self._loop.call_soon_threadsafe(self._news, self._ends())
                return int(found)
        except LogError as error:
            self._loop.call_soon_threadsafe(self._failed, error)
            return _NOTHING_SEEN

    def _ends(self) -> dict[str, dict[int, int]]:
        ends: dict[str, dict[int, int]] = {}
        for topic, partition, end in self._connection.execute("SELECT topic, partition, end FROM ends"):
            ends.setdefault(topic, {})[partition] = end
        return ends
