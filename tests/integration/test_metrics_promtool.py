"""What Prometheus' own tool says of every /metrics that we serve: nothing."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import aiohttp
import pytest

from calltape.health import opened_health
from calltape.wiring import ROLES, House
from eventlog.memory import MemoryLog
from eventlog.port import Entry
from schema.topics import EVENTS
from tests.integration.test_app_doors import CONTROL, MOBILE, begun, doors, token
from tests.support.doors import House as Doors
from tests.support.doors import begun as begun_by_carrier
from tests.support.doors import media
from tests.support.events import a_whole_call
from tests.support.needs import require_or_skip
from tests.support.processes import eventually
from tests.support.settings import plain_settings

BEARER = {"Authorization": f"Bearer {token()}"}


@pytest.fixture
def promtool() -> str:
    """Where it is; skips the test where it is not."""
    return shutil.which("promtool") or require_or_skip("promtool", "no promtool on this machine")


async def verdict(promtool: str, text: str) -> str:
    """Everything `promtool check metrics` has to say."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate(text.encode())
    return said.decode() + (f"exit {process.returncode}" if process.returncode else "")


async def shown(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as answer:
        assert answer.status == 200
        return await answer.text()


async def every_door(h: Doors) -> None:
    """Something comes in or is refused at each."""
    carried, _ = await begun_by_carrier(h)
    await carried.send_json(media(1))
    apps = [(await begun(h, door))[0] for door in (MOBILE, CONTROL)]
    others = [await h.http.ws_connect(h.base + path, headers=BEARER) for path in ("/voice-ws", "/ws/voice")]
    for ws in (carried, *apps, *others):
        await ws.send_str("{")
        await ws.close()
    # No scope, no turn, no token.
    for path in ("/ws/callscreen", "/api/turns", "/socket.io/?EIO=4&transport=polling"):
        method = "POST" if path == "/api/turns" else "GET"
        async with h.http.request(method, h.base + path, headers={} if path == "/api/turns" else BEARER) as answer:
            assert answer.status in (200, 401, 403), (path, answer.status)
    async with h.http.post(h.base + "/twilio/voice", data={"CallSid": "CA9"}) as forged:
        assert forged.status == 403


async def test_it_finds_nothing_in_the_metrics_of_the_doors(promtool: str) -> None:
    async with doors() as h:
        await every_door(h)
        await h.counted("calltape_closed_total")
        text = await shown(h.http, f"{h.base}/metrics")
    for door in ("twilio", "mobile", "call", "raw", "browser", "callscreen", "turns"):
        assert f'door="{door}"' in text, f"nothing was counted at {door}"
    assert await verdict(promtool, text) == ""


async def test_it_finds_nothing_in_the_metrics_of_roles(promtool: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    log = MemoryLog(now=lambda: 1_000_000)
    house = House(plain_settings(data=tmp_path, metrics_port=port), log=log)
    url = f"http://127.0.0.1:{port}/metrics"
    async with house, opened_health(house, ROLES), aiohttp.ClientSession() as http:
        for record in a_whole_call().records:
            await log.append(EVENTS.name, [Entry(record.key, record.value)])
        await house.start(ROLES)

        async def all_have_read() -> bool:
            text = await shown(http, url)
            read = [line for line in text.splitlines() if line.startswith("calltape_role_records_read_total{")]
            lag = [line for line in text.splitlines() if line.startswith("calltape_role_lag{")]
            return len(read) == len(ROLES) and len(lag) > 0 and not any(line.endswith(" 0.0") for line in read)

        await eventually(all_have_read)
        assert await verdict(promtool, await shown(http, url)) == ""


async def test_it_would_find_something(promtool: str) -> None:
    text = "# TYPE calltape_things counter\ncalltape_things 1\n"
    assert "calltape_things" in await verdict(promtool, text)
