"""The nginx configuration we publish, run: TLS in front, two servers behind, and every kind of wire through it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import socketio
from twilio.request_validator import RequestValidator

from eventlog.port import Entry
from ingest.config import Limits
from ingest.tokens import issue
from schema.envelope import AnyEvent
from schema.outbox import OutboxFact
from schema.registry import decode, encode, pack, unpack_media
from schema.speech import TranscriptSettled
from schema.stream import StreamOpened
from schema.topics import EVENTS, MEDIA, OUTBOX, mailbox_of, partition_of
from tests.support.doors import ACCOUNT, media, start
from tests.support.nginx import NAME, PUBLIC, TOKENS, Front, fronted
from tests.support.screens import until_true
from tests.support.transcripts import sound

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]
SESSION = "/voice/stream/ws/acme"
PATIENCE_S = 5
# Of clients that poll: with each it is even odds that it is led to the server that the one before was led to.
ADDRESSES = 64
CALL_OF_CARRIER = "CA00000000000000000000000000000009"


def token(*scopes: str) -> str:
    now_s = int(time.time())
    return issue(TOKENS, tenant="acme", subject="u1", scopes=scopes, issued_at=now_s, valid_s=600)[0]


def bearer(*scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*scopes)}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    async with fronted(tmp_path_factory.mktemp("nginx")) as it:
        yield it


async def events(front: Front, call_id: str) -> list[AnyEvent]:
    reader = front.log.reader(EVENTS.name, {partition_of(call_id, EVENTS.partitions): 0})
    found = [decode(record.value) for record in await reader.read(max_records=1_000, wait_ms=20)]
    await reader.close()
    return [event for event in found if event.call_id == call_id]


async def streams(front: Front, call_id: str) -> list[StreamOpened]:
    return [event for event in await events(front, call_id) if isinstance(event, StreamOpened)]


async def open_session(front: Front, session: str) -> tuple[aiohttp.ClientWebSocketResponse, StreamOpened]:
    """A mobile app's socket, and its stream."""
    before = len(await streams(front, f"acme~{session}"))
    ws = await front.http.ws_connect(PUBLIC + SESSION, headers=bearer("call"))
    await ws.send_json({"type": "start_session", "session_id": session, "audio_format": "opus"})
    await told(ws, "session_status")
    opened = await streams(front, f"acme~{session}")
    assert len(opened) == before + 1
    return ws, opened[-1]


