"""Counts what crosses the doors in plain integers, and shows them as Prometheus metrics when asked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

WINDOW_MS = 60_000
SCREENS = "callscreen"  # who watches is in no call
LEAST_MESSAGES = 20  # fewer tell nothing about a rate
DEGRADED_ABOVE = 0.05


class DoorTally:
    """One door's counters: incremented for each frame, so plain attributes."""

    __slots__ = ("active", "bytes_in", "bytes_out", "connections", "frames_in", "frames_out", "received", "sent")

    def __init__(self) -> None:
        self.connections = 0
        self.active = 0
        self.frames_in = 0
        self.frames_out = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.received = 0
        self.sent = 0


class Tally:
    """All counters of one process."""

    def __init__(self) -> None:
        self.doors: dict[str, DoorTally] = {}
        self.bad_input: Counter[tuple[str, str]] = Counter()  # (door, kind)
        self.closed: Counter[tuple[str, str, str]] = Counter()  # (door, reason, code)
        self.refused: Counter[tuple[str, str, str]] = Counter()  # (door, status, why)
        self.webhooks: Counter[tuple[str, str]] = Counter()  # (hook, answer)
        self.outbox: Counter[tuple[str, str]] = Counter()  # (kind, fate)
        self.appended: Counter[str] = Counter()  # topic
        self.dropped = 0
        self.append_ms_total = 0.0
        self.append_ms_peak = 0.0
        self.appends = 0
        self.retries = 0
        self.waiting: Callable[[], tuple[int, int]] = lambda: (0, 0)  # (bytes of audio, facts)
        self._window: deque[tuple[int, int, int, float, int]] = deque()

    def door(self, name: str) -> DoorTally:
        found = self.doors.get(name)
        if found is None:
            found = self.doors[name] = DoorTally()
        return found

    def note_append(self, topic: str, records: int, took_ms: float) -> None:
        self.appended[topic] += records
        self.appends += 1
        self.append_ms_total += took_ms
        self.append_ms_peak = max(self.append_ms_peak, took_ms)

    @property
    def active(self) -> int:
        """Sockets of calls."""
        return sum(door.active for name, door in self.doors.items() if name != SCREENS)

    def sample(self, now_ms: int) -> None:
        """Remember where the counters stand; called about twice a second."""
        received = sum(door.received for door in self.doors.values())
        bad = sum(self.bad_input.values())
        self._window.append((now_ms, received, bad, self.append_ms_total, self.appends))
        while self._window and self._window[0][0] < now_ms - WINDOW_MS:
            self._window.popleft()

    def error_rate(self) -> float:
        """Error answers per message received in the last minute; 0 while there are too few to tell."""
        if len(self._window) < 2:
            return 0.0
        first, last = self._window[0], self._window[-1]
        messages = last[1] - first[1]
        return round((last[2] - first[2]) / messages, 4) if messages >= LEAST_MESSAGES else 0.0

    def latency_ms(self) -> float:
        """From a frame's arrival to its place on the log, mean of the last minute."""
        if len(self._window) < 2:
            return 0.0
        first, last = self._window[0], self._window[-1]
        appends = last[4] - first[4]
        return round((last[3] - first[3]) / appends, 2) if appends else 0.0


class WireCollector(Collector):
    """Reads a Tally when scraped, so that counting costs nothing in between."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterable[Metric]:
        yield from self._doors()
        yield from self._counts()
        yield from self._log()

    def _doors(self) -> Iterator[Metric]:
        active = GaugeMetricFamily("calltape_connections_active", "Open sockets", labels=["door"])
        total = CounterMetricFamily("calltape_connections", "Sockets accepted", labels=["door"])
        frames = CounterMetricFamily("calltape_frames", "Audio messages", labels=["door", "direction"])
        size = CounterMetricFamily("calltape_audio_bytes", "Audio payload", labels=["door", "direction"])
        messages = CounterMetricFamily("calltape_messages", "Messages of any kind", labels=["door", "direction"])
        for name, door in self._tally.doors.items():
            active.add_metric([name], door.active)
            total.add_metric([name], door.connections)
            frames.add_metric([name, "in"], door.frames_in)
            frames.add_metric([name, "out"], door.frames_out)
            size.add_metric([name, "in"], door.bytes_in)
            size.add_metric([name, "out"], door.bytes_out)
            messages.add_metric([name, "in"], door.received)
            messages.add_metric([name, "out"], door.sent)
        yield from (active, total, frames, size, messages)

    def _counts(self) -> Iterator[Metric]:
        tally = self._tally
        yield _family(
            "calltape_bad_input", "Input that was skipped or refused", ["door", "kind"], tally.bad_input.items()
        )
        yield _family("calltape_closed", "Sockets closed", ["door", "reason", "code"], tally.closed.items())
        yield _family(
            "calltape_refused", "Refused before the upgrade", ["door", "status", "why"], tally.refused.items()
        )
        yield _family("calltape_webhooks", "Webhooks answered", ["hook", "answer"], tally.webhooks.items())
        yield _family("calltape_outbox", "Messages from the outbox", ["kind", "fate"], tally.outbox.items())

    def _log(self) -> Iterator[Metric]:
        tally = self._tally
        appended = CounterMetricFamily("calltape_appended", "Records appended", labels=["topic"])
        for topic, count in tally.appended.items():
            appended.add_metric([topic], count)
        yield appended
        audio, facts = tally.waiting()
        yield CounterMetricFamily("calltape_media_dropped", "Frames the log was too slow for", value=tally.dropped)
        yield CounterMetricFamily("calltape_append_retries", "Appends tried again", value=tally.retries)
        yield CounterMetricFamily("calltape_append_seconds", "Arrival to log, sum", value=tally.append_ms_total / 1000)
        yield CounterMetricFamily("calltape_appends", "Appends", value=tally.appends)
        yield GaugeMetricFamily("calltape_append_peak_seconds", "Slowest append", value=tally.append_ms_peak / 1000)
        yield GaugeMetricFamily("calltape_media_waiting_bytes", "Audio not yet on the log", value=audio)
        yield GaugeMetricFamily("calltape_facts_waiting", "Facts not yet on the log", value=facts)


def _family(name: str, text: str, labels: list[str], counts: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in counts:
        family.add_metric(list(key), count)
    return family


def registry_of(tally: Tally) -> CollectorRegistry:
    """A registry of its own, so that two servers in one process do not meet."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WireCollector(tally))
    return registry
