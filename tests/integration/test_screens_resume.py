"""A screen that was away misses nothing and is told nothing twice, over websockets and server-sent events."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from eventlog.memory import MemoryLog
from eventlog.port import Log
from ingest.config import Limits, ScreenLimits
from schema.registry import decode
from tests.support.doors import close_of
from tests.support.events import CALL, Tape, a_whole_call
from tests.support.screens import Cinema, Writer, cinema, messages, server_sent, shown_ids, until_true
from tests.support.tokens import NOW_MS

OTHER = "CA00000000000000000000000000000002"
NOT_FACTS = {"snapshot", "live", "resumed", "pong", "error"}


def a_long_call(call_id: str, spoken: random.Random, length: int = 120) -> Tape:
    """Facts that are shown, facts that are not, and void ones, in an order of their own."""
    tape = Tape(call_id, numbers=spoken.randrange(1_000, 1 << 30))
    tape.say("call.started")
    kinds = ("transcript.settled", "speech.started", "call.adopted", "stream.heard", "timer.rang", "reply.started")
    for _ in range(length):
        void = {"prior": "another"} if spoken.random() < 0.2 else {}
        tape.say(spoken.choice(kinds), **void)
    tape.say("call.ended")
    return tape


def shown(*tapes: Tape) -> list[str]:
    return [each for tape in tapes for each in shown_ids(decode(record.value) for record in tape.records)]


async def write_slowly(writers: list[Writer], chance: random.Random) -> None:
    going = list(writers)
    while going:
        writer = chance.choice(going)
        if not await writer.write(chance.randrange(1, 6)):
            going.remove(writer)
        await asyncio.sleep(0)


async def some_of(ws: aiohttp.ClientWebSocketResponse, count: int, is_last: Any) -> tuple[list[dict[str, Any]], bool]:
    """At most so many messages, and whether the last of all was among them."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found.append(await ws.receive_json())
            if is_last(found[-1]):
                return found, True
    return found, False


@pytest.mark.parametrize("seed", range(6))
async def test_over_reconnects_every_fact_comes_once_and_in_order(log: Log, seed: int) -> None:
    chance = random.Random(seed)
    tape = a_long_call(CALL, chance)
    writer = Writer(log, tape)
    await writer.write(1)
    async with cinema(log, screens=ScreenLimits(resumes_a_minute=1_000)) as it:
        ws = await it.watch()
        (snapshot,) = await messages(ws)
        position, got, done = snapshot["position"], list[str](), False
        writing = asyncio.create_task(write_slowly([writer], chance))
        while not done:
            found, done = await some_of(ws, chance.randrange(1, 12), lambda told: told["type"] == "call.ended")
            got += [message["id"] for message in found if message["type"] not in NOT_FACTS]
            position = found[-1]["position"]
            if chance.random() < 0.5:
                await ws.close()
                ws = await it.watch(position=position)
            else:  # as if all since had been lost
                await ws.send_json({"type": "resume", "position": position})
                await messages(ws, "resumed")
        await writing
        assert got == shown(tape)[1:]  # the first was in the snapshot


@pytest.mark.parametrize("seed", range(4))
async def test_so_it_is_for_the_view_of_all_calls(log: Log, seed: int) -> None:
    chance = random.Random(seed)
    tapes = [a_long_call(f"CA-{number}", chance, 40) for number in range(4)]
    writers = [Writer(log, tape) for tape in tapes]
    async with cinema(log) as it:
        ws = await it.watch("")
        position = (await messages(ws, "live"))[-1]["position"]
        writing = asyncio.create_task(write_slowly(writers, chance))
        got: dict[str, list[str]] = {tape.call_id: [] for tape in tapes}
        ended: set[str] = set()

        def is_last(message: dict[str, Any]) -> bool:
            if message["type"] == "call.ended":
                ended.add(message["call_id"])
            return len(ended) == len(tapes)

        done = False
        while not done:
            found, done = await some_of(ws, chance.randrange(1, 20), is_last)
            for message in found:
                if message["type"] not in NOT_FACTS:
                    got[message["call_id"]].append(message["id"])
            position = found[-1]["position"]
            await ws.close()
            ws = await it.watch("", position=position)
        await writing
        assert got == {tape.call_id: shown(tape) for tape in tapes}


