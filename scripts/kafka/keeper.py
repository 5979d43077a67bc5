"""Runs one broker until stdin closes: `keeper.py private|kept FOLDER COMMAND…`. Says the broker's process id first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def keep(private: bool, folder: Path, command: list[str]) -> None:
    """`private`: nobody needs the data afterwards, so the broker is killed and its folder removed."""
    me = os.getpid()

    def die_with_keeper() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != me:
            os._exit(1)

    with Path(folder, "broker.log").open("ab") as output:
        broker = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=die_with_keeper
        )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Control-C goes to the whole group; the pipe says when it is time.
        signal.signal(number, signal.SIG_IGN)
    print(broker.pid, flush=True)
    ready, _, _ = select.select([sys.stdin, os.pidfd_open(broker.pid)], [], [])
    if sys.stdin in ready:
        (broker.kill if private else broker.terminate)()
    broker.wait()
    if sys.stdin in ready and private:
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        # The last one out removes what they shared.
        if not any(folder.parent.glob("node-*")):
            (folder.parent / "cluster-id").unlink(missing_ok=True)
            folder.parent.rmdir()


if __name__ == "__main__":
    keep(sys.argv[1] == "private", Path(sys.argv[2]), sys.argv[3:])
