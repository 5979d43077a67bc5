"""The carrier's webhooks over HTTP: who is believed, who is turned away, and what the carrier is told to do."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import aiohttp
import pytest
from structlog.testing import capture_logs
from twilio.request_validator import RequestValidator

from eventlog.port import LogUnavailable
from ingest.config import Limits, TwilioSecrets
from ingest.numbers import Numbers, Owner
from ingest.web.webhooks import Standing
from schema.call import CallReported, CallStarted
from schema.envelope import type_of
from tests.support.doors import ACCOUNT, CALL, PUBLIC, STREAM, House, begun, house, signed

FORM = {"CallSid": CALL, "AccountSid": ACCOUNT, "From": "+15550001", "To": "+15550002", "Direction": "inbound"}
VOICE = "/twilio/voice"
RESUME = "/twilio/voice?resume=1"


def signature(url: str, form: dict[str, str], secret: str = "secret") -> dict[str, str]:
    return {"X-Twilio-Signature": RequestValidator(secret).compute_signature(url, form)}


async def post(h: House, path: str, headers: dict[str, str], form: dict[str, str] | None = None) -> int:
    async with h.http.post(h.base + path, data=form or FORM, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize("path", [VOICE, RESUME, "/twilio/status", "/twilio/stream-status"])
async def test_a_forged_webhook_is_403_and_leaves_nothing_on_the_log(path: str) -> None:
    async with house() as h:
        assert await post(h, path, {}) == 403
        assert await post(h, path, signature(PUBLIC + path, FORM, "another secret")) == 403
        assert await post(h, path, signature(PUBLIC + "/elsewhere", FORM)) == 403
        assert await post(h, path, signature(PUBLIC + path, FORM), {**FORM, "To": "+15559999"}) == 403
        await h.counted('calltape_refused_total{door="twilio",status="403",why="forged_signature"}', 4)
        assert await h.events() == []


async def _half_a_form(h: House) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A webhook of which twenty bytes come, and 180 do not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(h.base.rsplit(":", 1)[1]))
    head = (
        "POST /twilio/voice HTTP/1.1",
        "Host: x",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Length: 200",
    )
    writer.write("\r\n".join((*head, "", "CallSid=CA0123456789")).encode())
    await writer.drain()
    return reader, writer


async def test_a_form_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.web.webhooks.FORM_S", 0.1)
    async with house() as h:
        reader, writer = await _half_a_form(h)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        await h.counted('calltape_webhooks_total{answer="slow",hook="voice"}', 1)
        writer.close()


async def test_who_hangs_up_in_the_middle_of_a_form_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with house() as h:
        _, writer = await _half_a_form(h)
        writer.transport.abort()
        await h.counted('calltape_webhooks_total{answer="malformed",hook="voice"}', 1)
    assert caplog.records == []


async def test_the_signature_is_over_the_public_address_whatever_the_proxy_passes_on() -> None:
    """TLS ends before us: the request comes as http, with the proxy's Host and its own headers."""
    behind = {"Host": "10.0.0.7:8080", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "calls.example"}
    async with house() as h:
        assert await post(h, VOICE, {**behind, **signature(PUBLIC + VOICE, FORM)}) == 200
        assert await post(h, VOICE, {**behind, **signature("http://10.0.0.7:8080" + VOICE, FORM)}) == 403
        # Nobody talks us into another address by naming it.
        lured = {**behind, "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        assert await post(h, VOICE, {**lured, **signature("https://evil.example" + VOICE, FORM)}) == 403
        document = await (await h.voice()).text()
        assert 'url="wss://calls.example/ws/media-stream/' in document
        ws = await h.socket(await h.token(), **behind)
        await ws.close()


@pytest.mark.parametrize("url", ["wss://calls.example", "wss://calls.example:443"])
@pytest.mark.parametrize("end", ["", "/"])
async def test_a_handshake_is_signed_over_wss_with_or_without_port_and_slash(url: str, end: str) -> None:
    async with house() as h:
        path = f"/ws/media-stream/{await h.token()}"
        headers = signature(url + path + end, {})
        ws = await h.http.ws_connect(h.base + path, headers=headers)
        await ws.close()


@pytest.mark.parametrize("url", ["https://calls.example", "ws://calls.example", "wss://calls.example:80"])
async def test_a_handshake_signed_over_another_address_is_403(url: str) -> None:
    async with house() as h:
        path = f"/ws/media-stream/{await h.token()}"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await h.http.ws_connect(h.base + path, headers=signature(url + path, {}))
        assert refused.value.status == 403


async def test_a_shared_key_is_as_good_as_the_auth_token() -> None:
    secrets = TwilioSecrets(account_sid=ACCOUNT, auth_token="secret", shared_keys={"webhooks_sharedkey_1": "shared"})
    async with house(twilio=secrets) as h:
        settings = {"X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}
        value = RequestValidator("shared").compute_signature(PUBLIC + VOICE, FORM, algorithm="HMAC_SHA256")
        assert await post(h, VOICE, {**settings, "X-Twilio-Signature": value}) == 200
        assert await post(h, VOICE, {"X-Twilio-Signature": value}) == 403
        unknown = {"X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_2,algorithm=HMAC_SHA256"}
        assert await post(h, VOICE, {**unknown, "X-Twilio-Signature": value}) == 403
        odd = {"X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,algorithm=ROT13"}
        assert await post(h, VOICE, {**odd, "X-Twilio-Signature": value}) == 403


@pytest.mark.parametrize(("trusted", "seen"), [((), "127.0.0.1"), (("127.0.0.0/8",), "9.9.9.9")])
async def test_an_address_is_taken_from_trusted_proxies_alone(trusted: tuple[str, ...], seen: str) -> None:
    async with house(trusted_proxies=tuple(ip_network(net) for net in trusted)) as h:
        with capture_logs() as logs, pytest.raises(aiohttp.WSServerHandshakeError):
            await h.http.ws_connect(
                h.base + "/ws/media-stream/x",
                headers={"X-Forwarded-For": "6.6.6.6, 9.9.9.9", **signed("/else")},
            )
        assert [line["address"] for line in logs if line["event"] == "refused at the door"] == [seen]


async def test_an_unknown_number_is_rejected_and_counted() -> None:
    numbers = Numbers(Owner(agent="notes"), {"+15550002": Owner("acme", "notes", "ann")})
    async with house(numbers=numbers) as h:
        answer = await h.voice(To="+15559999")
        assert "<Reject" in await answer.text()
        await h.counted('calltape_webhooks_total{answer="unknown_number",hook="voice"}', 1)
        assert await h.events() == []
        await h.voice()
        started = (await h.events("call.started"))[-1]
        assert isinstance(started, CallStarted)
        assert (started.tenant_id, started.agent, started.user_id) == ("acme", "notes", "ann")


async def test_an_outbound_call_belongs_to_the_number_it_comes_from() -> None:
    numbers = Numbers(Owner(agent="notes"), {"+15550002": Owner("acme")})
    async with house(numbers=numbers) as h:
        await h.voice(From="+15550002", To="+15559999", Direction="outbound-api")
        started = (await h.events("call.started"))[-1]
        assert isinstance(started, CallStarted)
        assert (started.tenant_id, started.direction) == ("acme", "outbound")


async def test_resuming_an_ended_call_hangs_up_once_the_read_model_has_caught_up() -> None:
    asked: list[tuple[str, int]] = []

    async def ended(call_id: str, _partition: int, position: int) -> Standing:
        asked.append((call_id, position))
        return Standing(ended=True)

    async with house(read_model=ended) as h:
        await h.voice()
        document = await (await h.voice(RESUME)).text()
        assert "<Hangup" in document
        assert "<Stream" not in document
        assert asked == [(CALL, 1)], "asked for the call as of the log's end"
        await h.counted('calltape_webhooks_total{answer="resume_ended",hook="voice"}', 1)


async def test_resuming_a_live_call_connects_it_again_and_starts_none() -> None:
    async def alive(_call_id: str, _partition: int, _position: int) -> Standing:
        return Standing()

    async with house(read_model=alive) as h:
        await h.voice()
        assert "<Stream" in await (await h.voice(RESUME)).text()
        assert [type_of(event) for event in await h.events("call.started")] == ["call.started"]


async def test_resuming_a_call_that_nobody_knows_begins_it() -> None:
    async def forgotten(_call_id: str, _partition: int, _position: int) -> Standing:
        return Standing(known=False)

    async with house(read_model=forgotten) as h:
        assert "<Stream" in await (await h.voice(RESUME)).text()
        assert [type_of(event) for event in await h.events("call.started")] == ["call.started"]


async def test_a_read_model_that_is_down_keeps_nobody_out() -> None:
    async def down(_call_id: str, _partition: int, _position: int) -> Standing:
        raise LogUnavailable("away")

    async with house(read_model=down) as h:
        assert "<Stream" in await (await h.voice(RESUME)).text()


async def test_the_sixth_resume_in_a_minute_hangs_up_and_a_minute_later_does_not() -> None:
    at = [1_000_000]
    async with house(clock=lambda: at[0]) as h:
        for _ in range(5):
            assert "<Stream" in await (await h.voice(RESUME)).text()
        assert "<Hangup" in await (await h.voice(RESUME)).text()
        assert "<Stream" in await (await h.voice(RESUME, CallSid="CA0002")).text()
        at[0] += 60_001
        assert "<Stream" in await (await h.voice(RESUME)).text()


async def test_a_log_that_is_away_is_503_and_when_to_come_again() -> None:
    async with house(limits=Limits(webhook_ms=20)) as h:
        h.log.fault = LogUnavailable("away")
        answer = await h.voice()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        await h.counted('calltape_webhooks_total{answer="log_away",hook="any"}', 1)
        h.log.fault = None
        await h.events("call.started")


async def test_webhooks_do_not_pile_up_facts_while_the_log_is_away() -> None:
    async with house(limits=Limits(webhook_ms=1), facts_buffer=3) as h:
        h.log.fault = LogUnavailable("away")
        for number in range(20):
            assert (await h.voice(CallSid=f"CA{number:04d}")).status == 503
        # Three wait, and perhaps one is on its way.
        assert h.ingest.tally.waiting()[1] <= 4
        h.log.fault = None
        await h.events("call.started", call_id="CA0000")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"CallSid=CA1", "application/x-www-form-urlencoded; charset=klingon"),
        (b"no boundary", "multipart/form-data"),
        (b"{}", "application/json"),
        (b"", "application/x-www-form-urlencoded"),
    ],
    ids=["not utf-8", "unknown charset", "no boundary", "json", "nothing"],
)
async def test_what_is_no_form_is_refused_and_no_failure_of_ours(body: bytes, kind: str) -> None:
    async with house() as h:
        for path in (VOICE, "/twilio/status", "/twilio/stream-status"):
            answer = await h.http.post(h.base + path, data=body, headers={"Content-Type": kind})
            assert answer.status in (400, 403)


async def test_a_form_with_a_file_in_it_is_400_even_in_development() -> None:
    async with house(dev=True) as h:
        form = aiohttp.FormData({"CallSid": CALL})
        form.add_field("To", b"+1555", filename="to.txt")
        assert (await h.http.post(h.base + VOICE, data=form)).status == 400
        await h.counted('calltape_webhooks_total{answer="malformed",hook="voice"}', 1)


async def test_a_form_over_64_kib_is_413() -> None:
    async with house() as h:
        assert await post(h, VOICE, {}, {"CallSid": "x" * 70_000}) == 413


async def test_reports_of_the_carrier_become_facts_in_its_own_numbering() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        await h.voice("/twilio/status", CallStatus="in-progress", SequenceNumber="2")
        await h.voice("/twilio/stream-status", StreamSid=STREAM, StreamEvent="stream-started")
        found = await h.events("stream.reported")
        status = next(event for event in found if isinstance(event, CallReported))
        assert (status.source, status.sequence, status.status) == (CALL, 2, "in-progress")
        assert getattr(found[-1], "stream", "") == stream
        await ws.close()
