"""The load generator against a bare echo."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator

import pytest
import uvloop
from aiohttp import WSMsgType, web

from clients.load import LoadCall, LoadReport, place_load
from clients.report import CallReport
from tests.integration.test_carrier_calls import RESUME, call
from tests.support.twilio_server import TwilioServer

KEY = b"0123456789abcdef"


def rechunked(frames: int) -> web.Application:
    """An echo that sends `frames` caller frames back as one message, cut in the middle of a frame."""

    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        held = b""
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            said = json.loads(message.data)
            if said["event"] == "media":
                held += base64.b64decode(said["media"]["payload"])
            while len(held) >= frames * 160 + 5:
                chunk, held = held[: frames * 160 + 5], held[frames * 160 + 5 :]
                payload = base64.b64encode(chunk).decode()
                await socket.send_json(
                    {"event": "media", "streamSid": said["streamSid"], "media": {"payload": payload}}
                )
        return socket

    application = web.Application()
    application.router.add_get("/ws", echo)
    return application


@pytest.fixture
async def url() -> AsyncIterator[str]:
    runner = web.AppRunner(rechunked(3), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"ws://{host}:{port}/ws"
    await runner.cleanup()


def calls(url: str, count: int) -> list[LoadCall]:
    return [LoadCall(url, f"CA{number}", f"MZ{number}", "AC1") for number in range(count)]


async def load_on(placed: list[LoadCall], seconds: float) -> LoadReport:
    async with asyncio.timeout(20):
        return await place_load(placed, seconds=seconds, new_key=lambda: KEY, clock=time.perf_counter, stamp_every=5)


async def test_stamps_come_back_from_an_echo_that_cuts_frames_anew(url: str) -> None:
    async with asyncio.timeout(20):
        report = await place_load(
            calls(url, 10), seconds=1.0, new_key=lambda: KEY, clock=time.perf_counter, stamp_every=5
        )
    assert (report.calls, report.refused, report.closed_early) == (10, {}, 0)
    assert report.frames_sent == 500
    assert report.stamps_sent == 100
    assert report.stamps_echoed >= 90
    assert report.lag_p99_ms is not None
    assert all(lag is not None for lag in report.lag_p99_by_call_ms)


async def test_refused_calls_are_counted_by_status(url: str) -> None:
    report = await load_on(calls(url + "/nowhere", 3), seconds=0.1)
    assert (report.calls, report.refused, report.frames_sent) == (0, {404: 3}, 0)


def test_the_load_generator_and_a_dropped_network_work_under_uvloop_too() -> None:
    async def both() -> tuple[LoadReport, CallReport]:
        runner = web.AppRunner(rechunked(3), shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        load = await load_on(calls(f"ws://{host}:{port}/ws", 2), seconds=0.5)
        await runner.cleanup()
        async with TwilioServer(RESUME) as server:
            return load, await call(server, "[{wait: 200}, {network: drop}, {wait: 4000}]")

    load, report = uvloop.run(both())
    assert load.stamps_echoed > 0
    assert (report.ok, report.streams, report.redirects) == (True, 2, 1)
