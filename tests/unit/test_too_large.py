"""No value, however made, ends a process: what a log does not take is left out, its call is over, the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog

from eventlog.memory import MemoryLog
from eventlog.port import MAX_VALUE_BYTES, Entry, EntryTooLarge, Placed
from schema.envelope import type_of
from schema.topics import EVENTS, OUTBOX, PARTITIONS, partition_of
from tests.support.runtimes import CallAtDoor, EchoAgent, World, fields, on_virtual_time
from tests.unit.test_late_roles import CALL, Archive, Clerk, late_names
from workers.agents import Conversation, Said, Say
from workers.appender import Appender
from workers.engines.port import ActionFound, CallSummary, EngineError, KeyPoint, SpokenLine, ToolOutcome
from workers.summariser import MOST_CITES, MOST_POINTS

LARGE = b"x" * (MAX_VALUE_BYTES + 1)
MINUTE_S = 60
LAST_WORDS = ["work.failed", "call.ended", "call.sealed"]


class NotingLog(MemoryLog):
    """Notes how often it was asked; takes no batch above `most` bytes, as a broker with a limit of its own."""

    def __init__(self, most: int = MAX_VALUE_BYTES) -> None:
        super().__init__(now=lambda: 0)
        self.most = most
        self.asked = 0
        self.came: list[bytes] = []

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        self.asked += 1
        if sum(len(entry.value) for entry in entries) > self.most:
            raise EntryTooLarge("the broker's message.max.bytes is lower than what calltape appends")
        placed = await super().append(topic, entries)
        self.came += [entry.value for entry in entries]
        return placed


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(MINUTE_S):
        while not is_so():  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("topic", [EVENTS.name, OUTBOX.name])
def test_what_the_log_does_not_take_is_left_out_and_all_else_is_appended_in_order(topic: str) -> None:
    async def story() -> None:
        async with NotingLog(most=10**9) as log:
            appender = Appender(log)
            left_out: list[tuple[str, Entry]] = []
            appender.refused = lambda topic, entry: left_out.append((topic, entry))
            values = [b"%d" % number for number in range(50)]
            values[7] = values[30] = values[49] = LARGE
            for value in values:
                last = appender.put(topic, Entry("call", value))
            running = asyncio.create_task(appender.run())
            await until(lambda: appender.has_taken(topic, last))
            assert log.came == [value for value in values if value is not LARGE]
            assert left_out == [(topic, Entry("call", LARGE))] * 3
            assert appender.pending(topic) == 0
            running.cancel()

    on_virtual_time(story())


def test_what_is_too_large_only_together_is_appended_apart() -> None:
    async def story() -> None:
        async with NotingLog(most=100) as log:
            appender = Appender(log)
            values = [b"%d" % number * 30 for number in range(10)]
            for value in values:
                last = appender.put(EVENTS.name, Entry("call", value))
            running = asyncio.create_task(appender.run())
            await until(lambda: appender.has_taken(EVENTS.name, last))
            assert log.came == values
            running.cancel()

    on_virtual_time(story())


def test_nobody_reads_in_the_logs_what_was_left_out() -> None:
    async def story() -> None:
        async with NotingLog() as log:
            appender = Appender(log)
            last = appender.put(EVENTS.name, Entry("call", b"secret" + LARGE))
            running = asyncio.create_task(appender.run())
            with structlog.testing.capture_logs() as told:
                await until(lambda: appender.has_taken(EVENTS.name, last))
            running.cancel()
        (line,) = told
        assert line["log_level"] == "error"
        assert (line["call_id"], line["bytes"], line["topic"]) == ("call", len(LARGE) + 6, EVENTS.name)
        assert "secret" not in str(line)

    on_virtual_time(story())


# A call that owes what cannot be said


class Chatterbox(EchoAgent):
    """Asked to say it all, it says what no log takes."""

    def _said(self, conversation: Conversation) -> Sequence[Said]:
        said = super()._said(conversation)
        return [Say("x" * (MAX_VALUE_BYTES + 1))] if "say it all" in str(said) else said


def neighbours() -> tuple[str, str]:
    """Two calls of one partition."""
    first = "CA0"
    home = partition_of(first, PARTITIONS)
    return first, next(name for name in (f"CA{n}" for n in range(1, 999)) if partition_of(name, PARTITIONS) == home)


def left_out(told: Sequence[Any]) -> int:
    return [line["event"] for line in told].count("too large for the log, left out")


def test_a_call_that_owes_what_no_log_takes_is_over_and_the_next_one_goes_on() -> None:
    async def story() -> None:
        world = World()
        for instance in ("a", "b"):
            world.hire(instance, agent=Chatterbox())
        doomed, other = neighbours()
        doors = [await CallAtDoor(world, call_id).start() for call_id in (doomed, other)]
        await world.until_said(doomed, "reply.finished")
        with structlog.testing.capture_logs() as told:
            await doors[0].says("say it all")
            await world.until_said(doomed, "call.sealed")
            await asyncio.sleep(5)  # what is neither refused nor read back is repeated after two
        assert left_out(told) == 1, "it is not tried again"
        events = await world.events(doomed)
        assert [type_of(event) for event in events if event.role == "conversation"][-3:] == LAST_WORDS
        assert fields(events, "call.ended", "reason") == ["failed"]
        assert not any(task.done() for task in world.running.values())
        assert not any(doomed in runtime.calls.cases for runtime in world.runtimes.values())
        await doors[1].says("hello")
        await world.until_said(other, "turn.taken")
        await world.close()

    on_virtual_time(story())


def test_who_takes_over_a_call_that_owes_what_no_log_takes_ends_it_too() -> None:
    async def story() -> None:
        world = World()
        slow = Chatterbox()
        world.hire("a", agent=slow)
        door = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        slow.think_s = MINUTE_S
        await door.says("say it all")
        await world.until_said(CALL, "reply.started", 2)
        await world.fire("a")
        world.hire("b", agent=Chatterbox())
        await world.until_said(CALL, "call.sealed")
        assert fields(await world.events(CALL), "call.ended", "reason") == ["failed"]
        assert not world.running["b"].done()
        await world.close()

    on_virtual_time(story())


# Late words


class Scribe(Clerk):
    """Summarises as told."""

    def __init__(self, found: CallSummary) -> None:
        super().__init__()
        self.found = found

    async def summarise(self, lines: Sequence[SpokenLine], tools: Sequence[ToolOutcome]) -> CallSummary:
        self.asked.append(tuple(lines))
        return self.found


def summarised(found: CallSummary) -> tuple[list[str], list[Any], Scribe]:
    """What is said of a sealed call when the engine found this: names, events, the engine."""

    async def story() -> tuple[list[str], list[Any], Scribe]:
        archive, scribe = Archive(), Scribe(found)
        archive.clerk("a", scribe)
        await archive.call()
        await archive.until(lambda: said_late(archive))
        await asyncio.sleep(MINUTE_S)
        assert not archive.running["a"].done()
        names, events = await late_names(archive), await archive.events(CALL)
        await archive.close()
        return names, events, scribe

    return on_virtual_time(story())


async def said_late(archive: Archive) -> bool:
    return bool(await late_names(archive))


IDS = tuple(f"{number:032}" for number in range(40_000))


@pytest.mark.parametrize(
    "found",
    [
        CallSummary("x" * (MAX_VALUE_BYTES + 1), (), (), "neutral", ()),
        CallSummary("", (), (ActionFound("x" * (MAX_VALUE_BYTES - 50), "note", ()),), "neutral", ()),
    ],
    ids=["summary", "action"],
)
def test_a_summary_that_no_log_takes_is_said_to_have_failed(found: CallSummary) -> None:
    names, events, scribe = summarised(found)
    assert names == ["work.failed"]
    assert fields(events, "work.failed", "code") == ["too_large"]
    assert len(scribe.asked) == 1


def test_a_summary_cites_no_more_than_a_fact_may_hold() -> None:
    points = tuple(KeyPoint(f"{number}", IDS) for number in range(MOST_POINTS + 5))
    names, events, _ = summarised(CallSummary("all", points, (ActionFound("one", "note", IDS),), "neutral", IDS))
    assert names == ["call.summarised", "action.found"]
    assert fields(events, "call.summarised", "cites") == [IDS[:MOST_CITES]]
    assert fields(events, "action.found", "cites") == [IDS[:MOST_CITES]]
    (kept,) = fields(events, "call.summarised", "key_points")
    assert [(point.text, point.cites) for point in kept] == [
        (f"{number}", IDS[:MOST_CITES]) for number in range(MOST_POINTS)
    ]


def test_the_message_of_a_failure_is_short_however_much_an_engine_tells() -> None:
    async def story() -> None:
        archive = Archive()
        archive.clerk("a", Clerk(failures=[EngineError("refused", "x" * (MAX_VALUE_BYTES + 1), retryable=False)]))
        await archive.call()
        await archive.until_said(CALL, "work.failed")
        (message,) = fields(await archive.events(CALL), "work.failed", "message")
        assert 0 < len(message) <= 1_000
        await archive.close()

    on_virtual_time(story())
