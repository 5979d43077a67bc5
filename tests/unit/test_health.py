"""Health and metrics of roles without a door."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from calltape.health import Health, RoleCollector, registry_of
from calltape.metered import Meter, metered
from calltape.wiring import House
from eventlog.memory import MemoryLog
from eventlog.port import Entry, LogUnavailable, Placed
from ingest.tally import Tally
from ingest.tally import registry_of as registry_of_doors
from schema.topics import EVENTS, PARTITIONS
from tests.support.events import a_whole_call
from tests.support.processes import eventually
from tests.support.settings import plain_settings

DOCS = Path(__file__).parents[2] / "docs" / "operating" / "metrics.md"


class MoodyLog(MemoryLog):
    """A log that can be away."""

    is_away = False

    async def append(self, topic: str, entries: Any) -> list[Placed]:
        if self.is_away:
            raise LogUnavailable("away")
        return await super().append(topic, entries)

    async def healthy(self) -> None:
        if self.is_away:
            raise LogUnavailable("away")


@asynccontextmanager
async def asked(house: House, *names: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the health of these roles."""
    app = web.Application()
    app.add_routes(Health(house, names).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
        yield http
    await runner.cleanup()


async def ready(http: aiohttp.ClientSession) -> tuple[int, dict[str, Any]]:
    async with http.get("/readyz") as answer:
        return answer.status, await answer.json()


async def becomes_ready(http: aiohttp.ClientSession, status: int = 200) -> dict[str, Any]:
    async def is_so() -> bool:
        return (await ready(http))[0] == status

    await eventually(is_so)
    return (await ready(http))[1]


async def value(http: aiohttp.ClientSession, name: str, **labels: str) -> float:
    """Of one metric; the sum of those that have these labels."""
    text = await (await http.get("/metrics")).text()
    lines = [line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line)]
    wanted = [line for line in lines if all(f'{key}="{text}"' in line for key, text in labels.items())]
    assert wanted, text
    return sum(float(line.split()[-1]) for line in wanted)


async def has_read(http: aiohttp.ClientSession, records: int) -> bool:
    return await value(http, "calltape_role_records_read_total", role="summariser") >= records


async def follows(house: House, role: str) -> bool:
    """It has asked its database where to begin, and reads."""
    return bool(house.meters[role].positions())


async def has_no_lag(http: aiohttp.ClientSession) -> bool:
    return await value(http, "calltape_role_lag", role="summariser", topic=EVENTS.name) == 0


@pytest.fixture
async def log() -> MoodyLog:
    return MoodyLog(now=lambda: 1_000_000)


async def test_a_role_is_ready_when_it_has_joined_and_the_log_answers(log: MoodyLog, tmp_path: Path) -> None:
    house = House(plain_settings(data=tmp_path), log=log)
    async with house, asked(house, "summariser") as http:
        assert await ready(http) == (503, {"status": "down", "parts": {"log": "ok", "summariser": "starting"}})
        assert (await http.get("/healthz")).status == 200, "it lives, and is not ready yet"
        await house.start(["summariser"])
        assert await becomes_ready(http) == {"status": "healthy", "parts": {"log": "ok", "summariser": "joined"}}
        log.is_away = True
        assert (await becomes_ready(http, 503))["parts"]["log"] == "down"
        log.is_away = False
        await becomes_ready(http)


async def test_a_projector_without_its_database_is_degraded(log: MoodyLog, tmp_path: Path) -> None:
    house = House(plain_settings(data=tmp_path), log=log)
    async with house, asked(house, "projector") as http:
        await house.start(["projector"])
        assert (await becomes_ready(http))["parts"]["database"] == "ok"
        await eventually(lambda: follows(house, "projector"))
        house.roles["projector"].work.available = False  # type: ignore[attr-defined]
        status, body = await ready(http)
        assert (status, body["status"], body["parts"]["database"]) == (200, "degraded", "away")


async def test_metrics_tell_what_a_role_owns_and_how_far_it_is(log: MoodyLog, tmp_path: Path) -> None:
    house = House(plain_settings(data=tmp_path), log=log)
    records = a_whole_call().records
    unsealed = [record for record in records if b"call.sealed" not in record.value]
    async with house, asked(house, "summariser") as http:
        for record in unsealed[:5]:
            await log.append(EVENTS.name, [Entry(record.key, record.value)])
        await house.start(["summariser"])
        await eventually(lambda: has_read(http, 5))
        assert await value(http, "calltape_role_partitions", role="summariser") == PARTITIONS
        assert await value(http, "calltape_role_live_calls", role="summariser") == 1
        assert await value(http, "calltape_role_parked_calls", role="summariser") == 0
        await eventually(lambda: has_no_lag(http))
        assert await value(http, "process_resident_memory_bytes") > 0


async def test_what_was_not_read_yet_is_lag(log: MoodyLog) -> None:
    meter = Meter()
    reader = metered(log, meter).reader(EVENTS.name, {})
    async with log:
        reader.assign({0: 0, 1: 0})
        await log.append(EVENTS.name, [Entry("k", b"a", 0), Entry("k", b"b", 0)])
        assert meter.positions() == {(EVENTS.name, 0): 0, (EVENTS.name, 1): 0}
        await reader.read()
        assert meter.positions()[EVENTS.name, 0] == await log.end(EVENTS.name, 0)
        assert meter.records_read == 2
        await reader.close()
        assert meter.positions() == {}


async def test_an_append_that_was_refused_is_counted_and_stays_refused(log: MoodyLog) -> None:
    meter = Meter()
    async with log:
        log.is_away = True
        with pytest.raises(LogUnavailable):
            await metered(log, meter).append(EVENTS.name, [Entry("k", b"v")])
        log.is_away = False
        await metered(log, meter).append(EVENTS.name, [Entry("k", b"v")])
    assert meter.append_retries == 1


async def test_a_share_is_known_as_the_role_saw_it_and_gone_when_it_left(log: MoodyLog) -> None:
    meter = Meter()
    async with log:
        membership = await metered(log, meter).join("g", EVENTS.name, "m")
        assert meter.is_joined and meter.assigned == frozenset()
        assert membership.assigned == meter.assigned == frozenset(range(PARTITIONS))
        await membership.leave()
        assert not meter.is_joined and meter.assigned == frozenset()


def test_every_metric_is_documented() -> None:
    doors = {metric.name for metric in registry_of_doors(Tally()).collect()}
    roles = {metric.name for metric in registry_of(RoleCollector()).collect()}
    listed = {name.removesuffix("_total") for name in re.findall(r"^\| `(\w+)`", DOCS.read_text(), re.MULTILINE)}
    assert roles | doors == listed
