"""The SQLite file of a log: its tables, its connections, and what its errors mean.

One table a topic. Positions are counted for a whole topic and given out under the write lock, so that a commit which
is visible has everything below it. `ends` holds, for each partition, one more than its newest position: it says how
many partitions a topic has, what the next position is even when all records have been dropped, and who has news.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eventlog.port import LogBroken, LogClosed, LogError, LogFull, LogUnavailable
from schema.topics import Topic

VERSION = 1
FIRST = 1  # the position of a topic's first record

_TABLES = """
CREATE TABLE IF NOT EXISTS ends (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, end INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS committed (
    team TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (team, topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
"""
# SQLite's result code -> what an operator has to do.
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged: move it and its -wal away, or restore a copy",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: check the path given as LOG",
    sqlite3.SQLITE_READONLY: "the file or its directory cannot be written: check its owner and mode",
    sqlite3.SQLITE_PERM: "the file cannot be opened: check its owner and mode",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check that its directory exists and can be written",
    sqlite3.SQLITE_IOERR: "reading or writing failed: check the disk",
}
_MAKE_ROOM = "the disk is full: free space, or shorten the retention"
_RETRY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@dataclass(frozen=True, slots=True)
class Tuning:
    """`synchronous` NORMAL survives the death of the process, FULL that of the machine."""

    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    busy_timeout_ms: int = 5_000
    # The least time between two commits while several callers append: few and larger commits cost less CPU.
    tick_ms: float = 2.0
    # `append` waits while more than this is on its way to the file.
    pending_bytes: int = 16 * 2**20
    # Newest records of a followed topic that its readers in this process share.
    tail_bytes: int = 8 * 2**20
    page_cache_bytes: int = 16 * 2**20
    # The file may grow to so many pages of 4 kB; 0: as the disk allows.
    most_pages: int = 0
    # The write-ahead log is copied into the file after so many pages of 4 kB, and the commit that does it waits for the
    # disk: at 50,000 rows a second the p99 of an append grew with this number, the CPU stayed the same.
    checkpoint_pages: int = 1_000
    # A look at what other processes wrote: so soon after news, and so late after a long silence.
    poll_ms: tuple[float, float] = (5.0, 50.0)
    balance_ms: int = 200
    retention_every_ms: int = 60_000
    retention_rows: int = 2_000


@dataclass(frozen=True, slots=True)
class LogFile:
    """Where the log is, what is in it and how it is used."""

    path: Path
    topics: Mapping[str, Topic]
    tuning: Tuning

    def connect(self) -> sqlite3.Connection:
        """A connection without Python's own transactions. Raises LogError."""
        with self.translated():
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=self.tuning.busy_timeout_ms / 1000
            )
            try:
                connection.execute(f"PRAGMA synchronous = {self.tuning.synchronous}")
                connection.execute(f"PRAGMA cache_size = -{self.tuning.page_cache_bytes // 1024}")
                connection.execute(f"PRAGMA wal_autocheckpoint = {self.tuning.checkpoint_pages}")
                if self.tuning.most_pages:
                    connection.execute(f"PRAGMA max_page_count = {self.tuning.most_pages}")
                # What a burst made large is cut back at the next checkpoint.
                connection.execute("PRAGMA journal_size_limit = 67108864")
            except sqlite3.Error:
                connection.close()
                raise
            return connection

    def create(self) -> None:
        """Make what is missing, refuse what is different. Raises LogError."""
        with self.translated(), contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(parents=True)
        with self.translated(), contextlib.closing(self.connect()) as connection:
            self._use_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            self._check_version(connection)
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            for topic in self.topics.values():
                self._create_topic(connection, topic)
            connection.execute("COMMIT")

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Two processes may open a new file at once; SQLite does not wait on its own for this one lock."""
        give_up = time.monotonic() + self.tuning.busy_timeout_ms / 1000
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _code(error) not in _RETRY or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, VERSION):
            raise LogBroken(f"{self.path} is a log of version {found}, this program writes {VERSION}: upgrade it")
        if found == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise LogBroken(f"{self.path} is another program's database: give the log a file of its own")
        if found == 0:  # a full disk takes not even the same number again
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def _create_topic(self, connection: sqlite3.Connection, topic: Topic) -> None:
        (found,) = connection.execute("SELECT count(*) FROM ends WHERE topic = ?", (topic.name,)).fetchone()
        if found not in (0, topic.partitions):
            raise LogBroken(
                f"{topic.name} has {found} partitions in {self.path} and should have {topic.partitions}: the number"
                f" never changes, so set {topic.sized_by}={found}, or name another file as LOG"
            )
        connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{topic.name}" (position INTEGER PRIMARY KEY, partition INTEGER NOT NULL,'
            " at INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL)"
        )
        if not found:
            rows = [(topic.name, partition, FIRST) for partition in range(topic.partitions)]
            connection.executemany("INSERT INTO ends VALUES (?, ?, ?)", rows)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """The one place where the driver's errors become the log's."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._translation(error) from error

    def _translation(self, error: sqlite3.Error | OSError) -> LogError:
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return LogFull(f"{self.path}: {error}: {_MAKE_ROOM}")
            return LogBroken(f"{self.path}: {error}: check the path, its owner and its mode")
        code = _code(error)
        if code in _RETRY:
            return LogUnavailable(
                f"{self.path} was locked for {self.tuning.busy_timeout_ms} ms by another writer: try again"
            )
        if code == sqlite3.SQLITE_FULL:
            return LogFull(f"{self.path}: {error}: {_MAKE_ROOM}")
        if isinstance(error, sqlite3.ProgrammingError):
            return LogClosed(f"{self.path} was used after it was closed: {error}")
        return LogBroken(f"{self.path}: {error}: {_ADVICE.get(code, 'check the disk and the file')}")


def _code(error: sqlite3.Error) -> int:
    """The primary result code; extended ones carry more in the upper bits."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


# Rows go in many to a statement: fewer steps through Python, and the interpreter's lock is given up once a statement
# instead of once a row (a busy event loop can take milliseconds to give it back). 256 measured best.
_CHUNKS = (256, 64, 16, 4, 1)


def insert(connection: sqlite3.Connection, *, head: str, tail: str, width: int, values: Sequence[object]) -> None:
    """INSERT rows of `width` columns, given as one flat sequence."""
    done = 0
    for rows in _CHUNKS:
        step = rows * width
        if len(values) - done < step:
            continue
        row = "(" + ",".join("?" * width) + ")"
        statement = f"{head} VALUES {','.join([row] * rows)} {tail}"
        while len(values) - done >= step:
            connection.execute(statement, values[done : done + step])
            done += step
