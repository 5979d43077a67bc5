"""The state of a call's life: values only, changed by `workers.lifecycle.fold`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

SEAL_WITHIN_MS = 10 * 60_000


@dataclass(frozen=True, slots=True)
class LifeRules:
    """Limits of a call, in ms of log time."""

    grace_ms: int = 45_000  # without a stream
    idle_ms: int = 5 * 60_000  # no message on any stream
    longest_ms: int = 24 * 3_600_000
    # Ingest measures every 5 s, frames or not: three missing reports mean that nobody holds the socket.
    ingest_silent_ms: int = 15_000
    seal_ms: int = SEAL_WITHIN_MS
    transfer_ms: int = 60_000  # to ask the carrier as often as it is asked


class Line(msgspec.Struct, frozen=True):
    """One stream of the call."""

    id: str
    epoch: int
    door: str
    mailbox: int
    encoding: str  # of what goes out
    sample_rate: int
    position: int
    reported_at: int  # last sign of the process that holds it
    frames: int = 0
    gone: str = ""  # why it is no more; empty while open
    last_sequence: int = 0
    outdated: bool = False  # told to close
    silent: bool = False  # its process has reported nothing for too long
    heard: bool = False
    heard_whole: bool = True
    channels: int = 1  # of what goes out
    packet_ms: int = 0  # of one Opus packet; 0: its usual length
    degraded: bool = False  # the wire loses or delays too much


class Life(msgspec.Struct, frozen=True):
    """Everything that decides whether the call lives."""

    rules: LifeRules = LifeRules()
    call_id: str = ""
    tenant_id: str = "default"
    channel: str = ""
    started_id: str = ""
    started_at: int = 0
    streamless_at: int = 0  # since when no stream is open
    active_at: int = 0  # last message on any stream
    lines: Mapping[str, Line] = {}
    end_wanted: str = ""  # reason
    goodbye: Mapping[str, str] = {}  # reply -> reason
    open_reply: str = ""
    open_tools: frozenset[str] = frozenset()
    transfer_wanted: tuple[str, str] = ("", "")  # request, number; empty once it was done, or cannot be
    transfer_since: int = 0  # since when the owner of the call knows that it is owed
    transferred: bool = False
    ended_at: int = 0
    ended_position: int = 0  # 0: decided, not read back yet
    end_reason: str = ""
    sealed: bool = False
    seal_now: bool = False

    @property
    def line(self) -> Line | None:
        """The stream that speaks for the call: the latest, while it is open. An older one never speaks again."""
        newest = self.newest
        return newest if newest is not None and not newest.gone else None

    @property
    def newest(self) -> Line | None:
        """The latest stream, open or not."""
        return max(self.lines.values(), key=lambda line: line.epoch, default=None)

    @property
    def transfer_owed(self) -> tuple[str, str] | None:
        """(request, number) of a transfer the carrier was not told yet, as far as the log knows."""
        _, number = self.transfer_wanted
        return self.transfer_wanted if number and not self.transferred and not self.ended_at else None

    @property
    def hang_up_owed(self) -> bool:
        """Whether the carrier has to be told of the end: nobody hangs up on who did so first."""
        gone = self.end_reason.startswith(("caller_hung_up", "carrier_"))
        return bool(self.end_reason) and self.channel == "twilio" and not gone and not self.transferred
