"""Summary and recording: once a call, resting on what was really heard, whoever comes second."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventlog.memory import MemoryLog, MemoryReader
from eventlog.port import Entry, LogUnavailable, Record
from schema import topics
from schema.call import CallSealed, CallStarted
from schema.envelope import AnyEvent, type_of
from schema.media import MediaReceived, MediaSpoken
from schema.registry import pack
from schema.speech import TranscriptSettled
from schema.stream import PlaybackCleared, StreamOpened
from schema.topics import partition_of
from tests.support.runtimes import World, fields, now, on_virtual_time
from workers.case import Case
from workers.engines.port import ActionFound, CallSummary, EngineError, KeyPoint, MadeBy, SpokenLine, ToolOutcome
from workers.recorder import RecorderRole, RecordingState
from workers.runtime import Runtime
from workers.summariser import SummariserRole

CALL = "CA1"
PARTITION = partition_of(CALL, topics.PARTITIONS)


class Clerk:
    """Summarises by repeating; may be slow, or fail first."""

    def __init__(self, *, seconds: float = 0.0, failures: Sequence[BaseException] = ()) -> None:
        self.seconds = seconds
        self.failures = list(failures)
        self.asked: list[tuple[SpokenLine, ...]] = []

    def made_by(self) -> MadeBy:
        return MadeBy("clerk", "clerk", "")

    async def summarise(self, lines: Sequence[SpokenLine], tools: Sequence[ToolOutcome]) -> CallSummary:
        self.asked.append(tuple(lines))
        await asyncio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        cites = tuple(line.id for line in lines)
        actions = (ActionFound("Buy milk", "note", cites), ActionFound("Buy bread", "note", cites))
        return CallSummary(" ".join(line.text for line in lines), (KeyPoint("milk", cites),), actions, "neutral", cites)


class Archive(World):
    """A call that is over, and clerks that summarise it."""

    def clerk(self, instance: str, engine: Clerk) -> Runtime[Any]:
        role = SummariserRole(lambda profile: engine, lambda: f"{instance}-{self.new_id()}")
        runtime = Runtime(
            self.log, role, instance=instance, incarnation="1", now=now, new_id=lambda: f"{instance}-{self.new_id()}"
        )
        role.pump = runtime.calls.pump
        self.running[instance] = asyncio.get_running_loop().create_task(runtime.run())
        return runtime

    async def call(self, *, sealed: bool = True) -> str:
        await self.say(CallStarted(id=self.new_id(), call_id=CALL, channel="twilio"), "web")
        settled = TranscriptSettled(
            id=self.new_id(), call_id=CALL, stream="MZ1", text="note milk", start_ms=0, end_ms=0, through_ms=0
        )
        await self.say_as(settled, "hearing")
        if sealed:
            await self.seal()
        return settled.id

    async def seal(self) -> None:
        await self.say_as(CallSealed(id=self.new_id(), call_id=CALL, complete=True), "conversation")


LATE = ["call.summarised", "action.found", "action.found"]


async def late_names(archive: Archive) -> list[str]:
    return [type_of(event) for event in await archive.events(CALL) if event.role == "summariser"]


def test_a_sealed_call_is_summarised_once_and_cites_its_lines() -> None:
    async def story() -> None:
        archive = Archive()
        archive.clerk("a", Clerk())
        line = await archive.call()
        await archive.until_said(CALL, "action.found", 2)
        await asyncio.sleep(5)
        assert await late_names(archive) == LATE
        events = await archive.events(CALL)
        assert fields(events, "call.summarised", "cites") == [(line,)]
        assert fields(events, "action.found", "number") == [1, 2]
        assert fields(events, "call.summarised", "revision") == [1]
        await archive.close()

    on_virtual_time(story())


def test_a_call_that_lives_is_not_summarised() -> None:
    async def story() -> None:
        archive = Archive()
        clerk = Clerk()
        archive.clerk("a", clerk)
        await archive.call(sealed=False)
        await asyncio.sleep(60)
        assert clerk.asked == []
        await archive.seal()
        await archive.until_said(CALL, "call.summarised")
        await archive.close()

    on_virtual_time(story())


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (5.0, 1.0), (1.5, 1.0), (1.001, 1.0)])
def test_two_owners_make_one_summary(first: float, second: float) -> None:
    async def story() -> None:
        archive = Archive()
        archive.clerk("a", Clerk(seconds=first))
        await archive.call()
        await asyncio.sleep(0.2)
        archive.log.kill("summariser:a")
        archive.clerk("b", Clerk(seconds=second))
        await archive.until_said(CALL, "action.found", 2)
        await asyncio.sleep(30)
        assert await late_names(archive) == LATE
        ids = [event.id.split("-")[0] for event in await archive.events(CALL) if event.role == "summariser"]
        assert len(set(ids)) == 1, "the items belong to their own summary"
        await archive.close()

    on_virtual_time(story())


def test_a_new_owner_summarises_what_the_last_one_did_not() -> None:
    async def story() -> None:
        archive = Archive()
        archive.clerk("a", Clerk(seconds=60))
        await archive.call()
        await asyncio.sleep(1)
        await archive.fire("a")
        archive.clerk("b", Clerk())
        await archive.until_said(CALL, "action.found", 2)
        assert await late_names(archive) == LATE
        await archive.close()

    on_virtual_time(story())


def test_a_call_that_was_summarised_is_not_summarised_by_who_comes_next() -> None:
    async def story() -> None:
        archive = Archive()
        archive.clerk("a", Clerk())
        await archive.call()
        await archive.until_said(CALL, "action.found", 2)
        await archive.fire("a")
        idle = Clerk()
        archive.clerk("b", idle)
        await asyncio.sleep(30)
        assert idle.asked == []
        await archive.close()

    on_virtual_time(story())


LATER = EngineError("busy", "later", retryable=True)
NEVER = EngineError("refused", "never", retryable=False)


@pytest.mark.parametrize(
    ("failures", "tries", "said"),
    [
        ([LATER], 2, LATE),
        ([OSError("disk"), LATER], 3, LATE),
        ([LATER, LATER, LATER], 3, ["work.failed"]),
        ([NEVER], 1, ["work.failed"]),
        ([KeyError("a bug")], 1, ["work.failed"]),
        ([LogUnavailable("away")] * 5, 6, LATE),
        ([asyncio.CancelledError()], 2, LATE),
        ([asyncio.CancelledError()] * 3, 3, ["work.failed"]),
    ],
)
def test_failures_are_tried_again_or_said(failures: list[BaseException], tries: int, said: list[str]) -> None:
    async def story() -> None:
        archive = Archive()
        clerk = Clerk(failures=failures)
        archive.clerk("a", clerk)
        await archive.call()
        await archive.until_said(CALL, said[-1])
        await asyncio.sleep(30)
        assert await late_names(archive) == said
        assert len(clerk.asked) == tries
        await archive.close()

    on_virtual_time(story())


def test_who_is_stopped_does_not_try_again() -> None:
    async def story() -> None:
        archive = Archive()
        clerk = Clerk(seconds=10)
        clerks = archive.clerk("a", clerk).calls
        await archive.call()
        await asyncio.sleep(1)
        clerks.release([PARTITION])
        await asyncio.sleep(60)
        assert len(clerk.asked) == 1
        assert await late_names(archive) == []
        await archive.close()

    on_virtual_time(story())


# The recording


BEGAN_AT = 1_000_000
LEFT, RIGHT = b"\x01\x10", b"\x02\x20"  # a sample of each side


class Tape:
    """A call being recorded: frames of 20 ms on a log in memory, and the recorder's own fold."""

    def __init__(self, folder: Path) -> None:
        self.at = BEGAN_AT
        self.log = MemoryLog(now=lambda: self.at)
        self.role = RecorderRole(self.log, folder, lambda: "rec")
        self.folder = folder
        self.state = RecordingState()
        self.sequences: dict[str, int] = {}
        self.fold(CallStarted(id="start-000000000001", call_id=CALL, channel="twilio"))

    def fold(self, event: AnyEvent) -> None:
        self.state = self.role.fold(self.state, event, 0, self.at)

    def opened(self, stream: str, at_ms: int, media_end: int = 0) -> None:
        self.at = BEGAN_AT + at_ms
        opened = StreamOpened(
            id="o", call_id=CALL, stream=stream, door="twilio", mailbox=1, encoding="pcm16", media_end=media_end
        )
        self.fold(opened)

    def cleared(self, heard_ms: int, at_ms: int, stream: str = "MZ1") -> None:
        self.at = BEGAN_AT + at_ms
        self.fold(PlaybackCleared(id="c", call_id=CALL, stream=stream, reply="r", sentence=0, heard_ms=heard_ms))

    def _sequence(self, stream: str) -> int:
        self.sequences[stream] = self.sequences.get(stream, 0) + 1
        return self.sequences[stream]

    async def received(self, ms: int, stream: str = "MZ1", *, copies: int = 1, sample: bytes = LEFT) -> None:
        frame = MediaReceived(call_id=CALL, stream=stream, sequence=self._sequence(stream), ms=ms, payload=sample * 160)
        for _ in range(copies):
            await self.log.append(topics.MEDIA.name, [Entry(CALL, pack(frame))])

    async def spoken(
        self, ms: int, offset_ms: int, length_ms: int = 200, stream: str = "MZ1", *, copies: int = 1
    ) -> None:
        frame = MediaSpoken(
            call_id=CALL,
            stream=stream,
            sequence=self._sequence(stream),
            ms=ms,
            payload=RIGHT * (8 * length_ms),
            reply="r",
            sentence=0,
            offset_ms=offset_ms,
        )
        for _ in range(copies):
            await self.log.append(topics.MEDIA.name, [Entry(CALL, pack(frame))])

    async def sides(self) -> tuple[bytes, bytes]:
        """What the file holds, 2 bytes a sample a side."""
        events = await self.role.work(Case(CALL, PARTITION, self.state))
        saved: Any = events[0]
        with wave.open(str(self.folder / saved.path)) as file:
            assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
            frames = file.readframes(file.getnframes())
        assert saved.duration_ms == len(frames) // 32
        left = b"".join(frames[at : at + 2] for at in range(0, len(frames), 4))
        right = b"".join(frames[at + 2 : at + 4] for at in range(0, len(frames), 4))
        return left, right


