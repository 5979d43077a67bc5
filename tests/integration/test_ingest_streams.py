"""A stream's life behind the door: what it measures, how it goes out when its call ends or its server leaves."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import msgspec

from eventlog.port import LogUnavailable
from ingest.config import Limits
from ingest.quiet import ANSWER_MS
from schema.call import CallEnded
from schema.outbox import OutboxFact
from schema.speech import SpeechStarted, SpeechStopped
from schema.stream import PlaybackMarked, PlaybackStarted, StreamClosed, StreamMeasured
from schema.turn import ReplyStarted, TurnTaken
from tests.support.doors import CALL, STOP, STREAM, Hands, House, begun, close_of, fact, house, media, speech

LOOKS = 8  # housekeepings, of 20 ms: longer than a server that leaves waits until it looks again


def pressed(number: int) -> dict[str, Any]:
    return {"event": "dtmf", "streamSid": STREAM, "sequenceNumber": str(number), "dtmf": {"digit": "5"}}


async def heard_through(ws: aiohttp.ClientWebSocketResponse, length_ms: int) -> list[dict[str, Any]]:
    """The marks that came with so much audio, not yet returned."""
    marks: list[dict[str, Any]] = []
    size = 0
    while True:
        message = await ws.receive_json(timeout=5)
        if message["event"] == "media":
            size += len(base64.b64decode(message["media"]["payload"]))
            continue
        marks.append(message)
        if size >= length_ms * 8:
            return marks


async def measured(h: House, frames: int) -> StreamMeasured:
    """The first measurement that has seen so many frames."""
    async with asyncio.timeout(5):
        while True:
            for event in await h.events("stream.measured"):
                if isinstance(event, StreamMeasured) and event.frames >= frames:
                    return event


async def test_a_measurement_says_what_came_what_was_missing_and_what_waits() -> None:
    hands = Hands()
    limits = Limits(frames_bucket=8, frames_a_second=1)
    async with house(clock=hands, limits=limits) as h:
        ws, stream = await begun(h)  # two messages of the eight
        before = h.received()
        for number in (1, 2, 2, 5, 6):
            await ws.send_json(media(number))
            before += 1
            await h.counted('calltape_messages_total{direction="in",door="twilio"}', before)
            hands.at += 30
        await h.mail(fact(stream, 41, ReplyStarted(id="r1", call_id=CALL, role="conversation", why="greeting")))
        await h.mail(speech(stream, 400, take=41))
        await h.events("playback.started")
        hands.at += 60_000 - 150
        found = await measured(h, 4)
        assert (found.frames, found.bytes, found.lost, found.repeated, found.dropped) == (4, 640, 2, 1, 0)
        assert found.largest_gap_ms >= 60
        assert found.jitter_ms > 0
        assert found.outbox_through == 41
        for number in range(7, 20):
            await ws.send_json(media(number))
        await h.counted('calltape_messages_total{direction="in",door="twilio"}', before + 13)
        hands.at += 5_000
        later = await measured(h, 12)
        assert (later.frames, later.dropped) == (12, 5)
        await ws.close()


async def test_a_silent_line_is_measured_too() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, _stream = await begun(h)
        hands.at += 5_000
        assert (await measured(h, 0)).frames == 0
        await ws.close()


async def test_the_end_of_a_call_closes_its_socket_when_the_goodbye_was_heard() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, stream = await begun(h)
        await h.mail(fact(stream, 7, ReplyStarted(id="r1", call_id=CALL, role="conversation", why="greeting")))
        await h.mail(speech(stream, 400), fact(stream, 9, CallEnded(id="e", call_id=CALL, reason="agent")))
        marks = await heard_through(ws, 400)
        # Told of the end, but nothing was heard yet: the line stays open.
        await ws.send_json(pressed(5))
        await h.events("dtmf.pressed")
        for mark in marks:
            await ws.send_json(mark)
        assert await close_of(ws) == 1000
        events = await h.events("stream.closed")
        closed = events[-1]
        assert isinstance(closed, StreamClosed)
        assert (closed.reason, closed.code) == ("ended", 1000)
        assert any(isinstance(event, PlaybackMarked) and event.last for event in events)


async def test_a_goodbye_that_is_never_acknowledged_does_not_hold_the_line_for_ever() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, stream = await begun(h)
        await h.mail(speech(stream, 400), fact(stream, 9, CallEnded(id="e", call_id=CALL, reason="agent")))
        await heard_through(ws, 400)
        hands.at += 15_000
        assert await close_of(ws) == 1000
        await h.counted('calltape_closed_total{code="1000",door="twilio",reason="ended"}', 1)


async def test_a_stream_opened_on_an_ended_call_is_told_so_and_closed() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        await h.mail(fact(stream, 9, CallEnded(id="e", call_id=CALL, reason="agent")))
        assert await close_of(ws) == 1000


async def test_a_server_that_leaves_waits_until_the_caller_has_spoken() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        await h.mail(fact(stream, 9, SpeechStarted(id="s", call_id=CALL, role="hearing", stream=stream, at_ms=0)))
        await h.counted('calltape_outbox_total{fate="taken",kind="fact"}', 1)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        await ws.send_json(pressed(5))
        await h.events("dtmf.pressed")
        assert not draining.done()
        await h.mail(fact(stream, 10, SpeechStopped(id="t", call_id=CALL, role="hearing", stream=stream, voiced_ms=0)))
        assert await close_of(ws) == 1012
        await draining
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert (closed.reason, closed.code) == ("restart", 1012)


async def test_a_server_that_leaves_waits_until_its_reply_was_heard() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, stream = await begun(h)
        await h.mail(speech(stream, 400))
        marks = await heard_through(ws, 400)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        for mark in marks:
            await ws.send_json(mark)
        await h.events("playback.marked")
        hands.at += ANSWER_MS
        assert await close_of(ws) == 1012
        await draining
        heard = [event for event in await h.events("stream.closed") if isinstance(event, PlaybackMarked)]
        assert heard[-1].last


async def asked(h: House) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """A caller who has heard a reply, and may answer at any moment."""
    ws, stream = await begun(h)
    await h.mail(fact(stream, 41, ReplyStarted(id="r1", call_id=CALL, role="conversation", why="greeting")))
    await h.mail(speech(stream, 400, take=41))
    for mark in await heard_through(ws, 400):
        await ws.send_json(mark)
    await h.events("playback.marked")
    return ws, stream


def taken(stream: str, position: int) -> OutboxFact:
    turn = TurnTaken(id="t1", call_id=CALL, role="conversation", utterances=("u1",), text="yes", kind="speech")
    return fact(stream, position, turn)


async def test_a_server_that_leaves_waits_for_the_answer_of_a_caller_who_was_asked() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, stream = await asked(h)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        hands.at += ANSWER_MS - 100
        for _ in range(LOOKS):
            await h.housekept()
        await ws.send_json(pressed(5))
        await h.events("dtmf.pressed")  # a socket that is being closed is not listened to
        await h.mail(taken(stream, 50))
        assert await close_of(ws) == 1012
        await draining


async def test_a_server_that_leaves_goes_before_a_reply_and_not_into_it() -> None:
    """Turn, reply and its first sound may come together: the next stream plays it from its beginning."""
    hands = Hands()
    async with house(clock=hands) as h:
        ws, stream = await asked(h)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        sound = speech(stream, 400, take=51)
        reply = ReplyStarted(id="r2", call_id=CALL, role="conversation", why="turn", in_answer_to="t1")
        await h.mail(taken(stream, 50), fact(stream, 51, reply), msgspec.structs.replace(sound, reply="r2"))
        assert await close_of(ws) == 1012
        await draining
        assert [event.reply for event in await h.events("stream.closed") if isinstance(event, PlaybackStarted)] == [
            "r1"
        ]


async def test_a_caller_who_takes_long_to_answer_does_not_keep_a_server_that_leaves() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, _stream = await asked(h)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        hands.at += ANSWER_MS
        assert await close_of(ws) == 1012
        await draining


async def test_a_server_that_leaves_does_not_wait_for_ever() -> None:
    hands = Hands()
    async with house(clock=hands) as h:
        ws, stream = await begun(h)
        await h.mail(speech(stream, 400))
        await heard_through(ws, 400)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        hands.at += 30_000
        assert await close_of(ws) == 1012
        await draining


async def _leaving(h: House) -> None:
    """Returns once the server takes nobody: it says that it is not ready, and why."""
    async with asyncio.timeout(5):
        while (await (await h.http.get(h.base + "/readyz")).json())["parts"]["doors"] != "closing":
            pass


async def test_a_server_that_leaves_has_the_carrier_ask_again_in_a_moment() -> None:
    async with house() as h:
        ws, stream = await begun(h)
        await h.mail(fact(stream, 9, SpeechStarted(id="s", call_id=CALL, role="hearing", stream=stream, at_ms=0)))
        await h.counted('calltape_outbox_total{fate="taken",kind="fact"}', 1)
        draining = asyncio.create_task(h.ingest.drain())
        await _leaving(h)
        for path in ("/twilio/voice", "/twilio/voice?resume=1"):
            answer = await (await h.voice(path)).text()
            assert "<Pause" in answer and f">{path}</Redirect>" in answer
            assert "<Connect>" not in answer
        await h.mail(fact(stream, 10, SpeechStopped(id="t", call_id=CALL, role="hearing", stream=stream, voiced_ms=0)))
        assert await close_of(ws) == 1012
        await draining


async def test_a_call_goes_on_while_the_log_is_away() -> None:
    async with house() as h:
        ws, _stream = await begun(h)
        h.log.fault = LogUnavailable("away")
        for number in range(1, 11):
            await ws.send_json(media(number))
        await ws.send_json(pressed(20))
        await ws.send_json(STOP)
        await h.counted("calltape_append_retries_total")
        h.log.fault = None
        closed = (await h.events("stream.closed"))[-1]
        assert isinstance(closed, StreamClosed)
        assert closed.last_sequence == 10
        assert [frame.sequence for frame in await h.media()] == list(range(1, 11))
        await ws.close()
