"""Apache Kafka on this machine, without Docker: `python scripts/local_kafka.py up --nodes 1|3`, or `LocalKafka`.

Needs Java 17 or later; Maven fetches the jars once, and each is compared with `scripts/kafka/sha256.txt`. Every broker
has a keeper, a small process at the end of a pipe from this one: when the pipe closes, for whatever reason, the keeper
ends the broker, and the kernel ends it when the keeper is killed. So no broker outlives who started it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import random
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

CHECKOUT = str(Path(__file__).resolve().parent.parent)
if CHECKOUT not in sys.path:  # as when this file is run, or loaded by its path
    sys.path.append(CHECKOUT)
from scripts.kafka.broker_jars import KafkaError, jars, missing  # noqa: E402
from scripts.kafka.node import SHORT_LIVED, Node, tail  # noqa: E402

__all__ = ["KafkaError", "LocalKafka", "Node", "jars", "main", "missing", "up"]

# A cold machine needs 3 s for one node and 7 s for three; a busy one several times that.
START_S = 90.0
HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")


class LocalKafka:
    """One or three brokers on free ports of 127.0.0.1. Without a `folder` the data is removed at the end."""

    def __init__(self, nodes: int = 1, folder: Path | None = None, *, steady: bool = False) -> None:
        """`steady`: for who measures; the broker's code is compiled as well as a real one's, after half a minute."""
        if nodes not in (1, 3):
            raise ValueError(f"1 or 3 nodes, not {nodes}")
        self._count = nodes
        self._given = folder
        self._machine = HEAP if steady else (*HEAP, SHORT_LIVED)
        self._folder: Path | None = None
        self._classpath = ""
        self.nodes: list[Node] = []

    @property
    def bootstrap(self) -> str:
        """host:port, comma separated."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> LocalKafka:
        """Returns when every node serves; harmless when repeated. Raises KafkaError."""
        if self.nodes:
            return self
        if problem := missing():
            raise KafkaError(problem)
        self._classpath = f"{jars()}/*"
        for attempt in range(3):
            try:
                self._start()
                break
            except KafkaError as error:
                self.stop()
                # Somebody took a port between our look and the broker's.
                if attempt == 2 or "Address already in use" not in str(error):
                    raise
            except BaseException:
                self.stop()
                raise
        return self

    def kill(self, node: int) -> None:
        """kill -9 of node 1, 2 or 3."""
        self.nodes[node - 1].kill()

    def restart(self, node: int, *, wait: bool = True) -> None:
        """Start a killed node again, on its port and its data; `wait` until it serves."""
        self.nodes[node - 1].start(self._classpath, private=self._given is None)
        if wait:
            self._await([self.nodes[node - 1]])

    def stop(self) -> None:
        """Harmless when repeated."""
        for node in self.nodes:
            node.stop()
        self.nodes = []
        if self._folder is not None and self._given is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self._folder = self._given or Path(tempfile.mkdtemp(prefix="calltape-kafka-"))
        ports = _free_ports(2 * self._count)
        self.nodes = [
            Node(i + 1, self._folder, ports[2 * i], ports[2 * i + 1], self._machine) for i in range(self._count)
        ]
        cluster = _cluster_id(self._folder)
        for format_process in [node.prepare(self.nodes, self._classpath, cluster) for node in self.nodes]:
            told, _ = format_process.communicate(timeout=START_S)
            if format_process.returncode != 0:
                raise KafkaError(f"the broker's folder could not be prepared: {told.decode()[-1500:]}")
        for node in self.nodes:
            node.start(self._classpath, private=self._given is None)
        self._await(self.nodes)

    def _await(self, nodes: list[Node]) -> None:
        end = time.monotonic() + START_S
        for node in nodes:
            while not node.answers():
                if time.monotonic() > end:
                    raise KafkaError(f"no answer after {START_S:.0f} s: {tail(node.output)}")
                time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Below the range from which the kernel takes ports for connections: a killed broker's port stays free for it."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = random.SystemRandom().randrange(20_000, 32_000)
            with contextlib.suppress(OSError):
                one = held.enter_context(socket.socket())
                one.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def _cluster_id(folder: Path) -> str:
    """16 random bytes as Kafka writes them; a kept folder keeps its own."""
    note = folder / "cluster-id"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Below 0xF8 the first character is no `-`, which the tool would take for an option.
        drawn = bytes([os.urandom(1)[0] % 0xF8]) + os.urandom(15)
        note.write_text(base64.urlsafe_b64encode(drawn).decode().rstrip("="))
    return note.read_text()


@contextlib.contextmanager
def _signals() -> Iterator[IO[bytes]]:
    """A pipe that has something to read once SIGTERM or SIGINT came."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    signal.set_wakeup_fd(theirs)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with os.fdopen(ours, "rb") as reading:
        yield reading


def up(nodes: int, folder: Path | None) -> None:
    """Runs until SIGTERM, SIGINT or the end of stdin."""
    with LocalKafka(nodes, folder) as kafka, _signals() as told:
        print(kafka.bootstrap, flush=True)
        while True:
            ready, _, _ = select.select([sys.stdin, told], [], [])
            if told in ready or not os.read(sys.stdin.fileno(), 4096):
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb = parser.add_subparsers(required=True).add_parser("up", help="run until SIGTERM or the end of stdin")
    verb.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    verb.add_argument("--folder", type=Path, default=None, help="keep the data here; default: a private folder")
    chosen = parser.parse_args()
    try:
        up(chosen.nodes, chosen.folder)
    except KafkaError as error:
        sys.exit(f"local_kafka: {error}")


if __name__ == "__main__":
    main()
