"""How a Kafka cluster is reached, and the limits of our log on it; without the driver, so that anybody may build it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class KafkaTuning:
    """How to reach the cluster, and our limits. Times in ms."""

    prefix: str = ""  # before the name of every topic and group: several calltapes on one cluster
    username: str = ""
    password: str = field(default="", repr=False)
    mechanism: Mechanism = "SCRAM-SHA-512"
    tls: bool = False
    ca: Path | None = None  # of the brokers' certificates; None: the system's
    # A dead member's partitions move after this long. Below 6 s the brokers need `group.min.session.timeout.ms`.
    session_ms: int = 6000
    open_ms: int = 15_000  # for a broker to answer when the log is opened
    ask_ms: int = 5000  # for an answer to a question: where a partition ends, what was committed
    # An append is refused after this long. A broker's fail-over takes 2 to 9 s and the restart of a single one 14 s
    # (measured): in these nobody appends twice. Beyond, callers have to know.
    append_ms: int = 30_000
    # How long the driver waits for the answer to one request. A short time-out makes it send a batch again that is
    # still under way; with 5 s, and a broker that was away for 15, batches were reordered (measured).
    request_ms: int = 40_000
    close_ms: int = 5000  # for what is pending when the log is closed
    pending_bytes: int = 32 << 20  # appends wait while so much is on its way
    fetch_bytes: int = 256 << 10  # of each partition, that a reader holds ready
    # A reader asks again after this long without news. News are answered at once; but a partition that was left
    # unread while the others were asked for waits for this.
    fetch_wait_ms: int = 200

    @property
    def heartbeat_ms(self) -> int:
        """At most a quarter of the session; short, because a member learns of a rebalance by its heartbeat."""
        return min(500, self.session_ms // 4)
