"""A log that was away takes down late what the caller heard in the meantime: the record says when it was heard."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Literal

import aiohttp
import pytest

from eventlog.port import Entry, LogUnavailable, Record
from ingest.screen_tail import Heard
from ingest.web.transcript import TimedFold
from projections.as_of import as_of
from projections.queries import call_details
from schema.outbox import OutboxAudio
from schema.registry import decode, encode
from schema.stream import PlaybackMarked, PlaybackStarted
from schema.topics import EVENTS, partition_of
from schema.turn import ReplySentence, ReplyStarted, ReplyVoiced
from tests.support.doors import CALL, Hands, House, begun, fact, house, media

AWAY_MS = 30_000
LENGTHS_MS = (1_200, 900)
ROLE: Literal["conversation"] = "conversation"


async def replied(h: House, stream: str) -> None:
    """A reply of two sentences is on the log, and all its audio on the way to the caller."""
    begun_by = (await h.events("call.started"))[0].id
    reply = ReplyStarted(id="r", call_id=CALL, role=ROLE, prior=begun_by, why="greeting")
    words = ("one two three", "four five")
    said = [
        ReplySentence(
            id=f"s{n}", call_id=CALL, role=ROLE, prior=f"s{n - 1}" if n else "r", reply="r", index=n, text=text
        )
        for n, text in enumerate(words)
    ]
    voiced = [
        ReplyVoiced(
            id=f"v{n}", call_id=CALL, role=ROLE, prior=f"v{n - 1}" if n else "s1", reply="r", index=n, duration_ms=ms
        )
        for n, ms in enumerate(LENGTHS_MS)
    ]
    await h.log.append(EVENTS.name, [Entry(CALL, encode(event)) for event in (reply, *said, *voiced)])
    await h.mail(fact(stream, 2, reply), *(audio(stream, n, ms) for n, ms in enumerate(LENGTHS_MS)))


def audio(stream: str, index: int, length_ms: int) -> OutboxAudio:
    return OutboxAudio(
        call_id=CALL,
        stream=stream,
        reply="r",
        sentence=index,
        sentence_id=f"s{index}",
        offset_ms=0,
        take=2,
        payload=b"\x55" * (length_ms * 8),
        last=True,
    )


async def played(h: House, ws: aiohttp.ClientWebSocketResponse, hands: Hands, *, away_after_ms: int) -> None:
    """The caller's end plays what it is sent in its own time; so far into it the log goes away."""
    heard_ms = waiting_ms = 0
    received = h.received()
    while heard_ms < sum(LENGTHS_MS):
        message = await ws.receive_json(timeout=5)
        if message["event"] == "media":
            waiting_ms += len(base64.b64decode(message["media"]["payload"])) // 8
            continue
        hands.at += waiting_ms
        heard_ms, waiting_ms = heard_ms + waiting_ms, 0
        if heard_ms >= away_after_ms:
            h.log.fault = LogUnavailable("away")
        await ws.send_json(message)
        received += 1
        async with asyncio.timeout(5):
            while h.received() < received:
                await h.http.get(h.base + "/healthz")


async def records(h: House) -> list[Record]:
    """All of the call, once the last word of its playback is there."""
    async with asyncio.timeout(5):
        while True:
            found = await h.log.reader(EVENTS.name, {partition_of(CALL, EVENTS.partitions): 0}).read(wait_ms=20)
            marked = [event for record in found if isinstance(event := decode(record.value), PlaybackMarked)]
            if any(event.last and event.sentence == len(LENGTHS_MS) - 1 for event in marked):
                return list(found)


def at_the_door(found: Sequence[Record]) -> list[tuple[int, int]]:
    fold = TimedFold(CALL, lambda tenant, user: True)
    for record in found:
        fold.follow(Heard(record.partition, record.position, record.at, decode(record.value)))
    return [(line["start_ms"], line["end_ms"]) for line in fold.lines()]


async def test_lines_stand_where_the_caller_heard_them() -> None:
    hands = Hands()
    async with house(now=hands, clock=hands) as h:
        ws, stream = await begun(h)
        hands.at += 500
        await replied(h, stream)
        await h.events("playback.started")
        await played(h, ws, hands, away_after_ms=700)
        hands.at += AWAY_MS
        h.log.fault = None
        found = await records(h)
        assert found[-1].at - found[0].at >= AWAY_MS, "the log took it late"
        async with as_of(found, found[-1].position) as engine:
            details = await call_details(engine, CALL)
        first_ms, second_ms = LENGTHS_MS
        expected = [(500, 500 + first_ms), (500 + first_ms, 500 + first_ms + second_ms)]
        assert [(line.start_ms, line.end_ms) for line in details.lines] == expected
        assert at_the_door(found) == expected
        await ws.close()


@pytest.mark.parametrize(
    ("frames", "silent_ms", "expected_ms"),
    [
        (100, 0, 2_000),  # 2 s of words came at once: its line was held up, and the answer comes behind them
        (100, 3_000, 4_980),  # its last 20 ms had come when they began
        (10, 3_000, 3_000),  # its microphone was off for most of it
    ],
)
async def test_what_it_heard_stands_behind_what_it_said(frames: int, silent_ms: int, expected_ms: int) -> None:
    hands = Hands()
    async with house(now=hands, clock=hands) as h:
        ws, stream = await begun(h)
        received = h.received()
        for number in range(frames):
            await ws.send_json(media(number))
        async with asyncio.timeout(5):
            while h.received() < received + frames:
                await h.http.get(h.base + "/healthz")
        hands.at += silent_ms
        if frames == 10:
            await ws.send_json(media(frames))  # it goes on where it stopped
            await h.counted('calltape_messages_total{direction="in",door="twilio"}', received + frames + 1)
        await h.mail(audio(stream, 0, 400))
        started = next(event for event in await h.events("playback.started") if isinstance(event, PlaybackStarted))
        assert started.at_ms == expected_ms
        await ws.close()
