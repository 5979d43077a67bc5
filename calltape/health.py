"""Health and metrics of roles that have no door: `/healthz`, `/readyz` and `/metrics` on METRICS_PORT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from calltape.metered import Meter
from calltape.terminal import Refused
from calltape.wiring import House
from eventlog.port import Log, LogError
from workers.runtime import Runtime

LOG_ANSWERS_S = 1.0
ENDS_KNOWN_S = 2.0  # a scrape gives up sooner than Prometheus does (10 s); what is not known by then is left out


@dataclass(frozen=True, slots=True)
class RoleNumbers:
    """How one role does. `lag`: (topic, partition) → positions between what it read and the log's end."""

    role: str
    meter: Meter
    live_calls: int = 0
    parked_calls: int = 0
    lag: dict[tuple[str, int], int] = field(default_factory=dict)


@runtime_checkable
class UsesDatabase(Protocol):
    """A role such as the projector; it waits while its database is away, and says so."""

    available: bool


class Health:
    """Answers for these roles of a house, from before they start."""

    def __init__(self, house: House, names: Sequence[str]) -> None:
        self._house = house
        self._names = tuple(names)
        self._collector = RoleCollector()
        self._registry = registry_of(self._collector)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.alive), web.get("/readyz", self.ready), web.get("/metrics", self.metrics)]

    async def alive(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 healthy or degraded (it works, and its database is away), 503 down."""
        parts = {"log": "ok" if await self._log_answers() else "down"}
        parts |= {name: self._standing(name) for name in self._names}
        down = parts["log"] != "ok" or any(parts[name] != "joined" for name in self._names)
        database = self._database()
        if database:
            parts["database"] = database
        status = "down" if down else "degraded" if database == "away" else "healthy"
        return web.json_response({"status": status, "parts": parts}, status=503 if down else 200)

    async def metrics(self, _request: web.Request) -> web.Response:
        self._collector.roles = await self._numbers()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _standing(self, name: str) -> str:
        if name not in self._house.roles:
            return "starting"
        return "joined" if self._house.meters[name].is_joined else "joining"

    def _database(self) -> str:
        for role in self._house.roles.values():
            if isinstance(role.work, UsesDatabase):
                return "ok" if role.work.available else "away"
        return ""

    async def _log_answers(self) -> bool:
        try:
            async with asyncio.timeout(LOG_ANSWERS_S):
                await self._house.log.healthy()
        except (TimeoutError, LogError):
            return False
        return True

    async def _numbers(self) -> list[RoleNumbers]:
        meters = {name: self._house.meters[name] for name in self._names if name in self._house.roles}
        wanted = {place for meter in meters.values() for place in meter.positions()}
        ends = await _ends(self._house.log, wanted)
        return [self._numbers_of(name, meter, ends) for name, meter in meters.items()]

    def _numbers_of(self, name: str, meter: Meter, ends: dict[tuple[str, int], int]) -> RoleNumbers:
        # Positions are looked up again: the role went on reading while the ends were asked for.
        lag = {place: max(0, ends[place] - at) for place, at in meter.positions().items() if place in ends}
        work = self._house.roles[name].work
        if not isinstance(work, Runtime):
            return RoleNumbers(name, meter, lag=lag)
        cases = work.calls.cases.values()
        parked = sum(case.parked for case in cases)
        live = sum(not case.admission.sealed for case in cases)
        return RoleNumbers(name, meter, live, parked, lag)


async def _ends(log: Log, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    try:
        async with asyncio.timeout(ENDS_KNOWN_S):
            for topic, partition in sorted(places):
                found[topic, partition] = await log.end(topic, partition)
    except (TimeoutError, LogError):
        pass
    return found


class RoleCollector(Collector):
    """Shows the numbers that were taken last."""

    def __init__(self) -> None:
        self.roles: Sequence[RoleNumbers] = ()

    def collect(self) -> Iterator[Metric]:
        partitions = GaugeMetricFamily("calltape_role_partitions", "Partitions owned", labels=["role"])
        live = GaugeMetricFamily("calltape_role_live_calls", "Calls that are not sealed", labels=["role"])
        parked = GaugeMetricFamily("calltape_role_parked_calls", "Calls whose fold failed", labels=["role"])
        read = CounterMetricFamily("calltape_role_records_read", "Records read", labels=["role"])
        retries = CounterMetricFamily("calltape_role_append_retries", "Appends tried again", labels=["role"])
        lag = GaugeMetricFamily("calltape_role_lag", "Positions not read yet", labels=["role", "topic", "partition"])
        for each in self.roles:
            partitions.add_metric([each.role], len(each.meter.assigned))
            live.add_metric([each.role], each.live_calls)
            parked.add_metric([each.role], each.parked_calls)
            read.add_metric([each.role], each.meter.records_read)
            retries.add_metric([each.role], each.meter.append_retries)
            for (topic, partition), behind in each.lag.items():
                lag.add_metric([each.role, topic, str(partition)], behind)
        yield from (partitions, live, parked, read, retries, lag)


def registry_of(collector: RoleCollector) -> CollectorRegistry:
    """A registry of its own, so that two houses in one process do not meet; with the process's CPU and memory."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


@asynccontextmanager
async def opened_health(house: House, names: Sequence[str]) -> AsyncIterator[None]:
    """Answers on METRICS_PORT. Raises Refused when it is taken."""
    settings = house.settings
    app = web.Application()
    app.add_routes(Health(house, names).routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.metrics_port).start()
        except OSError as error:
            raise Refused(
                f"cannot listen on {settings.host}:{settings.metrics_port} ({error.strerror}): "
                "choose another with CALLTAPE_METRICS_PORT, or 0 for none"
            ) from error
        yield
    finally:
        await runner.cleanup()
