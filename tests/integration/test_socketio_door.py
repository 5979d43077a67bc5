"""The Socket.IO door over real connections: companions, who sees whose call, limits, and garbage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients.socketio import Refused, SocketioClient
from ingest.app import doors as all_doors
from ingest.config import IngestConfig, Limits
from ingest.tokens import issue
from schema.call import CallEnded, CallStarted, RequestMade
from schema.outbox import OutboxFact
from schema.registry import encode
from schema.speech import TranscriptSettled
from schema.stream import StreamClosed, StreamOpened, StreamSuperseded, TextTyped
from schema.topics import EVENTS
from tests.integration.test_app_doors import CALL, NOW_S, SECRETS, doors, found, received, token
from tests.support.doors import House
from tests.support.screens import until_true
from tests.support.transcripts import sound

PACKET = sound("opus", 20)


def other(*, tenant: str = "acme", user: str = "u1") -> str:
    return issue(SECRETS, tenant=tenant, subject=user, scopes=("call",), issued_at=NOW_S, valid_s=3_600)[0]


async def append(h: House, event: Any) -> None:
    from eventlog.port import Entry

    await h.log.append(EVENTS.name, [Entry(event.call_id, encode(event))])


async def until_events(h: House, kind: str, count: int) -> list[Any]:
    async def are_there() -> bool:
        return len(await found(h, kind)) >= count

    await until_true(are_there)
    return await found(h, kind)


async def raw(h: House) -> Any:
    """A live call on a raw socket, and that socket."""
    ws = await h.http.ws_connect(f"{h.base}/voice-ws?sessionId=s1&token={token()}")
    await ws.send_bytes(PACKET)
    await until_events(h, "stream.opened", 1)
    return ws


class TestACompanion:
    async def test_is_no_stream_and_is_told_what_the_log_says(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token()) as client:
                assert (await client.start(sessionId="s1"))["companion"] is True
                heard = TranscriptSettled(
                    id="t1", call_id=CALL, role="hearing", prior=(await found(h, "call.started"))[0].id,
                    stream="x", text="Where is it?", start_ms=0, end_ms=900, through_ms=900,
                )  # fmt: skip
                await append(h, heard)
                told = await client.until("voice:transcript")
                assert (told.value["id"], told.value["text"]) == ("t1", "Where is it?")
                assert len(await found(h, "stream.opened")) == 1
                await ws.close()

    async def test_hears_nothing_of_void_events(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token()) as client:
                await client.start(sessionId="s1")
                life = (await found(h, "call.started"))[0].id
                said = {"call_id": CALL, "role": "hearing", "stream": "x", "start_ms": 0, "end_ms": 1, "through_ms": 1}
                await append(h, TranscriptSettled(id="t0", prior="nobody", text="void", **said))
                await append(h, TranscriptSettled(id="t1", prior=life, text="so", **said))
                await client.until("voice:transcript")
                assert [told["id"] for told in client.of("voice:transcript")] == ["t1"]
            await ws.close()

    async def test_speaks_with_a_name_of_its_own_about_the_calls_stream(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token()) as client:
                await client.start(sessionId="s1")
                await client.text("hello")
                await client.text("again")
                await client.interrupt()
                await client.end()
                wishes = await until_events(h, "request.made", 2)
                typed = [event for event in await found(h, "text.typed") if isinstance(event, TextTyped)]
                (opened,) = await found(h, "stream.opened")
                assert [(event.text, event.sequence, event.stream) for event in typed] == [
                    ("hello", 1, opened.stream),
                    ("again", 2, opened.stream),
                ]
                assert len({event.source for event in typed} | {opened.stream}) == 2
                assert [(w.kind, w.by) for w in wishes if isinstance(w, RequestMade)] == [
                    ("interrupt", "u1"),
                    ("hang_up", "u1"),
                ]
            await ws.close()

    async def test_that_sends_audio_becomes_a_stream(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token()) as client:
                await client.start(sessionId="s1")
                await client.audio(PACKET)
                await client.until(lambda came: came.name == "voice:session_ready" and not came.value["companion"])
                await client.audio(PACKET)
                first, second = (e.stream for e in await until_events(h, "stream.opened", 2))
                assert len(await received(h, 3)) == 3
                superseded = StreamSuperseded(id="e9", call_id=CALL, stream=first, by=second)
                await h.mail(OutboxFact(call_id=CALL, stream=first, position=3, body=encode(superseded)))
                async with asyncio.timeout(5):
                    while not ws.closed:
                        await ws.receive()
                assert ws.close_code == 4409
                assert not client.gone.is_set()

    async def test_that_writes_while_no_stream_is_open_becomes_one(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token()) as client:
                await client.start(sessionId="s1")
                await ws.close()
                await until_events(h, "stream.closed", 1)
                await client.text("is anybody there")
                typed = (await until_events(h, "text.typed", 1))[0]
                opened = (await until_events(h, "stream.opened", 2))[1]
                assert typed.stream == typed.source == opened.stream

    async def test_goes_when_the_call_ends(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token()) as client:
                await client.start(sessionId="s1")
                life = (await found(h, "call.started"))[0].id
                ended = CallEnded(id="e8", call_id=CALL, role="conversation", prior=life, reason="agent_goodbye")
                await append(h, ended)
                assert (await client.until("voice:ended")).value["reason"] == "agent_goodbye"
                assert (await client.until(lambda came: came.value.get("status") == "closed")).value["code"] == 1000
                async with asyncio.timeout(5):
                    await client.gone.wait()
            await ws.close()
            await until_true(lambda: h.ingest.tally.door("companion").active == 0)

    async def test_of_another_users_call_is_refused_and_nothing_is_written(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, other(user="u2")) as client:
                with pytest.raises(Refused) as refused:
                    await client.start(sessionId="s1")
                assert refused.value.code == "FORBIDDEN"
            assert len(await found(h, "stream.opened")) == 1
            await ws.close()

    async def test_of_another_tenants_session_has_a_call_of_its_own(self) -> None:
        async with doors() as h:
            ws = await raw(h)
            async with SocketioClient(h.base, other(tenant="rival")) as client:
                ready = await client.start(sessionId="s1")
                assert (ready["call"], ready["companion"]) == ("rival~s1", False)
            await ws.close()

    async def test_is_told_to_come_back_when_the_server_goes(self) -> None:
        async with doors(drain_ms=10) as h:
            ws = await raw(h)
            async with SocketioClient(h.base, token(), transports=("polling",)) as client:
                await client.start(sessionId="s1")
                draining = asyncio.create_task(h.ingest.drain())
                assert (await client.until("voice:error")).value["error_code"] == "SERVER_RESTARTING"
                await ws.close()
                await draining


async def test_a_call_of_the_log_that_lives_nowhere_is_resumed() -> None:
    async with doors() as h:
        started = CallStarted(id="c1", call_id=CALL, tenant_id="acme", source="old", channel="raw", user_id="u1")
        old: dict[str, Any] = {"call_id": CALL, "source": "old", "stream": "old"}
        opened = StreamOpened(id="o1", sequence=1, door="raw", mailbox=3, user_id="u1", **old)
        closed = StreamClosed(id="o2", sequence=2, reason="peer_lost", **old)
        for event in (started, opened, closed):
            await append(h, event)
        async with SocketioClient(h.base, token()) as client:
            assert (await client.start(sessionId="s1"))["companion"] is False
            assert len(await until_events(h, "stream.opened", 2)) == 2


async def test_a_client_that_vanishes_was_lost() -> None:
    async with doors() as h, SocketioClient(h.base, token()) as client:
        await client.start(sessionId="s1")
        await client.lose()
        (closed,) = await until_events(h, "stream.closed", 1)
        assert closed.reason == "peer_lost"


async def test_who_never_starts_is_sent_away() -> None:
    async with doors(limits=Limits(start_ms=50)) as h, SocketioClient(h.base, token()) as client:
        closed = await client.until("voice:status")
        assert (closed.value["status"], closed.value["code"]) == ("closed", 1008)
        await until_true(lambda: not h.ingest._socketio.engines)  # type: ignore[union-attr]


async def test_a_connection_without_a_visit_is_ended() -> None:
    async with doors(limits=Limits(start_ms=50)) as h:
        ws = await h.http.ws_connect(h.base + "/socket.io/?EIO=4&transport=websocket")
        async with asyncio.timeout(5):
            while not ws.closed:
                await ws.receive()


async def test_an_address_has_only_so_many_connections() -> None:
    async with (
        doors(limits=Limits(connections_an_address=2)) as h,
        SocketioClient(h.base, token()),
        SocketioClient(h.base, token(), transports=("polling",)),
    ):
        with pytest.raises(Refused):
            await SocketioClient(h.base, token()).__aenter__()
        for path in ("/socket.io/?EIO=4&transport=polling", f"/voice-ws?token={token()}"):
            assert (await h.http.get(h.base + path)).status == 429  # they count at every door


async def test_a_foreign_page_may_not_connect() -> None:
    async with doors() as h:
        headers = {"Origin": "https://evil.example"}
        for query in ("EIO=4&transport=polling", "EIO=4&transport=polling&sid=x"):
            assert (await h.http.get(f"{h.base}/socket.io/?{query}", headers=headers)).status == 403


async def test_a_token_that_expires_ends_the_connection() -> None:
    async with doors(limits=Limits(token_grace_ms=0)) as h:
        ws = await raw(h)
        short = issue(SECRETS, tenant="acme", subject="u1", scopes=("call",), issued_at=NOW_S, valid_s=1)[0]
        async with SocketioClient(h.base, short) as client:
            await client.start(sessionId="s1")
            h.ingest._socketio._desk.now = lambda: (NOW_S + 60) * 1000  # type: ignore[union-attr]
            assert (await client.until("voice:error")).value["error_code"] == "AUTH_EXPIRED"
            assert (await client.until(lambda came: came.value.get("code") == 4401)).value["status"] == "closed"
        await ws.close()


GARBAGE = (
    "", "x", "4", "40", "40/voice", "42", '42["connect"]', '42/voice,["disconnect"]', '42/voice,["connect",{}]',
    '42/voice,{"a":1}', "42/voice,[]", "42/voice,[[1]]",
    '451-/voice,["voice:audio_data",{"_placeholder":true,"num":9}]',
    '459999999-/voice,["x"]', "43/voice,1[]", "9", "4" * 1_000, "42/voice," + "[" * 2_000, '42/voice,["voice:start",1]',
)  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE)
async def test_garbage_on_a_websocket_harms_nobody(text: str) -> None:
    async with doors() as h, SocketioClient(h.base, token()) as neighbour:
        async with h.http.ws_connect(h.base + "/socket.io/?EIO=4&transport=websocket") as ws:
            await ws.receive()
            await ws.send_str(f'40/voice,{{"token":"{token()}"}}')
            assert (await ws.receive_str()).startswith("40/voice,")
            await ws.send_str(text)
            await ws.send_bytes(b"\x00\xff")
        assert (await neighbour.start(sessionId="s1"))["sessionId"] == "s1"
        assert await neighbour.audio_taken(PACKET)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"x", b"4" * 100, b"\x1e" * 600, b'42/voice,["a"]'])
async def test_garbage_in_a_post_is_never_a_fault_of_ours(body: bytes) -> None:
    async with doors() as h:
        opened = await (await h.http.get(h.base + "/socket.io/?EIO=4&transport=polling")).text()
        sid = opened.split('"sid":"')[1].split('"')[0]
        for query in (f"EIO=4&transport=polling&sid={sid}", "EIO=4&transport=polling&sid=nobody", "EIO=9", "j=x"):
            answer = await h.http.post(f"{h.base}/socket.io/?{query}", data=body)
            assert answer.status < 500


def test_it_is_a_door_like_the_others() -> None:
    shut = {door.name: door for door in all_doors(IngestConfig())}
    opened = {door.name: door for door in all_doors(IngestConfig(tokens=SECRETS))}
    for name in ("socketio", "turns"):
        assert not shut[name].is_open and "JWT_SECRET" in shut[name].why
        assert opened[name].is_open