def sounding(side: bytes) -> list[tuple[int, int]]:
    """(from ms, to ms) of what is not silence, in steps of 20 ms."""
    found: list[tuple[int, int]] = []
    for at in range(0, len(side), 320):
        if not any(side[at : at + 320]):
            continue
        ms = at // 16
        if found and found[-1][1] == ms:
            found[-1] = (found[-1][0], ms + 20)
        else:
            found.append((ms, ms + 20))
    return found


async def test_both_sides_lie_on_the_calls_own_clock(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 1000)
    await tape.received(0)
    await tape.received(500)
    await tape.spoken(300, 0)
    left, right = await tape.sides()
    assert sounding(left) == [(1000, 1020), (1500, 1520)]
    assert sounding(right) == [(1300, 1500)]
    assert len(left) == len(right)


async def test_audio_written_ahead_of_its_playing_is_laid_end_to_end(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    for offset_ms in (0, 200, 400):
        await tape.spoken(100, offset_ms)
    assert sounding((await tape.sides())[1]) == [(100, 700)]


async def test_what_was_cut_is_not_in_the_recording(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    for offset_ms in (0, 200, 400):
        await tape.spoken(100, offset_ms)
    tape.cleared(300, at_ms=420)
    assert sounding((await tape.sides())[1]) == [(100, 400)]


async def test_a_sentence_that_went_on_after_a_cut_is_recorded_both_times(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    for offset_ms in (0, 200, 400):
        await tape.spoken(100, offset_ms)
    tape.cleared(300, at_ms=420)
    for offset_ms in (200, 400):
        await tape.spoken(2000, offset_ms)
    assert sounding((await tape.sides())[1]) == [(100, 400), (2000, 2400)]


async def test_a_sentence_cut_twice_is_cut_twice(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    await tape.spoken(100, 0, 600)
    tape.cleared(300, at_ms=420)
    await tape.spoken(2000, 200, 400)
    tape.cleared(400, at_ms=2220)
    assert sounding((await tape.sides())[1]) == [(100, 400), (2000, 2200)]


async def test_frames_appended_twice_are_recorded_once(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    await tape.received(0, copies=3)
    await tape.received(20, copies=2)
    await tape.spoken(100, 0, copies=2)
    await tape.spoken(100, 200)
    left, right = await tape.sides()
    assert sounding(left) == [(0, 40)]
    assert sounding(right) == [(100, 500)]


async def test_two_streams_follow_each_other_on_one_tape(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 100)
    await tape.received(0)
    tape.opened("MZ2", 3000, media_end=1)
    await tape.received(0, "MZ2")
    await tape.spoken(20, 0, 20, "MZ2")
    left, right = await tape.sides()
    assert sounding(left) == [(100, 120), (3000, 3020)]
    assert sounding(right) == [(3020, 3040)]


async def test_other_calls_of_the_partition_are_not_on_the_tape(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    await tape.received(0)
    twin = next(name for name in (f"CB{n}" for n in range(999)) if partition_of(name, topics.PARTITIONS) == PARTITION)
    foreign = MediaReceived(call_id=twin, stream="MZ1", sequence=9, ms=500, payload=LEFT * 160)
    await tape.log.append(topics.MEDIA.name, [Entry(twin, pack(foreign))])
    assert sounding((await tape.sides())[0]) == [(0, 20)]


class FarLog(MemoryLog):
    """Over a network: what a reader asks for takes a second to come."""

    def reader(self, topic: str, positions: Mapping[int, int]) -> MemoryReader:
        return FarReader(self, self._shelf(topic), positions)


class FarReader(MemoryReader):
    async def read(self, *, max_records: int = 1000, wait_ms: int = 1000) -> list[Record]:
        # As on a broker: without patience the answer is what the log has; with some, it is empty when that is over.
        patience_s = wait_ms / 1000 if wait_ms else 1.0
        await asyncio.sleep(min(patience_s, 1.0))
        return await super().read(max_records=max_records, wait_ms=0) if patience_s >= 1.0 else []


def test_a_recording_is_whole_however_far_the_log_is(tmp_path: Path) -> None:
    async def story() -> None:
        tape = Tape(tmp_path)
        tape.log = FarLog(now=lambda: tape.at)
        # Threads know no virtual time.
        tape.role = RecorderRole(tape.log, tmp_path, lambda: "rec", beside=_at_once)
        tape.opened("MZ1", 0)
        for number in range(5):
            await tape.received(number * 20)
        saved: Any = (await tape.role.work(Case(CALL, PARTITION, tape.state)))[0]
        assert saved.duration_ms == 100

    on_virtual_time(story())


async def _at_once(what: Callable[..., Any], *given: Any) -> Any:
    return what(*given)


async def test_a_call_without_audio_has_no_recording_and_says_so(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    events = await tape.role.work(Case(CALL, PARTITION, tape.state))
    assert [type_of(event) for event in events] == ["work.failed"]
    assert not list(Path.iterdir(tmp_path))


async def test_the_recordings_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.opened("MZ1", 0)
    await tape.received(0)
    tape.state = replace(tape.state, life="../../x-000000000001")
    case = Case("acme~../../etc", PARTITION, tape.state)
    tape.log = tape.role._log  # type: ignore[assignment]
    frame = MediaReceived(call_id=case.call_id, stream="MZ1", sequence=1, ms=0, payload=LEFT * 160)
    await tape.log.append(topics.MEDIA.name, [Entry(case.call_id, pack(frame), partition=PARTITION)])
    saved: Any = (await tape.role.work(case))[0]
    assert "/" not in saved.path and (tmp_path / saved.path).is_file()
