"""Who comes in through an app door: tokens, origins, room, and how a refusal is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ingest.config import IngestConfig, Limits
from ingest.entrance import PROTOCOLS, Entrance
from ingest.tally import Tally
from ingest.token_keys import Keys
from ingest.tokens import Tokens
from ingest.web.cors import Cors, Origins
from ingest.web.problems import problems
from tests.support.tokens import NOW_MS, SECRETS, hs256

BEARER = {"Authorization": f"Bearer {hs256()}"}


@dataclass
class Door:
    """One door that keeps its guests until they leave, and a little API."""

    http: aiohttp.ClientSession
    base: str
    tally: Tally
    is_draining: bool = False

    async def get(self, path: str, **given: Any) -> aiohttp.ClientResponse:
        return await self.http.get(self.base + path, **given)

    async def socket(self, **given: Any) -> aiohttp.ClientWebSocketResponse:
        return await self.http.ws_connect(self.base + "/ws", **given)


@asynccontextmanager
async def door(**changes: Any) -> AsyncIterator[Door]:
    config, tally = IngestConfig(**changes), Tally()
    async with Keys(SECRETS, clock=lambda: 0) as keys, aiohttp.ClientSession() as http:
        found = Door(http, "", tally)
        tokens = Tokens(SECRETS, keys, now=lambda: NOW_MS)
        entrance = Entrance(config, tokens, tally, is_draining=lambda: found.is_draining)

        async def socket(request: web.Request) -> web.StreamResponse:
            async with entrance.guest(request, "app", any_of={"call"}) as bearer:
                ws = web.WebSocketResponse(protocols=PROTOCOLS)
                await ws.prepare(request)
                await ws.send_str(bearer.tenant)
                await ws.receive()
            return ws

        async def calls(request: web.Request) -> web.StreamResponse:
            if "broken" in request.query:
                raise RuntimeError("a secret of ours")
            if "missing" in request.query:
                raise web.HTTPNotFound(text="no such call")
            async with entrance.guest(request, "api", any_of={"call"}):
                return web.json_response([])

        app = web.Application(middlewares=[problems])
        Cors(Origins(config.origins, config.public_url)).install(app)
        app.add_routes([web.get("/ws", socket), web.get("/api/calls", calls), web.get("/other", calls)])
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield found
        finally:
            await runner.cleanup()


async def test_without_a_token_nobody_comes_in_and_is_told_how() -> None:
    async with door() as it:
        answer = await it.get("/ws")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.content_type == "application/problem+json"
        told = await answer.json()
        assert (told["status"], told["title"], told["code"]) == (401, "Unauthorized", "missing_token")
        assert it.tally.refused["app", "401", "missing_token"] == 1


async def test_a_token_may_come_three_ways() -> None:
    async with door() as it:
        for given in ({"headers": BEARER}, {"params": {"token": hs256()}}):
            ws = await it.socket(**given)
            assert await ws.receive_str() == "acme"
            await ws.close()
        ws = await it.socket(protocols=("bearer", hs256()))
        assert ws.protocol == "bearer"
        await ws.close()


async def test_a_token_without_the_scope_is_forbidden() -> None:
    async with door() as it:
        answer = await it.get("/ws", params={"token": hs256(scope="screen")})
        assert answer.status == 403 and "call" in (await answer.json())["detail"]


async def test_tokens_are_in_no_log_line(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    token = hs256(exp=1)
    async with door() as it:
        assert (await it.get("/ws", params={"token": token})).status == 401
    said = capsys.readouterr()
    assert "refused at the door" in said.out + said.err + caplog.text
    assert token not in said.out + said.err + caplog.text


async def test_an_address_has_only_so_many_places_and_gets_them_back() -> None:
    async with door(limits=Limits(connections_an_address=2)) as it:
        first, second = await it.socket(headers=BEARER), await it.socket(headers=BEARER)
        answer = await it.get("/ws", headers=BEARER)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
        await first.close()
        await asyncio.wait_for(_comes_in(it), 5)
        await second.close()


async def _comes_in(it: Door) -> None:
    while (await it.get("/api/calls", headers=BEARER)).status != 200:
        pass


async def test_behind_a_proxy_we_trust_each_address_has_its_own_places() -> None:
    limits, proxies = Limits(connections_an_address=1), (ip_network("127.0.0.0/8"),)
    async with door(limits=limits, trusted_proxies=proxies) as it:
        one = await it.socket(headers={**BEARER, "X-Forwarded-For": "192.0.2.1"})
        two = await it.socket(headers={**BEARER, "X-Forwarded-For": "192.0.2.2"})
        assert (await it.get("/ws", headers={**BEARER, "X-Forwarded-For": "192.0.2.2"})).status == 429
        await one.close()
        await two.close()


async def test_a_server_that_leaves_takes_nobody() -> None:
    async with door() as it:
        it.is_draining = True
        answer = await it.get("/ws", headers=BEARER)
        assert answer.status == 429 and "Retry-After" in answer.headers


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("https://app.example", 200),
        ("https://APP.example:443", 200),
        ("https://voice.example", 200),  # PUBLIC_URL
        ("http://app.example", 403),
        ("https://app.example.evil", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("https://[bad", 403),
    ],
)
async def test_pages_of_other_origins_are_refused(origin: str | None, status: int) -> None:
    async with door(origins=("https://app.example",), public_url="https://voice.example") as it:
        headers = BEARER if origin is None else {**BEARER, "Origin": origin}
        assert (await it.get("/api/calls", headers=headers)).status == status


async def test_our_own_page_may_connect_by_whatever_name_it_was_reached() -> None:
    async with door() as it:
        ws = await it.socket(headers={**BEARER, "Origin": it.base})
        await ws.close()
        host = {"Host": "voice.example", "Origin": "https://voice.example"}
        assert (await it.get("/api/calls", headers={**BEARER, **host})).status == 200


async def test_a_listed_page_may_use_the_api_from_a_browser() -> None:
    async with door(origins=("https://app.example",)) as it:
        asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "PATCH"}
        answer = await it.http.options(it.base + "/api/calls", headers=asks)
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        for status, headers in ((200, BEARER), (401, {})):
            got = await it.get("/api/calls", headers={**headers, "Origin": "https://app.example"})
            assert got.status == status
            assert got.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "Origin" in got.headers["Vary"]


async def test_another_page_gets_no_leave_and_other_paths_give_none() -> None:
    async with door(origins=("https://app.example",)) as it:
        asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        answer = await it.http.options(it.base + "/api/calls", headers=asks)
        assert answer.status == 403 and "Access-Control-Allow-Origin" not in answer.headers
        other = await it.get("/other", headers={**BEARER, "Origin": "https://app.example"})
        assert other.status == 200 and "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/calls?missing=1", 404, "no such call"),
        ("/api/nothing", 404, "404: Not Found"),
        ("/api/calls?broken=1", 500, "the request failed here; it may be tried again"),
    ],
)
async def test_every_refusal_of_the_api_is_a_problem(path: str, status: int, detail: str) -> None:
    async with door() as it:
        answer = await it.get(path, headers=BEARER)
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        told = await answer.json()
        assert (told["type"], told["status"], told["detail"]) == ("about:blank", status, detail)
        assert "secret" not in await answer.text()


async def test_a_wrong_method_is_told_which_are_right() -> None:
    async with door() as it:
        answer = await it.http.delete(it.base + "/api/calls", headers=BEARER)
        assert answer.status == 405 and "GET" in answer.headers["Allow"]
        assert answer.content_type == "application/problem+json"