@examples(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 60))
async def test_any_position_of_a_call_is_a_place_to_go_on_from(seed: int, cut: int) -> None:
    tape = a_long_call(CALL, random.Random(seed), 50)
    async with MemoryLog(now=lambda: NOW_MS) as log:
        await Writer(log, tape).write()
        async with cinema(log) as it:
            facts = await (await it.events(Accept="application/json")).json()
            assert [fact["id"] for fact in facts] == shown(tape)
            cut = min(cut, len(facts) - 1)
            rest = await (
                await it.events(Accept="application/json", **{"Last-Event-ID": facts[cut]["position"]})
            ).json()
            assert rest == facts[cut + 1 :]


async def test_server_sent_events_go_on_after_the_last_id(log: Log) -> None:
    tape = a_whole_call()
    writer = Writer(log, tape)
    await writer.write(10)
    async with cinema(log) as it:
        answer = await it.events(Accept="text/event-stream")
        assert answer.content_type == "text/event-stream" and answer.headers["X-Accel-Buffering"] == "no"
        ((place, snapshot),) = await server_sent(answer, lambda message: message["type"] == "snapshot")
        assert place == snapshot["position"]
        known = len(shown_ids(decode(record.value) for record in tape.records[:10]))
        await writer.write(10)
        seen = await server_sent(answer, lambda message: message["type"] == "transcript.settled")
        answer.close()
        await writer.write()
        again = await it.events(Accept="text/event-stream", **{"Last-Event-ID": seen[-1][0]})
        seen += await server_sent(again, lambda message: message["type"] == "action.found")
        again.close()
        assert [message["id"] for _, message in seen] == shown(tape)[known:]
        assert all(place == message["position"] for place, message in seen)
        await until_true(lambda: it.screens.open == 0)


async def test_a_quiet_stream_of_events_is_kept_alive(memory: MemoryLog) -> None:
    await Writer(memory, Tape()).say("call.started")
    async with cinema(memory, heartbeat_ms=50) as it:
        answer = await it.events(Accept="text/event-stream")
        await server_sent(answer, lambda message: message["type"] == "snapshot")
        lines = [await asyncio.wait_for(answer.content.readline(), 5) for _ in range(4)]
        assert b":\n" in lines
        answer.close()
        await until_true(lambda: it.screens.open == 0)


async def test_a_dead_peer_is_found_out_by_the_sockets_own_pings(memory: MemoryLog) -> None:
    await Writer(memory, Tape()).say("call.started")
    async with cinema(memory, heartbeat_ms=50) as it:
        await it.watch(autoping=False)
        await until_true(lambda: it.tally.doors["callscreen"].connections == 1 and it.screens.open == 0)


async def a_watched_call(it: Cinema) -> tuple[Writer, aiohttp.ClientWebSocketResponse, str]:
    writer = Writer(it.log, Tape())
    await writer.say("call.started")
    ws = await it.watch()
    (snapshot,) = await messages(ws)
    return writer, ws, snapshot["position"]


async def test_a_resume_tells_what_came_after_the_position_and_only_that(memory: MemoryLog) -> None:
    async with cinema(memory) as it:
        writer, ws, position = await a_watched_call(it)
        said = [await writer.say("transcript.settled", text=str(number)) for number in range(3)]
        first = await messages(ws, lambda message: message.get("text") == "2")
        await ws.send_json({"type": "resume", "position": first[0]["position"]})
        resumed, *again = await messages(ws, lambda message: message.get("text") == "2")
        assert (resumed["type"], resumed["position"]) == ("resumed", first[0]["position"])
        assert [message["id"] for message in again] == [event.id for event in said[1:]]
        await writer.say("call.ended")
        await messages(ws, "call.ended")
        assert position != resumed["position"]


