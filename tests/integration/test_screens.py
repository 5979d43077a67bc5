"""CallScreen over real sockets: the past, then what comes, to those who may see it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from eventlog.memory import MemoryLog
from eventlog.port import Log, LogUnavailable
from eventlog.sqlite import SqliteLog
from ingest.config import Limits, ScreenLimits
from schema.private import Sealed
from schema.topics import EVENTS, partition_of
from tests.support.doors import close_of
from tests.support.events import CALL, Tape, a_whole_call
from tests.support.screens import OWN, WHOLE, Clock, Writer, cinema, messages, put, server_sent, shown_ids, until_true
from tests.support.tokens import NOW_MS, NOW_S

OTHER = "CA00000000000000000000000000000002"


async def begun(log: Log, **changes: Any) -> Writer:
    writer = Writer(log, Tape(changes.get("call_id", CALL)))
    await writer.say("call.started", **changes)
    return writer


async def test_a_screen_shows_the_past_and_then_what_comes(log: Log) -> None:
    writer = await begun(log)
    settled = await writer.say("transcript.settled", text="hello there")
    async with cinema(log) as it:
        ws = await it.watch()
        (snapshot,) = await messages(ws)
        assert snapshot["call"]["call_id"] == CALL and snapshot["call"]["ended_at"] is None
        # What the client brought of an earlier conversation comes first.
        assert [line["text"] for line in snapshot["transcript"]] == ["earlier words", "hello there"]
        assert snapshot["transcript"][1] == {"id": settled.id, "speaker": "caller", "text": "hello there"}
        reply = await writer.say("reply.started")
        sentence = await writer.say("reply.sentence", reply=reply.id, text="Hello.")
        *_, started, said = await messages(ws, "reply.sentence")
        assert (started["id"], said["id"]) == (reply.id, sentence.id)
        assert (said["speaker"], said["agent_name"], said["text"]) == ("agent", "notes", "Hello.")
        assert "prior" not in said and "role" not in said
        await ws.close()


async def test_a_whole_call_is_shown_as_the_log_admits_it(log: Log) -> None:
    writer = Writer(log, a_whole_call())
    await writer.write()
    async with cinema(log) as it:
        listed = await (await it.events(Accept="application/json")).json()
        assert [fact["id"] for fact in listed] == shown_ids(writer_events(writer))
        (snapshot,) = await messages(await it.watch())
        assert [line["text"] for line in snapshot["transcript"] if line["speaker"] == "caller"] == [
            "earlier words",
            "remind me to call the dentist",
            "goodbye",
        ]
        assert snapshot["summary"]["summary"].startswith("The caller")
        assert [action["title"] for action in snapshot["actions"]] == ["Call the dentist"]
        assert snapshot["call"]["reason"] == "agent_goodbye"


async def test_an_interrupted_reply_is_shown_as_far_as_it_was_heard(memory: MemoryLog) -> None:
    writer = await begun(memory, user_id="")
    reply = await writer.say("reply.started")
    await writer.say("reply.sentence", reply=reply.id, text="one two three four five six seven")
    await writer.say("reply.voiced", reply=reply.id, duration_ms=2_000)
    await writer.say("reply.interrupted", reply=reply.id)
    await writer.say("playback.cleared", reply=reply.id, heard_ms=1_000)
    async with cinema(memory) as it:
        (snapshot,) = await messages(await it.watch())
        line = snapshot["transcript"][-1]
        assert (line["interrupted"], line["heard_text"]) == (True, "one two three")
        assert line["text"].endswith("seven")
        await writer.say("reply.resumed", reply=reply.id)
        (snapshot,) = await messages(await it.watch())
        assert snapshot["transcript"][-1]["interrupted"] is False


def writer_events(writer: Writer) -> list[Any]:
    from schema.registry import decode

    return [decode(record.value) for record in writer.tape.records]


async def test_void_events_are_never_shown(log: Log) -> None:
    writer = await begun(log)
    async with cinema(log) as it:
        ws = await it.watch()
        await messages(ws)
        await writer.say("transcript.settled", text="a zombie's", prior="of another life")
        await writer.say("stream.opened", source="s", sequence=5)
        await writer.say("stream.degraded", source="s", sequence=5)
        end = await writer.say("call.ended")
        seen = await messages(ws, "call.ended")
        assert [message["type"] for message in seen] == ["stream.opened", "call.ended"]
        assert seen[-1]["id"] == end.id


async def test_a_screen_of_another_process_sees_the_call(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    async with SqliteLog(path, now=lambda: NOW_MS) as ours, SqliteLog(path, now=lambda: NOW_MS) as theirs:
        writer = await begun(ours)
        async with cinema(ours) as here, cinema(theirs) as there:
            screens = [await here.watch(), await there.watch()]
            for ws in screens:
                await messages(ws)
            await writer.say("transcript.settled", text="seen by both")
            for ws in screens:
                (settled,) = await messages(ws, "transcript.settled")
                assert settled["text"] == "seen by both"
            # What one of them gave out is a place in the other, too.
            await writer.say("transcript.settled", text="missed")
            (missed,) = await messages(await there.watch(position=settled["position"]), "transcript.settled")
            assert missed["text"] == "missed"


async def test_a_partition_is_read_only_while_somebody_watches(memory: MemoryLog) -> None:
    await begun(memory)
    async with cinema(memory) as it:
        assert it.screens.tails.partitions == frozenset()
        first, second = await it.watch(), await it.watch()
        assert it.screens.tails.partitions == {partition_of(CALL, EVENTS.partitions)}
        assert it.screens.open == 2
        await first.close()
        await until_true(lambda: it.screens.open == 1)
        assert len(it.screens.tails.partitions) == 1
        await second.close()
        await until_true(lambda: it.screens.tails.partitions == frozenset())
        assert it.tally.doors["callscreen"].active == 0


@pytest.mark.parametrize(
    "token",
    [
        {**WHOLE, "tenant": "other"},
        {**OWN, "sub": "user-2"},
        {**OWN, "tenant": "other"},
        {**WHOLE, "scope": "analyst", "tenant": "other"},
    ],
)
async def test_a_call_one_may_not_see_does_not_exist(memory: MemoryLog, token: dict[str, Any]) -> None:
    writer = await begun(memory, user_id="user-1")
    async with cinema(memory) as it:
        for call_id in (CALL, "CA-never-was"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await it.watch(call_id, token=token)
            assert refused.value.status == 404
            for accept in ("text/event-stream", "application/json"):
                answer = await it.events(call_id, token=token, Accept=accept)
                assert answer.status == 404
                assert "there is no such call" in await answer.text()
        ws = await it.watch("", token=token)
        (live,) = await messages(ws, "live")
        assert live["calls"] == 0
        await writer.say("transcript.settled", text="not for them")
        mine = Writer(memory, Tape(OTHER))
        await mine.say("call.started", tenant_id=token["tenant"], user_id=token["sub"] or "")
        (first,) = await messages(ws, "call.started")
        assert first["call_id"] == OTHER


@pytest.mark.parametrize("token", [OWN, WHOLE, {**WHOLE, "scope": "analyst"}])
async def test_the_owner_and_the_tenants_people_see_it(memory: MemoryLog, token: dict[str, Any]) -> None:
    await begun(memory, user_id="user-1")
    async with cinema(memory) as it:
        await messages(await it.watch(token=token))
        await messages(await it.watch("", token=token), "live")
        assert (await it.events(token=token, Accept="application/json")).status == 200


async def test_a_later_life_of_another_user_is_not_shown(memory: MemoryLog) -> None:
    """An app's session id may be used again, by somebody else of the tenant."""
    writer = await begun(memory, user_id="user-1")
    async with cinema(memory) as it:
        ws = await it.watch(token=OWN)
        await messages(ws)
        await writer.say("call.ended")
        await writer.say("call.sealed")
        await messages(ws, "call.ended")
        await writer.say("call.started", user_id="user-2", source="again")
        await writer.say("transcript.settled", text="not yours")
        await writer.say("call.ended")
        await writer.say("call.sealed")
        mine = await writer.say("call.started", user_id="user-1", source="mine")
        (next_one,) = await messages(ws, "call.started")
        assert next_one["id"] == mine.id


