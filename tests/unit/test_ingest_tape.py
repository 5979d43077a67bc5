"""The tape while the log is away or slow: audio is dropped, oldest first, facts are kept, and order comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from eventlog.memory import MemoryLog
from eventlog.port import (
    MAX_KEY_CHARACTERS,
    MAX_VALUE_BYTES,
    Entry,
    EntryTooLarge,
    LogBroken,
    LogClosed,
    LogError,
    LogUnavailable,
    Placed,
)
from ingest.lane import Line
from ingest.tally import Tally
from ingest.tape import Tape
from schema.envelope import AnyEvent
from schema.media import MediaReceived, MediaSpoken
from schema.registry import decode, unpack_media
from schema.stream import DtmfPressed, StreamClosed, TextTyped
from schema.topics import EVENTS, MEDIA

FRAME = b"\xff" * 160


class CountingLog(MemoryLog):
    """Says when it refused something, and how much was put down at once."""

    def __init__(self) -> None:
        super().__init__(now=lambda: 1)
        self.batches: list[tuple[str, int]] = []
        self.refused = asyncio.Event()

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        try:
            placed = await super().append(topic, entries)
        except LogError:
            self.refused.set()
            raise
        self.batches.append((topic, len(entries)))
        return placed


@dataclass
class Desk:
    log: CountingLog
    tape: Tape
    tally: Tally
    line: Line

    def hear(self, first: int, last: int, payload: bytes = FRAME) -> None:
        for number in range(first, last + 1):
            self.tape.hear(self.line, number * 20, payload)

    def press(self, digit: str, line: Line | None = None) -> DtmfPressed:
        line = line or self.line
        pressed = DtmfPressed(
            id=f"d{digit}",
            call_id=line.call_id,
            source=line.stream,
            sequence=line.next_sequence(),
            stream=line.stream,
            digit=digit,
        )
        self.tape.say(pressed, line.partition)
        return pressed

    def close(self) -> None:
        self.tape.close_line(
            self.line,
            lambda line: StreamClosed(
                id="end",
                call_id=line.call_id,
                source=line.stream,
                sequence=line.next_sequence(),
                stream=line.stream,
                reason="stop",
                last_sequence=line.media_sequence,
            ),
        )

    async def media(self, through: int) -> list[MediaReceived | MediaSpoken]:
        reader = self.log.reader(MEDIA.name, {self.line.partition: 0})
        found: list[MediaReceived | MediaSpoken] = []
        async with asyncio.timeout(5):
            while not found or found[-1].sequence < through:
                found += [unpack_media(record.value) for record in await reader.read(wait_ms=20)]
        return found

    async def facts(self, count: int) -> list[AnyEvent]:
        reader = self.log.reader(EVENTS.name, {self.line.partition: 0})
        found: list[AnyEvent] = []
        async with asyncio.timeout(5):
            while len(found) < count:
                found += [decode(record.value) for record in await reader.read(wait_ms=20)]
        return found


@asynccontextmanager
async def desk(
    *,
    buffer: int = 1 << 20,
    facts: int = 1_000,
    away: LogError | None = None,
    flush_s: float = 5.0,
    log: CountingLog | None = None,
) -> AsyncIterator[Desk]:
    tally = Tally()
    async with log or CountingLog() as log:
        log.fault = away
        tape = Tape(
            log,
            clock=lambda: 0,
            tally=tally,
            tick_ms=0,
            media_buffer_bytes=buffer,
            facts_buffer=facts,
            flush_s=flush_s,
        )
        async with tape:
            yield Desk(log, tape, tally, Line(call_id="c", tenant_id="t", stream="s", partition=3))


AWAY = LogUnavailable("away")


@pytest.mark.parametrize("fault", [AWAY, LogBroken("disk full")], ids=["away", "broken"])
async def test_what_came_while_the_log_was_away_is_there_in_order_when_it_is_back(fault: LogError) -> None:
    async with desk(away=fault) as d:
        d.hear(1, 10)
        pressed = [d.press(digit) for digit in "123"]
        d.close()
        await d.log.refused.wait()
        assert d.tally.waiting()[0] >= 0
        d.log.fault = None
        frames = await d.media(10)
        assert [frame.ms for frame in frames] == [number * 20 for number in range(1, 11)]
        assert [frame.sequence for frame in frames] == list(range(1, 11))
        facts = await d.facts(4)
        assert facts[:3] == pressed
        assert isinstance(facts[3], StreamClosed)
        assert facts[3].last_sequence == 10
        assert d.tally.retries > 0
        assert d.tally.dropped == 0


async def test_a_full_buffer_drops_the_oldest_audio_and_no_fact() -> None:
    async with desk(buffer=5 * 160, away=AWAY) as d:
        pressed = [d.press(str(number % 10)) for number in range(50)]
        d.hear(1, 20)
        d.close()
        assert (d.line.dropped, d.tally.dropped) == (15, 15)
        assert d.tally.waiting() == (5 * 160, 50)
        d.log.fault = None
        frames = await d.media(5)
        assert [frame.ms for frame in frames] == [number * 20 for number in range(16, 21)]
        assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5], "what is dropped leaves no hole"
        facts = await d.facts(51)
        assert facts[:50] == pressed
        assert isinstance(facts[50], StreamClosed)
        assert facts[50].last_sequence == 5


async def test_a_lines_end_stays_though_all_its_audio_is_dropped() -> None:
    async with desk(buffer=3 * 160, away=AWAY) as d:
        d.hear(1, 3)
        d.close()
        other = Line(call_id="c", tenant_id="t", stream="other", partition=3)
        for number in range(10):
            d.tape.hear(other, number * 20, FRAME)
        assert (d.line.dropped, other.dropped) == (3, 7)
        d.log.fault = None
        closed = (await d.facts(1))[0]
        assert isinstance(closed, StreamClosed)
        assert closed.last_sequence == 0


async def test_the_smallest_frames_cannot_fill_the_memory() -> None:
    async with desk(buffer=100 * 160, away=AWAY) as d:
        d.hear(1, 10_000, b"\xff")
        assert len(d.tape._media.items) <= 100
        assert d.tally.dropped >= 9_900
        d.log.fault = None


async def test_spoken_audio_stands_among_the_heard_in_the_order_it_went_out() -> None:
    async with desk() as d:
        d.hear(1, 1)
        d.tape.spoke(d.line, ms=25, payload=FRAME, reply="r", sentence=2, offset_ms=40)
        d.hear(2, 2)
        kinds = [type(frame) for frame in await d.media(3)]
        assert kinds == [MediaReceived, MediaSpoken, MediaReceived]


async def test_who_says_facts_waits_while_too_many_wait() -> None:
    async with desk(facts=3, away=AWAY) as d:
        for digit in "123":
            d.press(digit)
        assert d.tape.full
        waiting = asyncio.create_task(d.tape.room())
        d.log.fault = None
        async with asyncio.timeout(5):
            await waiting
        assert len(await d.facts(3)) == 3


async def test_a_fact_is_told_only_when_it_is_durable() -> None:
    async with desk(away=AWAY) as d:
        event = DtmfPressed(id="1", call_id="c", source="s", sequence=1, stream="s", digit="1")
        told = asyncio.create_task(d.tape.tell(event, 3))
        await d.log.refused.wait()
        assert not told.done()
        d.log.fault = None
        async with asyncio.timeout(5):
            placed = await told
        assert (placed.partition, placed.position) == (3, 0)


async def test_what_all_calls_said_in_a_tick_is_one_append_a_topic() -> None:
    async with desk() as d:
        lines = [Line(call_id=f"c{n}", tenant_id="t", stream=f"s{n}", partition=3) for n in range(50)]
        for line in lines:
            d.tape.hear(line, 0, FRAME)
            d.press("1", line)
        await d.facts(50)
        await d.media(1)
        assert sorted(d.log.batches) == [(EVENTS.name, 50), (MEDIA.name, 50)]


async def test_leaving_puts_down_what_waits_media_before_the_facts_that_close_it() -> None:
    async with desk() as d:
        d.hear(1, 5_000)
        d.close()
    log = d.log
    assert sum(count for topic, count in log.batches if topic == MEDIA.name) == 5_000
    assert log.batches[-1] == (EVENTS.name, 1)
    with pytest.raises(LogClosed):
        d.press("1")


async def test_leaving_while_the_log_stays_away_ends_and_tells_those_who_wait() -> None:
    waiting: list[asyncio.Task[Placed]] = []
    async with desk(away=AWAY, flush_s=0.0) as d:
        event = DtmfPressed(id="1", call_id="c", source="s", sequence=1, stream="s", digit="1")
        waiting.append(asyncio.create_task(d.tape.tell(event, 3)))
        await d.log.refused.wait()
        waiting.append(asyncio.create_task(d.tape.tell(event, 3)))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in told] == [LogClosed, LogClosed]


# What is larger than a log takes


class SmallLog(CountingLog):
    """A broker with a limit of its own, below what every log promises."""

    most = 400

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if any(len(entry.value) > self.most for entry in entries):
            raise EntryTooLarge("message.max.bytes")
        return await super().append(topic, entries)


def typed(text: str, sequence: int, call_id: str = "c") -> TextTyped:
    return TextTyped(id=f"t{sequence}", call_id=call_id, source="s", sequence=sequence, stream="s", text=text)


TOO_LARGE = [typed("x" * MAX_VALUE_BYTES, 2), typed("x", 2, "k" * (MAX_KEY_CHARACTERS + 1))]


@pytest.mark.parametrize("large", TOO_LARGE, ids=["value", "key"])
async def test_a_fact_too_large_for_any_log_is_left_out_and_counted(large: TextTyped) -> None:
    async with desk() as d:
        d.tape.say(typed("before", 1), 3)
        d.tape.say(large, 3)
        with pytest.raises(EntryTooLarge):
            await d.tape.tell(large, 3)
        d.tape.say(typed("after", 4), 3)
        assert [event.id for event in await d.facts(2)] == ["t1", "t4"]
        assert d.tally.bad_input["tape", "too_large"] == 2
        assert not any(task.done() for task in d.tape.tasks)


async def test_a_fact_too_large_for_this_log_is_left_out_alone() -> None:
    async with desk(log=SmallLog()) as d:
        told = [asyncio.create_task(d.tape.tell(typed("x" * (500 if n == 11 else 1), n), 3)) for n in range(30)]
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*told, return_exceptions=True)
        assert [n for n, answer in enumerate(answers) if isinstance(answer, EntryTooLarge)] == [11]
        assert [event.id for event in await d.facts(29)] == [f"t{n}" for n in range(30) if n != 11]
        assert d.tally.bad_input["tape", "too_large"] == 1
        assert not any(task.done() for task in d.tape.tasks)


async def test_a_frame_too_large_for_a_log_is_dropped_and_leaves_no_hole() -> None:
    async with desk() as d:
        d.hear(1, 2)
        d.hear(3, 3, b"\xff" * MAX_VALUE_BYTES)
        d.hear(4, 5)
        d.close()
        frames = await d.media(4)
        assert [(frame.ms, frame.sequence) for frame in frames] == [(20, 1), (40, 2), (80, 3), (100, 4)]
        assert (d.line.dropped, d.tally.dropped) == (1, 1)
        closed = (await d.facts(1))[0]
        assert isinstance(closed, StreamClosed)
        assert closed.last_sequence == 4


async def test_a_frame_too_large_for_this_log_holds_up_nobody() -> None:
    async with desk(log=SmallLog()) as d:
        d.hear(1, 2)
        d.hear(3, 3, b"\xff" * 500)
        d.hear(4, 5)
        d.close()
        assert [frame.ms for frame in await d.media(5)] == [20, 40, 80, 100]
        assert isinstance((await d.facts(1))[0], StreamClosed)
        assert d.tally.bad_input["tape", "too_large"] == 1
