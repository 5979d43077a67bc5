"""One broker of Apache Kafka as a process of its own, at the end of a pipe from this one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.kafka.broker_jars import KafkaError

KEEPER = Path(__file__).resolve().parent / "keeper.py"
# Serves sooner, and costs more for as long as it runs: for tests, whose brokers live for seconds.
SHORT_LIVED = "-XX:TieredStopAtLevel=1"
LOGGING = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


class Node:
    """One broker, which is a controller too."""

    def __init__(self, number: int, folder: Path, port: int, controller_port: int, machine: tuple[str, ...]) -> None:
        self.number = number
        self.folder = folder / f"node-{number}"
        self.port = port
        self.controller_port = controller_port
        self._machine = machine  # what the Java machine is told
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def output(self) -> Path:
        return self.folder / "broker.log"

    def prepare(self, nodes: list[Node], classpath: str, cluster: str) -> subprocess.Popen[bytes]:
        """Format the node's folder; the process that does it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(LOGGING)
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in _properties(self, nodes).items()))
        java = ("java", "-Xmx128m", "-XX:+UseSerialGC", SHORT_LIVED, "-cp", classpath)
        tool = ("kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster, "-c", str(properties))
        return subprocess.Popen([*java, *tool], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def start(self, classpath: str, *, private: bool) -> None:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        java = (
            "java",
            *self._machine,
            logging,
            "-cp",
            classpath,
            "kafka.Kafka",
            str(self.folder / "server.properties"),
        )
        keep = (sys.executable, "-I", str(KEEPER), "private" if private else "kept", str(self.folder))
        self._keeper = subprocess.Popen([*keep, *java], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._keeper.stdout is not None
        self._pid = int(self._keeper.stdout.readline())

    def answers(self) -> bool:
        """Whether it serves requests. Raises KafkaError when it has died."""
        if self._keeper is None or self._keeper.poll() is not None:
            raise KafkaError(f"broker {self.number} ended: {tail(self.output)}")
        # ApiVersions, version 0, without a client's name: every broker answers it.
        question = struct.pack(">ihhih", 10, 18, 0, 1, -1)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(question)
                return len(connection.recv(8)) == 8
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9. Harmless when it is dead."""
        if self._keeper is not None and self._keeper.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._reap()

    def _reap(self) -> None:
        if self._keeper is not None:
            self._keeper.wait(timeout=60)
            for end in (self._keeper.stdin, self._keeper.stdout):
                if end is not None:
                    end.close()
            self._keeper = None


def _properties(node: Node, nodes: list[Node]) -> Mapping[str, object]:
    copies = len(nodes)
    voters = ",".join(f"{one.number}@127.0.0.1:{one.controller_port}" for one in nodes)
    common = {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": node.folder / "data",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": min(copies, 2),
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": min(copies, 2),
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "auto.create.topics.enable": "false",
        # Expired segments are dropped while a test waits for it.
        "log.retention.check.interval.ms": 500,
        "log.segment.delete.delay.ms": 100,
        # A dead broker is noticed after 2 s, not 9: others take over, and it may come back.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 400,
        "controller.quorum.election.timeout.ms": 500,
        "controller.quorum.fetch.timeout.ms": 1000,
    }
    return common | ({"min.insync.replicas": 2} if copies > 1 else {})


def tail(path: Path) -> str:
    return path.read_text(errors="replace")[-1500:] if path.exists() else "it said nothing"