async def test_scopes_are_needed_and_a_user_for_ones_own(memory: MemoryLog) -> None:
    await begun(memory)
    async with cinema(memory) as it:
        assert (await it.events(token={**OWN, "scope": "call"})).status == 403
        assert (await it.events(token={**OWN, "sub": None})).status == 401
        assert (await it.events(token={**OWN, "exp": NOW_S - 60})).status == 401
        assert (await it.http.get(it.base + "/ws/callscreen")).status == 401


async def test_what_is_sealed_is_shown_as_missing(memory: MemoryLog) -> None:
    writer = await begun(memory, from_=Sealed(key="k", sealed="eA=="))
    async with cinema(memory) as it:
        ws = await it.watch()
        (snapshot,) = await messages(ws)
        assert snapshot["call"]["from"] is None
        await writer.say("transcript.settled", text=Sealed(key="k", sealed="eA=="))
        (settled,) = await messages(ws, "transcript.settled")
        assert settled["text"] is None and settled["sealed"] == ["text"]
        assert "eA==" not in str(settled)


async def test_typed_words_are_lines_of_the_caller(memory: MemoryLog) -> None:
    writer = await begun(memory, user_id="")
    async with cinema(memory) as it:
        ws = await it.watch()
        await messages(ws)
        await writer.say("text.typed", text="in writing")
        (typed,) = await messages(ws, "text.typed")
        assert (typed["speaker"], typed["text"]) == ("caller", "in writing")


