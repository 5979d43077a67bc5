"""Whole simulated calls against a small server that checks signatures and counters as ours does."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clients.carrier import Carrier, CarrierConfig
from clients.report import CallReport, Observation, Seen
from clients.script import parse_script
from tests.support.twilio_server import ACCOUNT_SID, AUTH_TOKEN, Conversation, TwilioServer, polite_agent, tone

CONNECT = '<Response><Connect><Stream url="STREAM"><Parameter name="k" value="v"/></Stream></Connect></Response>'
RESUME = CONNECT.replace("</Response>", '<Redirect method="POST">/twilio/voice?resume=1</Redirect></Response>')
HANGUP = "<Response><Hangup/></Response>"


async def voice(text: str) -> bytes:
    """100 ms of sound for every word."""
    return tone(100 * len(text.split()))


def ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):032x}"


def carrier_for(server: TwilioServer, **changes: object) -> Carrier:
    config = CarrierConfig(to=server.url, account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, public_url=server.public_url)
    config = replace(config, **{"pace": 20.0, **changes})  # type: ignore[arg-type]
    return Carrier(config, voice=voice, new_id=ids(), now=lambda: datetime(2026, 1, 2, tzinfo=UTC))


async def call(server: TwilioServer, script: str, **changes: object) -> CallReport:
    async with carrier_for(server, **changes) as carrier, asyncio.timeout(20):
        return await carrier.place_call(parse_script(script))


@pytest.fixture
async def server() -> AsyncIterator[TwilioServer]:
    async with TwilioServer(CONNECT) as running:
        yield running


async def test_a_caller_speaks_hears_the_reply_and_hangs_up(server: TwilioServer) -> None:
    report = await call(server, "[{say: one two three}, {wait_for: reply}, hangup]")
    assert report.ok, report.as_json()
    assert (report.streams, report.ended_by, len(report.turns)) == (1, "caller", 1)
    assert [(mark.name, mark.cleared) for mark in report.marks] == [("reply-1", False)]
    assert report.turns[0].ended_ms - report.turns[0].started_ms == 300
    assert report.turns[0].first_audio_ms is not None
    assert tone(2_000) in report.heard
    assert tone(300) in report.caller


async def test_the_stream_is_numbered_in_strings_and_ends_with_stop(server: TwilioServer) -> None:
    await call(server, "[{wait: 100}, {dtmf: '5'}, hangup]")
    connected, start, *rest = server.conversations[0].received
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start["start"]["customParameters"] == {"k": "v"}
    assert start["start"]["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    numbered = [start, *rest]
    assert [said["sequenceNumber"] for said in numbered] == [str(n) for n in range(1, len(numbered) + 1)]
    media = [said["media"] for said in rest if said["event"] == "media"]
    assert [said["chunk"] for said in media] == [str(n) for n in range(1, len(media) + 1)]
    assert media[1]["timestamp"] == "140"
    assert [said["dtmf"] for said in rest if said["event"] == "dtmf"] == [{"track": "inbound_track", "digit": "5"}]
    assert rest[-1]["event"] == "stop"
    assert set(rest[-1]["stop"]) == {"accountSid", "callSid"}


async def test_a_caller_who_interrupts_hears_the_agent_fall_silent(server: TwilioServer) -> None:
    script = "[{say: one two}, {interrupt_after_ms: 500}, {say: stop that now please}, {wait_for: reply}, hangup]"
    report = await call(server, script)
    assert report.ok, report.as_json()
    assert report.clears == 1
    assert [(mark.name, mark.cleared) for mark in report.marks] == [("reply-1", True), ("reply-2", False)]
    first, second = report.turns
    assert (first.interrupts, second.interrupts) == (False, True)
    assert first.clear_ms is None
    assert second.clear_ms is not None


async def test_statuses_are_posted_in_order_and_signed(server: TwilioServer) -> None:
    report = await call(server, "[{wait: 1500}]", status_events=("initiated", "ringing", "answered", "completed"))
    posted = server.posted("/twilio/status")
    assert [fields["CallStatus"] for fields in posted] == ["initiated", "ringing", "in-progress", "completed"]
    assert [fields["SequenceNumber"] for fields in posted] == ["0", "1", "2", "3"]
    assert int(posted[-1]["CallDuration"]) >= 2
    assert [status.http for status in report.statuses] == [204] * 4
    assert server.refused == 0


async def test_a_public_url_is_signed_while_another_is_connected_to() -> None:
    async with TwilioServer(CONNECT, public_url="https://calls.example.com") as server:
        report = await call(server, "[{wait: 100}]")
    assert report.ok, report.as_json()
    assert server.refused == 0


async def test_a_wrong_token_is_refused_at_the_webhook(server: TwilioServer) -> None:
    config = CarrierConfig(to=server.url, account_sid=ACCOUNT_SID, auth_token="another", pace=20.0)
    async with Carrier(config, voice=voice, new_id=ids(), now=lambda: datetime(2026, 1, 2, tzinfo=UTC)) as carrier:
        report = await carrier.place_call(parse_script("[{wait: 100}]"))
    assert not report.ok
    assert "HTTP 403" in report.failures[0]


async def hang_up_soon(talk: Conversation) -> None:
    await talk.until("media")
    await talk.socket.close()


async def test_the_verb_after_connect_runs_when_the_server_closes() -> None:
    async with TwilioServer(RESUME, HANGUP, agents=[hang_up_soon]) as server:
        report = await call(server, "[{wait_for: hangup}]")
    assert report.ok, report.as_json()
    assert (report.redirects, report.ended_by) == (1, "hangup verb")
    assert [path for path, _ in server.posts][:2] == ["/twilio/voice", "/twilio/voice?resume=1"]


async def test_a_dropped_network_sends_no_stop_and_the_call_is_connected_again() -> None:
    async with TwilioServer(RESUME) as server:
        script = "[{say: one}, {wait_for: reply}, {network: drop}, {wait: 4000}, {say: two}, {wait_for: reply}, hangup]"
        report = await call(server, script)
    assert report.ok, report.as_json()
    assert (report.streams, report.redirects) == (2, 1)
    first, second = server.conversations
    assert "stop" not in [said["event"] for said in first.received]
    assert second.received[-1]["event"] == "stop"
    assert first.stream_sid != second.stream_sid


async def test_a_stream_callback_says_how_the_stream_ended() -> None:
    document = RESUME.replace('url="STREAM"', 'url="STREAM" statusCallback="/twilio/stream-status" name="s"')
    async with TwilioServer(document) as server:
        await call(server, "[{wait: 200}, {network: drop}, {wait: 4000}, hangup]")
    events = [fields["StreamEvent"] for fields in server.posted("/twilio/stream-status")]
    assert events == ["stream-started", "stream-error", "stream-started", "stream-stopped"]


async def misbehave(talk: Conversation) -> None:
    await talk.until("start")
    sid = talk.stream_sid
    await talk.say({"event": "transcript", "streamSid": sid})
    await talk.say({"event": "clear", "streamSid": sid, "timestamp": 1})
    await talk.say({"event": "clear", "streamSid": "MZ0"})
    await talk.say({"event": "media", "streamSid": sid, "media": {"payload": "no base64!"}})
    await talk.socket.send_bytes(b"\x00")
    await talk.socket.send_str("{")
    await polite_agent(talk)


async def test_broken_rules_are_reported_and_the_call_goes_on() -> None:
    async with TwilioServer(CONNECT, agents=[misbehave]) as server:
        report = await call(server, "[{say: one}, {wait_for: reply}, hangup]")
    assert [broken.code for broken in report.violations] == [31951, 31951, 31951, 31951, 31950, 31951]
    assert (report.ok, report.failures, report.clears) == (False, [], 0)


async def test_an_agent_who_never_answers_is_a_failure() -> None:
    async def mute(talk: Conversation) -> None:
        await talk.until("stop")

    async with TwilioServer(CONNECT, agents=[mute]) as server:
        report = await call(server, "[{say: one}, {wait_for: reply, timeout_ms: 2000}, hangup]")
    assert report.failures == ["step 2: waited for reply, none in 2000 ms"]


async def test_a_mark_with_nothing_buffered_comes_back_at_once() -> None:
    async def mark_only(talk: Conversation) -> None:
        await talk.until("start")
        await talk.say({"event": "mark", "streamSid": talk.stream_sid, "mark": {"name": "now"}})
        await talk.until("mark")
        await talk.socket.close()

    async with TwilioServer(CONNECT, agents=[mark_only]) as server:
        report = await call(server, "[{wait_for: hangup}]")
    assert [(mark.name, mark.cleared) for mark in report.marks] == [("now", False)]


async def test_words_a_pause_and_a_transfer_need_no_stream() -> None:
    document = "<Response><Say>hello you</Say><Pause length='1'/><Dial><Number>+15550109999</Number></Dial></Response>"
    async with TwilioServer(document) as server:
        report = await call(server, "[{wait_for: hangup}]")
    assert report.transferred == "+15550109999"
    assert report.duration_ms >= 1_200
    assert tone(200) in report.heard


async def test_a_rejected_call_is_never_answered() -> None:
    async with TwilioServer("<Response><Reject reason='busy'/></Response>") as server:
        report = await call(server, "[{wait: 100}]")
    assert (report.ended_by, report.streams) == ("reject", 0)
    assert [fields["CallStatus"] for fields in server.posted("/twilio/status")] == ["busy"]


async def test_a_refused_handshake_is_a_failure_and_the_next_verb_runs() -> None:
    document = RESUME.replace("STREAM", "wss://calls.example.com/nowhere")
    async with TwilioServer(document, HANGUP) as server:
        report = await call(server, "[{wait_for: hangup}]")
    assert "HTTP 404" in report.failures[0]
    assert report.redirects == 1


async def test_the_fallback_answers_when_the_server_is_gone() -> None:
    async with TwilioServer(CONNECT, public_url="https://calls.example.com") as server:
        config = CarrierConfig(
            to="http://127.0.0.1:9", account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, pace=20.0,
            public_url="https://calls.example.com", fallback_to=server.url,
        )  # fmt: skip
        async with Carrier(config, voice=voice, new_id=ids(), now=lambda: datetime(2026, 1, 2, tzinfo=UTC)) as carrier:
            report = await carrier.place_call(parse_script("[{say: one}, {wait_for: reply}]"))
    assert report.ok, report.as_json()


async def test_what_happens_is_seen_while_it_happens(server: TwilioServer) -> None:
    seen: list[Observation] = []
    async with carrier_for(server) as carrier:
        await carrier.place_call(parse_script("[{say: one}, {wait_for: reply}]"), on_event=seen.append)
    assert [observation.kind for observation in seen] == [
        Seen.DIALLED, Seen.ANSWERED, Seen.STREAM_OPENED, Seen.CALLER_STARTED, Seen.CALLER_FINISHED,
        Seen.AGENT_STARTED, Seen.MARK_PLAYED, Seen.AGENT_STOPPED, Seen.HUNG_UP, Seen.STREAM_CLOSED, Seen.ENDED,
    ]  # fmt: skip


async def test_fifty_calls_at_once_share_one_ticker(server: TwilioServer) -> None:
    async with carrier_for(server, pace=2.0) as carrier:
        script = parse_script("[{say: one}, {wait_for: reply, timeout_ms: 120000}]")
        reports = await asyncio.gather(*(carrier.place_call(script) for _ in range(50)))
    assert all(report.ok for report in reports), [report.failures for report in reports if not report.ok]
