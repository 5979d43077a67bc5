"""The carrier as conversation asks it: a carrier that fails, says nothing or knows no such call, over its own wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from clients.carrier import Carrier
from clients.report import CallReport, Observation, Seen
from clients.script import parse_script
from clients.twilio_rest import FakeTwilioRest
from tests.integration.test_carrier_calls import RESUME, carrier_for
from tests.support.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer
from workers import carrierwork
from workers.carrier import TwilioCalls
from workers.carrierwork import CarrierError, asked

# twilio 9.13 passes aiohttp an argument that is going away; the warning names aiohttp's module, not twilio's.
pytestmark = pytest.mark.filterwarnings("ignore:.*auth.*:DeprecationWarning")

NUMBER = "+15550107777"


class FailingRest(FakeTwilioRest):
    """Breaks at the first requests, as a carrier's API does on a bad day; `silent`: answers none of them."""

    def __init__(self, carrier: Carrier, *, failures: int, status: int = 500, silent: bool = False) -> None:
        super().__init__(carrier)
        self.failures, self.status, self.silent = failures, status, silent
        self.asked = 0

    async def _update(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.asked > self.failures:
            return await super()._update(request)
        if self.silent:
            await asyncio.Event().wait()
        return web.Response(status=self.status, text="<html>out of order</html>")


@dataclass
class Desk:
    """A live call at a carrier, and ours to ask it."""

    carrier: Carrier
    rest: FailingRest
    calls: TwilioCalls
    call: asyncio.Task[CallReport]

    async def transfer(self) -> CarrierError | None:
        return await asked(lambda: self.calls.transfer("CA7", NUMBER), lambda: True)


@asynccontextmanager
async def desk(*, failures: int, status: int = 500, silent: bool = False) -> AsyncIterator[Desk]:
    opened = asyncio.Event()

    def see(observation: Observation) -> None:
        if observation.kind is Seen.STREAM_OPENED:
            opened.set()

    async with (
        asyncio.timeout(30),
        TwilioServer(RESUME) as server,
        carrier_for(server) as carrier,
        FailingRest(carrier, failures=failures, status=status, silent=silent) as rest,
    ):
        calls = TwilioCalls(ACCOUNT_SID, AUTH_TOKEN, rest.url, timeout_s=0.2 if silent else 10.0)
        script = parse_script("[{wait_for: hangup}]")
        call = asyncio.create_task(carrier.place_call(script, call_sid="CA7", on_event=see))
        try:
            await opened.wait()
            yield Desk(carrier, rest, calls, call)
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await calls.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrierwork, "FIRST_WAIT_S", 0.01)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_carrier_that_fails_once_is_asked_again(status: int) -> None:
    async with desk(failures=1, status=status) as here:
        assert await here.transfer() is None
        report = await here.call
        assert (report.transferred, here.rest.asked) == (NUMBER, 2)


async def test_a_carrier_that_says_nothing_is_asked_again() -> None:
    async with desk(failures=1, silent=True) as here:
        assert await here.transfer() is None
        assert (await here.call).transferred == NUMBER


async def test_a_carrier_that_always_fails_is_asked_three_times() -> None:
    async with desk(failures=9) as here:
        error = await here.transfer()
        assert error is not None
        assert (error.code, here.rest.asked) == ("carrier_refused", 3)
        assert "500" in str(error)


async def test_what_the_carrier_refuses_for_good_is_asked_once_and_no_number_is_told() -> None:
    async with desk(failures=0) as here:
        with pytest.raises(CarrierError) as refused:
            await here.calls.transfer("CA0", NUMBER)
        assert (refused.value.code, refused.value.retryable) == ("carrier_refused", False)
        assert "404" in str(refused.value) and NUMBER not in str(refused.value)


async def test_a_carrier_that_is_not_there_may_be_asked_again() -> None:
    async with desk(failures=0) as here:
        await here.rest.__aexit__(None, None, None)
        with pytest.raises(CarrierError) as refused:
            await here.calls.hang_up("CA7")
        assert (refused.value.code, refused.value.retryable) == ("carrier_unreachable", True)


async def test_a_call_that_is_over_is_told_as_that() -> None:
    async with desk(failures=0) as here:
        await here.calls.hang_up("CA7")
        await here.call
        error = await here.transfer()
        assert error is not None and error.code == "call_over"


async def test_a_process_that_is_about_to_end_asks_nothing_more() -> None:
    async with desk(failures=0) as here:
        await here.calls.close()
        with pytest.raises(CarrierError) as refused:
            await here.calls.hang_up("CA7")
        assert not refused.value.retryable and here.rest.asked == 0