async def test_an_open_guess_is_part_of_the_snapshot(memory: MemoryLog) -> None:
    writer = await begun(memory)
    await writer.say("transcript.revised", text="remind")
    async with cinema(memory) as it:
        (snapshot,) = await messages(await it.watch())
        assert [guess["text"] for guess in snapshot["revised"]] == ["remind"]
        await writer.say("transcript.settled", text="remind me")
        (snapshot,) = await messages(await it.watch())
        assert snapshot["revised"] == []


async def test_every_live_call_is_shown_and_every_new_one(log: Log) -> None:
    first, second = await begun(log), await begun(log, call_id=OTHER)
    done = Writer(log, a_whole_call("CA-done"))
    await done.write()
    async with cinema(log) as it:
        ws = await it.watch("")
        told = await messages(ws, "live")
        assert {message["call_id"] for message in told[:-1]} == {CALL, OTHER}
        assert told[-1]["calls"] == 2
        await second.say("transcript.settled", text="second")
        (settled,) = await messages(ws, "transcript.settled")
        assert settled["call_id"] == OTHER
        third = await begun(log, call_id="CA-third")
        (started,) = await messages(ws, "call.started")
        assert started["call_id"] == "CA-third"
        await ws.close()
        # Away: a call ends, one goes on, one begins.
        await first.say("call.ended")
        await third.say("transcript.settled", text="third")
        await begun(log, call_id="CA-fourth")
        ws = await it.watch("", position=started["position"])
        told = await messages(ws, "live")
        assert {(message["type"], message["call_id"]) for message in told[:-1]} == {
            ("call.ended", CALL),
            ("transcript.settled", "CA-third"),
            ("call.started", "CA-fourth"),
        }


async def test_the_read_model_spares_reading_the_whole_log(memory: MemoryLog) -> None:
    """What it knows is where calls begin; a call it does not know could begin where it stands itself."""
    old = Writer(memory, a_whole_call())
    await old.write(len(old.tape.records) - 3)
    await begun(memory, call_id=OTHER)
    ends = {p: await memory.end(EVENTS.name, p) for p in range(EVENTS.partitions)}

    async def first_position(call_id: str) -> int | None:
        return 0 if call_id == CALL else ends[partition_of(call_id, EVENTS.partitions)] - 1

    async def oldest_live(partition: int) -> int | None:
        return ends[partition] - (partition == partition_of(OTHER, EVENTS.partitions))

    async with cinema(memory, first_position=first_position, oldest_live=oldest_live) as it:
        ws = await it.watch("")
        told = await messages(ws, "live")
        assert [message["call_id"] for message in told[:-1]] == [OTHER]
        # A sealed call is spoken of once more: its own past is read for that.
        await old.write()
        late = await messages(ws, "action.found")
        assert [message["type"] for message in late] == ["call.summarised", "action.found"]


async def test_too_much_missed_has_to_begin_anew(memory: MemoryLog) -> None:
    writer = await begun(memory)
    async with cinema(memory, screens=ScreenLimits(missed_facts=5)) as it:
        ws = await it.watch("")
        position = (await messages(ws, "live"))[-1]["position"]
        await ws.close()
        for _ in range(6):
            await writer.say("transcript.settled", text="more")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await it.watch("", position=position)
        assert refused.value.status == 410