async def told(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message: dict[str, Any] = await ws.receive_json()
            if message["type"] == kind:
                return message


class TestACarrier:
    async def test_signs_what_the_world_calls_us_and_is_let_in(self, front: Front) -> None:
        form = {"CallSid": CALL_OF_CARRIER, "AccountSid": ACCOUNT, "From": "+1", "To": "+2", "Direction": "inbound"}
        signature = RequestValidator("secret").compute_signature(f"{PUBLIC}/twilio/voice", form)
        answer = await front.http.post(f"{PUBLIC}/twilio/voice", data=form, headers={"X-Twilio-Signature": signature})
        assert answer.status == 200
        (url,) = re.findall(r'url="(wss://[^"]+)"', await answer.text())
        assert url.startswith(f"wss://{NAME}/ws/media-stream/")
        signature = RequestValidator("secret").compute_signature(url, {})
        async with front.http.ws_connect(url, headers={"X-Twilio-Signature": signature}) as ws:
            await ws.send_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
            await ws.send_json(start(CALL_OF_CARRIER))
            await ws.send_json(media(1))

            async def is_heard() -> bool:
                reader = front.log.reader(MEDIA.name, {partition_of(CALL_OF_CARRIER, MEDIA.partitions): 0})
                records = await reader.read(wait_ms=20)
                return any(unpack_media(record.value).call_id == CALL_OF_CARRIER for record in records)

            await until_true(is_heard)
        assert url.rsplit("/", 1)[1] not in front.access_log()

    async def test_that_signs_wrongly_stays_outside(self, front: Front) -> None:
        forged = {"X-Twilio-Signature": RequestValidator("guessed").compute_signature(f"{PUBLIC}/twilio/voice", {})}
        assert (await front.http.post(f"{PUBLIC}/twilio/voice", data={}, headers=forged)).status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await front.http.ws_connect(f"wss://{NAME}/ws/media-stream/some-token")
        assert refused.value.status == 403


async def test_a_screen_is_told_through_tls_what_happens(front: Front) -> None:
    app, _ = await open_session(front, "watched")
    url = f"wss://{NAME}/ws/callscreen/acme~watched?token={token('screen')}"
    async with front.http.ws_connect(url) as screen:
        assert (await told(screen, "snapshot"))["call"]["channel"] == "mobile"
        await app.send_json({"type": "text", "session_id": "watched", "text": "hello"})
        assert (await told(screen, "text.typed"))["text"] == "hello"
    await app.close()


async def test_a_session_that_comes_back_to_the_other_server_goes_on(front: Front) -> None:
    first, before = await open_session(front, "moved")
    second, after = await open_session(front, "moved")  # the first socket still stands there: the other has fewer
    assert {before.mailbox, after.mailbox} == {mailbox_of("one"), mailbox_of("two")}
    heard = TranscriptSettled(
        id="t1", call_id="acme~moved", role="hearing", prior="", stream=after.stream, text="I am back.",
        start_ms=0, end_ms=900, through_ms=900,
    )  # fmt: skip
    fact = OutboxFact(call_id="acme~moved", stream=after.stream, position=9, body=encode(heard))
    await front.log.append(OUTBOX.name, [Entry(fact.call_id, pack(fact), after.mailbox)])
    assert (await told(second, "transcript"))["text"] == "I am back."
    for ws in (first, second):
        await ws.close()


async def test_the_operators_pages_are_closed_to_the_world(front: Front) -> None:
    for path, status in (("/metrics", 403), ("/readyz", 403), ("/healthz", 200)):
        assert (await front.http.get(PUBLIC + path)).status == status, path


async def test_plain_http_leads_to_https(front: Front) -> None:
    async with aiohttp.ClientSession() as plain:
        url = f"http://127.0.0.1:{front.plain_port}/talk?agent=notes"
        answer = await plain.get(url, headers={"Host": NAME}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (301, f"{PUBLIC}/talk?agent=notes")


async def test_the_page_comes_through_and_may_open_its_socket(front: Front) -> None:
    answer = await front.http.get(f"{PUBLIC}/talk")
    assert answer.status == 200
    assert f"wss://{NAME}" in answer.headers["Content-Security-Policy"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    headers = {"Origin": PUBLIC}
    async with front.http.ws_connect(f"wss://{NAME}/ws/voice?token={token('call')}", headers=headers) as ws:
        assert (await told(ws, "session"))["call"].startswith("acme~")


async def test_what_is_logged_lets_nobody_in(front: Front) -> None:
    secret = token("screen")
    await front.http.get(f"{PUBLIC}/api/calls/acme~nothing/events?token={secret}")
    await until_true(lambda: "/api/calls/acme~nothing/events" in front.access_log())
    kept = "".join(path.read_text() for path in front.folder.glob("*.log"))
    assert secret not in kept and "token=" not in kept


async def test_nobody_says_of_himself_where_he_is(tmp_path: Path) -> None:
    limits = Limits(connections_an_address=1)
    async with fronted(tmp_path, limits=limits) as it, AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(it.client(f"127.0.0.{end}")) for end in (2, 3)]
        url = f"wss://{NAME}/ws/voice?token={token('call')}"
        for _ in range(2):  # one on each server
            await stack.enter_async_context(here.ws_connect(url))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await here.ws_connect(url, headers={"X-Forwarded-For": "203.0.113.9"})
        assert refused.value.status == 429
        await stack.enter_async_context(there.ws_connect(url))


@asynccontextmanager
async def polling(http: aiohttp.ClientSession) -> AsyncIterator[tuple[socketio.AsyncClient, asyncio.Queue[Any]]]:
    """A Socket.IO client that only polls, and what it is told of sessions."""
    client = socketio.AsyncClient(http_session=http, reconnection=False)
    ready: asyncio.Queue[Any] = asyncio.Queue()
    client.on("voice:session_ready", ready.put_nowait, namespace="/voice")
    try:
        await client.connect(
            PUBLIC,
            auth={"token": token("call")},
            transports=["polling"],
            namespaces=["/voice"],
            wait_timeout=PATIENCE_S,
        )
        yield client, ready
    finally:
        await client.disconnect()


async def test_a_polling_client_stays_with_one_server(front: Front) -> None:
    used = set()
    for end in range(10, 10 + ADDRESSES):  # which of them leads where depends on the servers' ports
        async with front.client(f"127.{end}.{end * 7 % 256}.{end}") as http, polling(http) as (client, ready):
            session = f"polled{end}"
            await client.emit("voice:start", {"sessionId": session}, namespace="/voice")
            await asyncio.wait_for(ready.get(), PATIENCE_S)
            for _ in range(3):
                await client.emit("voice:audio_data", sound("opus", 20), namespace="/voice")
            (opened,) = await streams(front, f"acme~{session}")
            used.add(opened.mailbox)
        if end >= 14 and len(used) == 2:
            break
    assert used == {mailbox_of("one"), mailbox_of("two")}  # other addresses, other servers


async def test_events_come_as_they_happen(front: Front) -> None:
    app, _ = await open_session(front, "streamed")
    url = f"{PUBLIC}/api/calls/acme~streamed/events"
    async with front.http.get(url, headers={**bearer("screen"), "Accept": "text/event-stream"}) as answer:
        await app.send_json({"type": "text", "session_id": "streamed", "text": "at once"})
        async with asyncio.timeout(PATIENCE_S):
            async for line in answer.content:
                if line.startswith(b"data:") and json.loads(line[5:]).get("text") == "at once":
                    break
    await app.close()
