"""A server that closes while clients stay: none of them holds it up, whatever they are doing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from clients.socketio import SocketioClient
from tests.integration.test_app_doors import doors, token
from tests.support.node import javascript


@pytest.mark.parametrize("transports", ["websocket", "polling"])
@pytest.mark.parametrize("has_started", [True, False], ids=["in a session", "before it"])
async def test_a_client_does_not_hold_up_the_servers_end(transports: str, has_started: bool) -> None:
    async with AsyncExitStack() as clients, AsyncExitStack() as server:
        h = await server.enter_async_context(doors())
        client = await clients.enter_async_context(SocketioClient(h.base, token(), transports=(transports,)))
        if has_started:
            await client.start()
        async with asyncio.timeout(10):  # the library alone would wait for the ping's time-out, 85 s
            await server.aclose()
            await client.until(lambda came: came.name == "voice:error")
        assert client.of("voice:error")[0]["error_code"] == "SERVER_RESTARTING"


async def test_a_javascript_client_does_not_either() -> None:
    async with AsyncExitStack() as clients, AsyncExitStack() as server:
        h = await server.enter_async_context(doors())
        client = await clients.enter_async_context(javascript(h.base, token(), "websocket"))
        await client.until("connect")
        await client.emit("voice:start")
        await client.event("voice:session_ready")
        async with asyncio.timeout(10):
            await server.aclose()
        await client.until("disconnect", "io server disconnect")
