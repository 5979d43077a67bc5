"""The fake REST of the carrier, driven through the vendor's own library."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped, unused-ignore]
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped, unused-ignore]
from twilio.rest import Client  # type: ignore[import-untyped, unused-ignore]

from clients.carrier import Carrier
from clients.report import Observation, Seen
from clients.script import parse_script
from clients.twilio_rest import FakeTwilioRest
from tests.integration.test_carrier_calls import CONNECT, RESUME, carrier_for
from tests.support.twilio_server import ACCOUNT_SID, AUTH_TOKEN, TwilioServer

# twilio 9.13 passes aiohttp an argument that is going away; the warning names aiohttp's module, not twilio's.
pytestmark = pytest.mark.filterwarnings("ignore:.*auth.*:DeprecationWarning")


class _HereHttpClient(AsyncTwilioHttpClient):  # type: ignore[misc, unused-ignore]
    """The vendor's client with its address replaced: the library has no setting for it."""

    def __init__(self, here: str) -> None:
        super().__init__(timeout=5)
        self._here = here

    async def request(self, method: str, uri: str, *args: Any, **kwargs: Any) -> Any:
        return await super().request(method, uri.replace("https://api.twilio.com", self._here), *args, **kwargs)


class Desk:
    """A server, a carrier, its REST and the vendor's client in one place."""

    def __init__(self, server: TwilioServer, carrier: Carrier, client: Client, rest: FakeTwilioRest) -> None:
        self.server, self.carrier, self.client, self.rest = server, carrier, client, rest
        self.opened = asyncio.Event()

    def see(self, observation: Observation) -> None:
        if observation.kind is Seen.STREAM_OPENED:
            self.opened.set()

    async def update_a_live_call(self, **update: str) -> Any:
        script = parse_script("[{wait_for: hangup}]")
        call = asyncio.create_task(self.carrier.place_call(script, call_sid="CA7", on_event=self.see))
        async with asyncio.timeout(20):
            await self.opened.wait()
            await self.client.calls("CA7").update_async(**update)
            return await call


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with (
        TwilioServer(RESUME) as server,
        carrier_for(server) as carrier,
        FakeTwilioRest(carrier) as rest,
        _HereHttpClient(rest.url) as http,
    ):
        yield Desk(server, carrier, Client(ACCOUNT_SID, AUTH_TOKEN, http_client=http), rest)


async def test_the_agent_hangs_up_a_call_by_rest(desk: Desk) -> None:
    report = await desk.update_a_live_call(status="completed")
    assert report.ok, report.as_json()
    assert (report.ended_by, report.redirects) == ("rest completed", 0)
    assert desk.server.conversations[0].received[-1]["event"] == "stop"
    assert (await desk.client.calls("CA7").fetch_async()).status == "completed"


async def test_new_twiml_ends_the_stream_and_transfers_the_call(desk: Desk) -> None:
    report = await desk.update_a_live_call(twiml="<Response><Dial>+15550107777</Dial></Response>")
    assert (report.transferred, report.ended_by, report.streams) == ("+15550107777", "transfer", 1)
    assert desk.server.conversations[0].received[-1]["event"] == "stop"


async def test_a_call_ordered_by_rest_is_answered_and_reported(desk: Desk) -> None:
    created = await desk.client.calls.create_async(
        to="+15550101234", from_="+15550100002", twiml=CONNECT.replace("STREAM", desk.server.stream_url),
        status_callback=desk.server.url + "/twilio/status", status_callback_event=["initiated", "answered"],
    )  # fmt: skip
    assert created.status in ("queued", "ringing")
    await desk.carrier.settle()
    assert [report.call_id for report in desk.carrier.outbound_reports] == [created.sid]
    posted = desk.server.posted("/twilio/status")
    assert [(fields["CallStatus"], fields["Direction"]) for fields in posted] == [
        ("initiated", "outbound-api"),
        ("in-progress", "outbound-api"),
    ]


async def test_an_unknown_call_is_the_vendors_error(desk: Desk) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await desk.client.calls("CA0").update_async(status="completed")
    assert (refused.value.status, refused.value.code) == (404, 20404)


async def test_a_call_that_is_over_cannot_be_updated(desk: Desk) -> None:
    await desk.update_a_live_call(status="completed")
    with pytest.raises(TwilioRestException) as refused:
        await desk.client.calls("CA7").update_async(twiml="<Response/>")
    assert (refused.value.status, refused.value.code) == (400, 21220)


async def test_a_wrong_password_is_refused(desk: Desk) -> None:
    async with _HereHttpClient(desk.rest.url) as http:
        stranger = Client(ACCOUNT_SID, "another", http_client=http)
        with pytest.raises(TwilioRestException) as refused:
            await stranger.calls("CA7").fetch_async()
    assert (refused.value.status, refused.value.code) == (401, 20003)