async def test_a_slow_subscriber_is_dropped_and_nobody_else_notices(memory: MemoryLog) -> None:
    writer = await begun(memory)
    screens, limits = ScreenLimits(backlog=50), Limits(stalled_ms=60_000)
    async with cinema(memory, screens=screens, limits=limits) as it:
        slow, quick = await it.watch(compress=0), await it.watch()
        await messages(quick)
        # Nobody takes these from the socket: the buffers of both ends fill, then its backlog.
        transport = slow._response.connection.transport  # type: ignore[union-attr]
        transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(300):
            settled = await writer.say("transcript.settled", text="x" * 100_000)
            found = await messages(quick, "transcript.settled")
            assert found[-1]["id"] == settled.id
        transport.resume_reading()  # type: ignore[union-attr]
        assert await close_of(slow) == 1013
        await until_true(lambda: it.tally.closed["callscreen", "slow", "1013"] == 1)
        await writer.say("call.ended")
        await messages(quick, "call.ended")


async def test_a_subscriber_that_reads_nothing_is_dropped_after_a_while(memory: MemoryLog) -> None:
    writer = await begun(memory)
    async with cinema(memory, limits=Limits(stalled_ms=100)) as it:
        slow = await it.watch(compress=0)
        slow._response.connection.transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(100):
            await writer.say("transcript.settled", text="x" * 100_000)
        await until_true(lambda: it.screens.open == 0)
        assert it.tally.closed["callscreen", "slow", "1013"] == 1


async def test_a_session_is_told_that_its_token_expired_and_then_closed(memory: MemoryLog) -> None:
    await begun(memory)
    async with cinema(memory, now=(now := Clock())) as it:
        ws, answer = await it.watch(), await it.events(Accept="text/event-stream")
        await messages(ws)
        now.at += 60_000
        (told,) = await messages(ws, "error")
        assert told["error_code"] == "AUTH_EXPIRED"
        now.at += 30_000
        assert await close_of(ws) == 4401
        sent = await server_sent(answer, lambda message: message["type"] == "error")
        assert sent[-1][1]["error_code"] == "AUTH_EXPIRED"
        assert (await asyncio.wait_for(answer.content.read(), 5)).strip() == b""


async def test_a_server_that_leaves_says_so(memory: MemoryLog) -> None:
    await begun(memory)
    async with cinema(memory) as it:
        ws = await it.watch()
        await messages(ws)
        it.screens.shut()
        (told,) = await messages(ws, "error")
        assert told["error_code"] == "SERVER_RESTARTING" and told["retry_after"] > 0
        assert await close_of(ws) == 1012


async def test_a_log_that_is_away_is_waited_for(memory: MemoryLog) -> None:
    writer = await begun(memory)
    async with cinema(memory) as it:
        ws = await it.watch()
        await messages(ws)
        memory.fault = LogUnavailable("away")
        assert (await it.events(Accept="application/json")).status == 503
        memory.fault = None
        await writer.say("call.ended")
        await messages(ws, "call.ended")


async def test_only_a_websocket_comes_in_by_the_sockets_door(memory: MemoryLog) -> None:
    await begun(memory)
    async with cinema(memory) as it:
        assert (await it.http.get(f"{it.base}/ws/callscreen/{CALL}", headers=allowed())).status == 426
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await it.watch("no call's id")
        assert refused.value.status == 404


def allowed() -> dict[str, str]:
    from tests.support.tokens import hs256

    return {"Authorization": f"Bearer {hs256(**WHOLE)}"}


async def test_what_is_no_event_is_passed_over(memory: MemoryLog) -> None:
    from eventlog.port import Entry

    writer = await begun(memory)
    async with cinema(memory) as it:
        ws = await it.watch()
        await messages(ws)
        await memory.append(EVENTS.name, [Entry(CALL, b"{"), Entry(CALL, b'{"type": "of tomorrow", "id": "x"}')])
        ended = writer.tape.say("call.ended")
        await put(memory, ended)
        (told,) = await messages(ws, "call.ended")
        assert told["id"] == ended.id
