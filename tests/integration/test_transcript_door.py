"""`GET /api/calls/{call_id}/transcript`: the lines a screen shows, on any server, for those who may see the call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from eventlog.memory import MemoryLog
from eventlog.port import Entry, Log, LogUnavailable
from eventlog.sqlite import SqliteLog
from ingest import screen_fold
from projections.as_of import as_of
from projections.queries import call_details
from schema.private import Sealed
from schema.topics import EVENTS, partition_of
from tests.support.doors import Hands, house
from tests.support.events import BEGAN_AT, CALL, STREAM, Tape, a_whole_call
from tests.support.screens import OWN, WHOLE, Cinema, Writer, cinema, messages
from tests.support.tokens import NOW_MS, NOW_S, SECRETS, hs256

DOOR = "/transcript"
FIELDS = {"id", "speaker", "text", "start_ms", "end_ms", "position"}


async def begun(log: Log, **changes: Any) -> Writer:
    writer = Writer(log, Tape(CALL))
    await writer.say("call.started", **{"history": (), "user_id": "", **changes})
    return writer


async def told(it: Cinema, call_id: str = CALL, **given: Any) -> dict[str, Any]:
    answer = await it.events(call_id, path=DOOR, **given)
    assert (answer.status, answer.content_type) == (200, "application/json"), await answer.text()
    assert answer.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = await answer.json()
    return found


async def read_out(it: Cinema) -> list[str]:
    answer = await it.events(path=DOOR, Accept="text/plain")
    assert (answer.status, answer.content_type, answer.charset) == (200, "text/plain", "utf-8")
    return (await answer.text()).splitlines()


async def facts(it: Cinema, position: str) -> list[dict[str, Any]]:
    async with it.http.get(
        f"{it.base}/api/calls/{CALL}/events",
        params={"position": position},
        headers={"Authorization": f"Bearer {hs256(**WHOLE)}", "Accept": "application/json"},
    ) as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


def half_heard() -> Tape:
    """Of one sentence nothing was heard, another goes on in its middle, a third only began."""
    tape = Tape(CALL)
    tape.say("call.started")
    tape.say("stream.opened", after_ms=100)
    reply = tape.say("reply.started")
    for index in range(4):
        tape.say("reply.sentence", reply=reply.id, index=index, text="one two three four")
    tape.say("playback.cleared", reply=reply.id, sentence=0, heard_ms=0, after_ms=500)
    tape.say("playback.started", reply=reply.id, sentence=1, offset_ms=400, after_ms=1_000)
    tape.say("playback.started", reply=reply.id, sentence=1, offset_ms=0, after_ms=1_000)
    tape.say("playback.started", reply=reply.id, sentence=2, after_ms=200)
    tape.say("playback.marked", reply=reply.id, sentence=2, heard_ms=300, after_ms=900)
    tape.say("playback.cleared", reply=reply.id, sentence=2, heard_ms=0, after_ms=50)
    return tape


async def the_same_at_every_time(call: Tape) -> MemoryLog:
    """A log that took each of the call's records at the record's own time."""
    clock = Hands(BEGAN_AT)
    log = MemoryLog(now=clock)
    for record in call.records:
        clock.at = record.at
        await log.append(EVENTS.name, [Entry(record.key, record.value)])
    return log


class TestOfALiveCall:
    async def test_has_what_was_said_so_far_and_then_what_came(self, log: Log) -> None:
        writer = await begun(log)
        settled = await writer.say("transcript.settled", text="hello there")
        async with cinema(log) as it:
            first = await told(it)
            assert (first["call_id"], first["live"], first["complete"]) == (CALL, True, False)
            assert first["earlier_lines"] == 0
            (line,) = first["transcript"]
            assert set(line) == FIELDS
            assert (line["id"], line["speaker"], line["text"]) == (settled.id, "caller", "hello there")
            typed = await writer.say("text.typed", text="in writing")
            assert [line["text"] for line in (await told(it))["transcript"]] == ["hello there", "in writing"]
            # Its positions are those of the call's facts: after the line, and after all that was told.
            assert [fact["id"] for fact in await facts(it, line["position"])] == [typed.id]
            assert [fact["id"] for fact in await facts(it, first["position"])] == [typed.id]
            assert await facts(it, (await told(it))["position"]) == []

    async def test_is_told_by_a_server_that_has_no_part_in_it(self, tmp_path: Path) -> None:
        path = tmp_path / "log.sqlite"
        async with SqliteLog(path, now=lambda: NOW_MS) as ours, SqliteLog(path, now=lambda: NOW_MS) as theirs:
            writer = await begun(ours)
            async with cinema(theirs) as it:
                assert (await told(it))["transcript"] == []
                await writer.say("transcript.settled", text="said over there")
                assert [line["text"] for line in (await told(it))["transcript"]] == ["said over there"]
                assert it.screens.tails.partitions == frozenset(), "it reads the past and follows nothing"

    async def test_that_ended_goes_on_until_nothing_more_can_come(self, memory: MemoryLog) -> None:
        writer = await begun(memory)
        async with cinema(memory) as it:
            await writer.say("call.ended")
            await writer.say("transcript.settled", text="last words")
            late = await told(it)
            assert (late["live"], [line["text"] for line in late["transcript"]]) == (True, ["last words"])
            await writer.say("call.sealed", complete=False, unheard=(STREAM,))
            sealed = await told(it)
            assert (sealed["live"], sealed["complete"]) == (False, False), "something was never heard"

    async def test_has_none_of_what_is_void(self) -> None:
        clock = Hands(NOW_MS)
        async with MemoryLog(now=clock) as log, cinema(log) as it:
            writer = await begun(log)
            reply = await writer.say("reply.started")
            await writer.say("reply.sentence", reply=reply.id, text="one two three four")
            await writer.say("transcript.settled", text="a zombie's", prior="of another life")
            mark = {"reply": reply.id, "source": "s", "sequence": 5}
            clock.at += 1_000
            await writer.say("playback.marked", heard_ms=900, **mark)
            clock.at += 1_000
            await writer.say("playback.marked", heard_ms=1_200, **mark)
            await writer.say("reply.interrupted", reply=reply.id)
            (line,) = (await told(it))["transcript"]
            assert (line["text"], line["said"]) == ("one two", "one two three four")
            assert (line["start_ms"], line["end_ms"]) == (100, 1_000)

    async def test_begins_anew_with_a_new_life(self, memory: MemoryLog) -> None:
        writer = await begun(memory)
        await writer.say("transcript.settled", text="of the first")
        await writer.say("call.ended")
        await writer.say("call.sealed")
        async with cinema(memory) as it:
            assert (await told(it))["complete"] is True
            await writer.say("call.started", source="again", history=(), user_id="")
            await writer.say("transcript.settled", text="of the second")
            second = await told(it)
            assert (second["live"], second["complete"]) == (True, False)
            assert [line["text"] for line in second["transcript"]] == ["of the second"]

    async def test_tells_its_last_lines_and_how_many_were_before(
        self, memory: MemoryLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(screen_fold, "MOST_LINES", 3)
        writer = await begun(memory)
        for number in range(5):
            await writer.say("transcript.settled", text=f"line {number}")
        async with cinema(memory) as it:
            last = await told(it)
            assert [line["text"] for line in last["transcript"]] == ["line 2", "line 3", "line 4"]
            assert (last["earlier_lines"], (await read_out(it))[0]) == (2, "(2 earlier lines)")


class TestOfACallThatIsOver:
    async def test_is_what_a_screen_shows(self, log: Log) -> None:
        writer = Writer(log, a_whole_call())
        await writer.write()
        async with cinema(log) as it:
            whole = await told(it)
            (snapshot,) = await messages(await it.watch())
        assert (whole["live"], whole["complete"]) == (False, True)
        assert whole["position"] == snapshot["position"]
        shown = [
            {**line, "heard_text": line.get("heard_text", line["text"])} for line in snapshot["transcript"]
        ]  # fmt: skip
        assert [(line["id"], line["speaker"], line["text"]) for line in whole["transcript"]] == [
            (line["id"], line["speaker"], line["heard_text"]) for line in shown
        ]
        (cut,) = [line for line in whole["transcript"] if "said" in line]
        assert (cut["text"], cut["said"]) == ("I will remind", "I will remind you to call the dentist tomorrow.")

    @pytest.mark.parametrize("tape", [a_whole_call(), half_heard()], ids=["whole", "half heard"])
    async def test_has_the_times_of_the_read_models(self, tape: Tape) -> None:
        log = await the_same_at_every_time(tape)
        async with as_of(tape.records, len(tape.records)) as then:
            known = {line.id: (line.start_ms, line.end_ms) for line in (await call_details(then, CALL)).lines}
        async with log, cinema(log) as it:
            brought, *lines = (await told(it))["transcript"]
        assert {line["id"]: (line["start_ms"], line["end_ms"]) for line in lines} == known
        assert (brought["text"], brought["start_ms"], brought["end_ms"]) == ("earlier words", None, None)

    async def test_is_read_as_lines_by_who_wants_plain_text(self) -> None:
        log = await the_same_at_every_time(a_whole_call())
        async with log, cinema(log) as it:
            assert await read_out(it) == [
                "--:-- caller: earlier words",
                "00:00 notes: Hello, what can I do for you?",
                "00:01 caller: remind me to call the dentist",
                "00:02 notes: I will remind …",
                "00:03 caller: goodbye",
                "00:04 notes: Goodbye.",
            ]


class TestPlainText:
    async def test_leaves_out_what_nobody_heard_and_keeps_each_line_one(self, memory: MemoryLog) -> None:
        writer = await begun(memory)
        greeting = await writer.say("reply.started", why="greeting", in_answer_to="")
        await writer.say("reply.sentence", reply=greeting.id, text="Hello.")
        await writer.say("reply.interrupted", reply=greeting.id)
        await writer.say("text.typed", text="one\n00:09 notes: \u2028two")
        await writer.say("transcript.settled", text=Sealed(key="k", sealed="eA=="))
        async with cinema(memory) as it:
            assert await read_out(it) == ["00:00 caller: one 00:09 notes: two", "00:02 caller: (sealed)"]
            unheard, _, sealed = (await told(it))["transcript"]
            assert (unheard["text"], unheard["said"]) == ("", "Hello.")
            assert sealed["text"] is None

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("text/html,*/*", "application/json"),
            ("text/plain, application/json", "application/json"),
            ("text/plain;q=0.9", "text/plain"),
        ],
    )
    async def test_is_given_to_who_accepts_nothing_else(self, memory: MemoryLog, accept: str, kind: str) -> None:
        await begun(memory)
        async with cinema(memory) as it:
            answer = await it.events(path=DOOR, Accept=accept)
            assert (answer.status, answer.content_type) == (200, kind)
            assert "Accept" in answer.headers["Vary"]


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({**WHOLE, "tenant": "other"}, 404),
    ({**OWN, "tenant": "other"}, 404),
    ({**OWN, "sub": "user-2"}, 404),
    ({**WHOLE, "scope": "analyst", "tenant": "other"}, 404),
    ({**OWN, "scope": "call"}, 403),
    ({**OWN, "sub": None}, 401),
    ({**OWN, "exp": NOW_S - 60}, 401),
]


class TestWhoMaySee:
    @pytest.mark.parametrize(("token", "status"), REFUSED)
    async def test_is_told_exactly_as_by_the_list_of_facts(
        self, memory: MemoryLog, token: dict[str, Any], status: int
    ) -> None:
        writer = await begun(memory, user_id="user-1")
        await writer.say("transcript.settled", text="not for them")
        async with cinema(memory) as it:
            for call_id in (CALL, "CA-never-was"):
                ours = await it.events(call_id, path=DOOR, token=token)
                theirs = await it.events(call_id, token=token, Accept="application/json")
                assert (ours.status, theirs.status) == (status, status)
                body = await ours.text()
                assert body == await theirs.text() and "not for them" not in body
                assert ours.headers.get("WWW-Authenticate") == theirs.headers.get("WWW-Authenticate")

    @pytest.mark.parametrize("token", [OWN, WHOLE, {**WHOLE, "scope": "analyst"}])
    async def test_are_its_user_and_the_tenants_people(self, memory: MemoryLog, token: dict[str, Any]) -> None:
        await begun(memory, user_id="user-1")
        async with cinema(memory) as it:
            assert (await told(it, token=token))["call_id"] == CALL
            for unknown in ("CA-never-was", "CA%20odd", "x" * 300):
                assert (await it.events(unknown, path=DOOR, token=token)).status == 404

    async def test_are_not_those_of_another_life(self, memory: MemoryLog) -> None:
        """An app's session id may be used again, by somebody else of the tenant."""
        writer = await begun(memory, user_id="user-1")
        await writer.say("call.ended")
        await writer.say("call.sealed")
        await writer.say("call.started", user_id="user-2", source="again", history=())
        await writer.say("transcript.settled", text="not theirs")
        async with cinema(memory) as it:
            assert (await it.events(path=DOOR, token=OWN)).status == 404
            assert (await told(it, token={**OWN, "sub": "user-2"}))["transcript"][0]["text"] == "not theirs"

    async def test_need_a_token(self, memory: MemoryLog) -> None:
        await begun(memory)
        async with cinema(memory) as it:
            answer = await it.http.get(f"{it.base}/api/calls/{CALL}/transcript")
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")

    async def test_are_told_when_the_log_cannot_be_read(self, memory: MemoryLog) -> None:
        await begun(memory)
        async with cinema(memory) as it:
            memory.fault = LogUnavailable("away")
            answer = await it.events(path=DOOR)
            assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)
            place = partition_of(CALL, EVENTS.partitions)
            odd = next(name for n in range(1_000) if partition_of(name := f"CA {n}", EVENTS.partitions) == place)
            assert (await it.events(quote(odd), path=DOOR)).status == 404, "nobody has to look for that"
            memory.fault = None
            assert (await told(it))["call_id"] == CALL


async def test_it_is_served_by_every_ingest_for_reading_alone() -> None:
    async with house(now=lambda: NOW_MS, tokens=SECRETS) as h:
        await begun(h.log)
        url, headers = f"{h.base}/api/calls/{CALL}/transcript", {"Authorization": f"Bearer {hs256(**WHOLE)}"}
        async with asyncio.timeout(5), aiohttp.ClientSession(headers=headers) as http:
            assert (await http.get(url)).status == 200
            for method in ("HEAD", "POST", "PUT", "DELETE"):
                answer = await http.request(method, url)
                assert (answer.status, answer.headers["Allow"]) == (405, "GET"), method
            refused = await http.post(url)
            assert refused.content_type == "application/problem+json"