async def test_a_ping_is_answered_with_what_it_brought(memory: MemoryLog) -> None:
    async with cinema(memory) as it:
        _, ws, _ = await a_watched_call(it)
        await ws.send_json({"type": "ping", "payload": {"n": 7}, "other": 1})
        (pong,) = await messages(ws, "pong")
        assert pong == {"type": "pong", "payload": {"n": 7}, "timestamp": NOW_MS}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "INVALID_MESSAGE"),
        ("[]", "INVALID_MESSAGE"),
        ('{"type": 7}', "INVALID_MESSAGE"),
        ('{"type": "ping", "payload": "' + "x" * 2_000 + '"}', "INVALID_MESSAGE"),
        ("[" * 5_000, "INVALID_MESSAGE"),
        ('{"type": "say", "text": "hello"}', "UNKNOWN_TYPE"),
        ('{"type": "resume"}', "INVALID_POSITION"),
        ('{"type": "resume", "position": 7}', "INVALID_POSITION"),
        ('{"type": "resume", "position": "first"}', "INVALID_POSITION"),
        ('{"type": "resume", "position": "0.1_"}', "INVALID_POSITION"),
        ('{"type": "resume", "position": "23.1"}', "INVALID_POSITION"),
        ('{"type": "resume", "position": "9999.999999999999999999"}', "INVALID_POSITION"),
    ],
)
async def test_bad_words_are_answered_counted_and_forgiven(memory: MemoryLog, text: str, code: str) -> None:
    async with cinema(memory) as it:
        writer, ws, position = await a_watched_call(it)
        await ws.send_str(text)
        (told,) = await messages(ws, "error")
        assert (told["error_code"], bool(told["message"])) == (code, True)
        # The view goes on as if nothing had been said.
        await writer.say("call.ended")
        await messages(ws, "call.ended")
        assert position
        if "23.1" not in text and "9999" not in text:  # a place is judged by the log, not by its form
            assert sum(it.tally.bad_input.values()) == 1


async def test_a_position_beyond_the_log_is_refused(memory: MemoryLog) -> None:
    async with cinema(memory) as it:
        _, _, position = await a_watched_call(it)
        partition, _, place = position.partition(".")
        beyond = f"{partition}.{int(place) + 1}"
        for path, call_id in ((beyond, CALL), (beyond, ""), ("9999.1", ""), ("nonsense", CALL)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await it.watch(call_id, position=path)
            assert refused.value.status == 400


async def test_binary_frames_and_too_many_bad_ones_end_a_screen(memory: MemoryLog) -> None:
    async with cinema(memory, limits=Limits(bad_in_a_row=3)) as it:
        _, ws, _ = await a_watched_call(it)
        for _ in range(2):
            await ws.send_bytes(b"\x00")
        await ws.send_json({"type": "ping"})
        for _ in range(3):
            await ws.send_bytes(b"\x00")
        assert await close_of(ws) == 1008


async def test_resuming_costs_a_look_at_the_log_and_so_is_limited(memory: MemoryLog) -> None:
    async with cinema(memory, screens=ScreenLimits(resumes_a_minute=2)) as it:
        _, ws, position = await a_watched_call(it)
        for _ in range(2):
            await ws.send_json({"type": "resume", "position": position})
            await messages(ws, "resumed")
        await ws.send_json({"type": "resume", "position": position})
        (told,) = await messages(ws, "error")
        assert told["error_code"] == "RATE_LIMITED" and 0 < told["retry_after"] <= 60_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
said = st.dictionaries(st.sampled_from(["type", "position", "payload"]), json_values)
typed = st.builds(lambda kind, more: {**more, "type": kind}, st.sampled_from(["ping", "resume", "snapshot"]), said)
frames = st.text(max_size=50) | st.binary(max_size=50) | (said | typed).map(json.dumps)


@examples(max_examples=30)
@given(st.lists(frames, max_size=15))
async def test_nothing_a_subscriber_says_breaks_its_view(sent: list[str | bytes]) -> None:
    async with MemoryLog(now=lambda: NOW_MS) as log, cinema(log) as it:
        writer, ws, _ = await a_watched_call(it)
        for frame in sent:
            if isinstance(frame, str):
                await ws.send_str(frame.encode("utf-8", "replace").decode())
            else:
                await ws.send_bytes(frame)
        await ws.send_json({"type": "ping", "payload": "last"})
        await messages(ws, lambda message: message.get("payload") == "last")
        await writer.say("call.ended")
        await messages(ws, "call.ended")
