"""Groups beside an SQLite log: whoever holds a partition's file lock owns it, and the kernel frees a dead owner's.

No leases and no heartbeats. `LOG.groups/<group>@<topic>/` holds one file for each partition and one for each member;
a member is alive as long as its own file is locked. Files stay; only locks come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from eventlog.groups import quota
from eventlog.port import LogClosed, LogError, LogUnavailable
from eventlog.sqlite_file import LogFile

T = TypeVar("T")

_MEMBER = "member-"
# A look at whether a member lives takes its lock for a moment; joining tries again for so long.
_JOIN_TRIES = 50
_JOIN_PAUSE_S = 0.01


class FileLock:
    """An exclusive lock on a file, held until released or until this process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """False when somebody else holds it."""
        # Never inherited by a program that is started from here: it would keep the lock when this process dies.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held.add(self)
        return True

    def release(self) -> None:
        """Harmless when repeated."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def write(self, text: str) -> None:
        """Leave a note in the file for whoever locks it next."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_locks() -> None:
    """A forked child shares its parent's locks, and would keep them when the parent dies."""
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_locks)


def is_locked(path: Path) -> bool:
    """Whether a process that runs holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Seat:
    """A member's files. Its methods touch the disk: they run in a thread, one at a time."""

    def __init__(self, folder: Path, name: str, partitions: int) -> None:
        self.folder = folder
        self.name = name
        self.partitions = partitions
        self._own = FileLock(folder / (_MEMBER + quote(name, safe="")))
        self._locks: dict[int, FileLock] = {}

    def sit(self) -> bool:
        """Be a member. False when one of this name lives."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._own.take()

    def share_before(self) -> list[int]:
        """What a member of this name held when it was last seen."""
        note = (self.folder / (_MEMBER + quote(self.name, safe=""))).read_text()
        return [int(part) for part in note.split() if part.isdecimal() and int(part) < self.partitions]

    def quota(self) -> int:
        """How many partitions this member may hold, of those who live now."""
        others = (path for path in self.folder.glob(_MEMBER + "*") if path.name != _MEMBER + quote(self.name, safe=""))
        living = {path.name for path in others if is_locked(path)} | {_MEMBER + quote(self.name, safe="")}
        return quota(_MEMBER + quote(self.name, safe=""), living, self.partitions)

    def gain(self, wanted: Iterable[int], most: int) -> list[int]:
        """Lock at most so many of these partitions, in this order."""
        gained: list[int] = []
        for partition in wanted:
            if len(gained) >= most:
                break
            lock = FileLock(self.folder / f"partition-{partition}")
            if partition not in self._locks and lock.take():
                self._locks[partition] = lock
                gained.append(partition)
        return gained

    def free(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._locks.pop(partition).release()

    def note(self, partitions: Iterable[int]) -> None:
        self._own.write(" ".join(map(str, partitions)))

    def rise(self) -> None:
        """Give up everything."""
        self.free(tuple(self._locks))
        self._own.release()


class SqliteMembership:
    """See `port.Membership`. `_offered` is what `assigned` says, the oldest first; `_held` may be more: a withdrawn
    partition stays locked until the member, having seen that, asks for changes again."""

    def __init__(self, file: LogFile, seat: Seat) -> None:
        self._file = file
        self._seat = seat
        self._offered: list[int] = []
        self._held: set[int] = set()
        self._times: Counter[int] = Counter()
        self._wanted: list[int] = []
        self._seen: frozenset[int] = frozenset()
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._left = False
        self._fault: LogError | None = None
        self._balancing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sit down and take a first share. Raises LogUnavailable when the name is taken, and what a lock's disk raises;
        then nothing is held."""
        await self._sit()
        try:
            before = await self._disk(self._seat.share_before)
            self._wanted = before + [number for number in range(self._seat.partitions) if number not in before]
            await self._balance()
        except BaseException:
            await self.leave()
            raise
        self._balancing = asyncio.create_task(self._keep_balanced(), name="log-balance")

    async def _sit(self) -> None:
        for _ in range(_JOIN_TRIES):
            if await self._disk(self._seat.sit):
                break
            await asyncio.sleep(_JOIN_PAUSE_S)
        else:
            raise LogUnavailable(
                f"member {self._seat.name!r} of {self._seat.folder.name} is still running: stop it, or give each"
                " process a name of its own"
            )

    @property
    def assigned(self) -> frozenset[int]:
        self._seen = frozenset(self._offered)
        return self._seen

    @property
    def given(self) -> Mapping[int, int]:
        return {partition: self._times[partition] for partition in self._offered}

    async def changed(self, *, wait_ms: int) -> bool:
        await self._let_go()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while self._seen == frozenset(self._offered):
                    self._usable()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self) -> None:
        if not self._left:
            self._left = True
            self._offered.clear()
            self._wake.set()
            self._news.set()
            if self._balancing is not None:
                await self._balancing
            await self._disk(self._seat.rise)

    def _usable(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._left:
            raise LogClosed(f"member {self._seat.name!r} has left its group")

    async def _keep_balanced(self) -> None:
        while not self._left:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._file.tuning.balance_ms / 1000):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if not self._left:
                    await self._balance()
                self._fault = None
            except LogError as error:
                self._fault = error
                self._news.set()

    async def _balance(self) -> None:
        most = await self._disk(self._seat.quota)
        if self._left:
            most = 0
        before = list(self._offered)
        # The youngest go back first: they were somebody else's a moment ago.
        del self._offered[most:]
        self._offered += sorted(self._held.difference(before))[: most - len(self._offered)]
        if len(self._offered) < most:
            gained = await self._disk(lambda: self._seat.gain(self._wanted, most - len(self._offered)))
            self._held.update(gained)
            self._times.update(gained)
            self._offered += [] if self._left else gained
        if self._offered != before and not self._left:
            await self._disk(lambda: self._seat.note(self._offered))
            self._news.set()

    async def _let_go(self) -> None:
        withdrawn = self._held.difference(self._offered)
        if withdrawn and self._seen == frozenset(self._offered) and not self._left:
            self._held -= withdrawn
            await self._disk(lambda: self._seat.free(withdrawn))

    async def _disk(self, work: Callable[[], T]) -> T:
        """To its end, also when cancelled: a lock taken and forgotten would be held for ever."""
        return await asyncio.shield(asyncio.to_thread(self._translated, work))

    def _translated(self, work: Callable[[], T]) -> T:
        with self._file.translated():
            return work()
