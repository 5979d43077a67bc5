"""JavaScript's own Socket.IO client at our door: every transport, binary both ways, refusals, a server that goes."""

from __future__ import annotations

import pytest

from schema.envelope import type_of
from schema.turn import ReplyInterrupted, ReplyStarted
from tests.integration.test_app_doors import CALL, doors, fact, found, received, token
from tests.support.node import javascript
from tests.support.socketio import packet
from tests.support.transcripts import sound

TRANSPORTS = ("websocket", "polling", "polling,websocket")
PACKET = sound("opus", 20)


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_session_goes_both_ways(transports: str) -> None:
    async with doors() as h, javascript(h.base, token(), transports) as client:
        await client.until("connect")
        if transports == "polling,websocket" and {"upgrade": "websocket"} not in client.came:
            await client.until("upgrade", "websocket")
        await client.emit("voice:start", {"sessionId": "s1", "locale": "en-US"})
        assert (await client.event("voice:session_ready"))["sessionId"] == "s1"
        for _ in range(3):
            await client.emit("voice:audio_data", PACKET)
        await client.emit("voice:audio_data", PACKET, ack=True)
        assert (await client.until("ack"))["ack"] == {"ok": True}
        await client.emit("voice:text", {"text": "hello"})
        assert await received(h, 4) == [PACKET] * 4
        (opened,) = await found(h, "stream.opened")
        assert (opened.door, opened.out_packet_ms, opened.out_sample_rate) == ("socketio", 20, 48_000)
        await h.mail(fact(opened.stream, 7, ReplyStarted(id="r1", call_id=CALL, why="greeting", agent="notes")))
        await h.mail(*(packet(opened.stream, number, last=number == 4) for number in range(5)))
        assert (await client.event("voice:status"))["status"] == "speaking"
        assert [await client.event("voice:audio") for _ in range(5)] == [PACKET] * 5
        await h.mail(fact(opened.stream, 9, ReplyInterrupted(id="e9", call_id=CALL, reply="r1")))
        assert (await client.event("voice:status"))["interrupted"] is True
        await client.disconnect()
        await client.until("disconnect", "io client disconnect")
        (closed,) = [event for event in await h.events("stream.closed", CALL) if type_of(event) == "stream.closed"]
        assert closed.reason == "peer_closed"  # type: ignore[union-attr]


@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_a_burst_of_packets_loses_none(transports: str) -> None:
    async with doors() as h, javascript(h.base, token(), transports) as client:
        await client.until("connect")
        await client.emit("voice:start", {"sessionId": "s1"})
        await client.event("voice:session_ready")
        for _ in range(200):
            await client.emit("voice:audio_data", PACKET)
        assert len(await received(h, 200)) == 200


async def test_who_is_refused_is_told_why() -> None:
    async with doors() as h:
        for shown, code in (
            ("", "missing_token"),
            ("x.y.z", "malformed_token"),
            (token(scopes=("screen",)), "missing_scope"),
        ):
            async with javascript(h.base, shown) as client:
                refused = await client.until("connect_error")
                assert refused["data"]["code"] == code
        assert h.ingest.tally.refused["socketio", "401", "malformed_token"] == 1


@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_a_server_that_goes_says_so_and_does_not_wait_for_clients(transports: str) -> None:
    async with doors(drain_ms=10) as h, javascript(h.base, token(), transports) as client:
        await client.until("connect")
        await client.emit("voice:start", {"sessionId": "s1"})
        await client.event("voice:session_ready")
        await h.ingest.drain()
        error = await client.event("voice:error")
        assert (error["error_code"], error["retry_after"]) == ("SERVER_RESTARTING", 1_000)
        closed = await client.event("voice:status")
        assert (closed["status"], closed["code"]) == ("closed", 1012)
        await client.until("disconnect", "io server disconnect")
