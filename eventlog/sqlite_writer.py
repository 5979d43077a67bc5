"""The thread that writes: everything asked for while it wrote the last transaction goes into the next."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence, Set

from eventlog.port import LogBroken, LogClosed, LogError
from eventlog.sqlite_file import LogFile
from eventlog.sqlite_work import Append, Commit, Request, Slice, Trim, append_all, commit_positions, probe, trim

# No transaction holds the write lock for more than this, whatever waits.
_TRANSACTION_BYTES = 4 * 2**20

Done = Callable[[Sequence[Request], Sequence[Slice], LogError | None], None]


class Writer:
    """Owns the thread and its connection. `done` is called on the event loop, once a transaction."""

    def __init__(self, file: LogFile, *, now: Callable[[], int], followed: Set[str], done: Done) -> None:
        self._file = file
        self._now = now
        self._followed = followed
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._connection = file.connect()
        self._pending: list[Request] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Never waits. Raises LogClosed."""
        with self._changed:
            if self._stopping:
                raise LogClosed(f"{self._file.path} was used after it was closed")
            self._pending.append(request)
            self._changed.notify()

    async def stop(self) -> None:
        """Write what is pending, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await self._stopped.wait()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._connection):
            earliest = 0.0
            while batch := self._gather(earliest):
                slices, error = self._write(batch)
                # One caller who waits for each answer is served at once; many share the next transaction.
                earliest = time.monotonic() + self._file.tuning.tick_ms / 1000 if len(batch) > 1 else 0.0
                if not self._tell(self._done, batch, slices, error):
                    return
        self._tell(self._stopped.set)

    def _gather(self, earliest: float) -> list[Request]:
        """The next requests, at least one; none when stopped and all is written."""
        with self._changed:
            while not self._stopping and (not self._pending or time.monotonic() < earliest):
                # Before `earliest` requests only gather: they need not wake anybody.
                self._changed.wait(earliest - time.monotonic() if self._pending else None)
            batch, size = 0, 0
            while batch < len(self._pending) and size < _TRANSACTION_BYTES:
                request = self._pending[batch]
                size += request.size if isinstance(request, Append) else 0
                batch += 1
            taken = self._pending[:batch]
            del self._pending[:batch]
            return taken

    def _write(self, batch: Sequence[Request]) -> tuple[list[Slice], LogError | None]:
        try:
            with self._file.translated():
                self._connection.execute("BEGIN IMMEDIATE")
                slices = self._apply(batch)
                self._connection.execute("COMMIT")
                return slices, None
        except LogError as error:
            self._undo()
            return [], error
        except Exception as error:  # whatever it is, those who wait must hear of it
            self._undo()
            return [], LogBroken(f"{self._file.path}: the log could not be written: {error!r}: this is a defect")

    def _apply(self, batch: Sequence[Request]) -> list[Slice]:
        at = self._now()
        appends: dict[str, list[Append]] = {}
        for request in batch:
            if isinstance(request, Append):
                appends.setdefault(request.topic, []).append(request)
            elif isinstance(request, Commit):
                commit_positions(self._connection, request)
            elif isinstance(request, Trim):
                trim(self._connection, request)
            else:
                probe(self._connection)
        return [
            append_all(self._connection, topic, of_topic, at=at, followed=topic in self._followed)
            for topic, of_topic in appends.items()
        ]

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _tell(self, call: Callable[..., None], *arguments: object) -> bool:
        """False when the event loop is gone, and with it everybody who could want the answer."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return False
        return True
