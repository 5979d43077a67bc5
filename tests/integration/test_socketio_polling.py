"""Clients that poll, in processes of their own, with no more patience than their library gives them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest

from ingest.socketio_polls import MOST_PACKETS_A_POLL, Pieces
from schema.turn import ReplyStarted
from tests.integration.test_app_doors import CALL, doors, fact, found, received, token
from tests.integration.test_socketio_door import until_events
from tests.support.polling import BURST
from tests.support.socketio import packet

ROOT = Path(__file__).parents[2]
PACKETS = 100
PATIENCE_S = 10
SEPARATOR = "\x1e"  # of packets, in a body


async def test_a_python_client_hears_a_whole_reply_and_loses_nothing_it_says() -> None:
    async with doors() as h:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.polling", h.base, token(), str(PACKETS)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        (opened,) = await until_events(h, "stream.opened", 1)
        await h.mail(fact(opened.stream, 7, ReplyStarted(id="r1", call_id=CALL, why="greeting", agent="notes")))
        await h.mail(*(packet(opened.stream, number, last=number == PACKETS - 1) for number in range(PACKETS)))
        told, _ = await client.communicate()
        assert client.returncode == 0
        assert json.loads(told) == {"heard": PACKETS, "is_taken": True}
        assert len(await received(h, PACKETS + BURST + 1)) == PACKETS + BURST + 1  # spoken, and heard
        assert [closed.reason for closed in await found(h, "stream.closed")] == ["peer_closed"]


async def test_no_poll_is_answered_with_more_than_every_client_reads() -> None:
    async with doors() as h, aiohttp.ClientSession() as http:
        url = h.base + "/socket.io/?EIO=4&transport=polling"
        opened = await (await http.get(url)).text()
        url += "&sid=" + opened.split('"sid":"')[1].split('"')[0]
        await http.post(url, data=f'40/voice,{{"token":"{token()}"}}')
        await http.post(url, data='42/voice,["voice:start",{"sessionId":"s1"}]')
        asked = range(2 * MOST_PACKETS_A_POLL)
        said = [f'42/voice,{number}["voice:metrics",{{"ping_ms":1}}]' for number in asked]
        await http.post(url, data=SEPARATOR.join(said))
        answers: list[list[str]] = []
        async with asyncio.timeout(PATIENCE_S):
            while sum(each.startswith("43/voice,") for answer in answers for each in answer) < len(asked):
                answers.append((await (await http.get(url)).text()).split(SEPARATOR))
        assert max(map(len, answers)) == MOST_PACKETS_A_POLL


async def test_what_waits_is_given_in_pieces_and_in_its_order() -> None:
    pieces = Pieces()
    for number in range(MOST_PACKETS_A_POLL + 2):
        pieces.put_nowait(number)
    assert await pieces.get() == 0
    assert [pieces.get_nowait() for _ in range(1, MOST_PACKETS_A_POLL)] == list(range(1, MOST_PACKETS_A_POLL))
    with pytest.raises(asyncio.QueueEmpty):
        pieces.get_nowait()
    assert await pieces.get() == MOST_PACKETS_A_POLL
    assert pieces.get_nowait() == MOST_PACKETS_A_POLL + 1
