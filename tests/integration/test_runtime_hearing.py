"""Hearing's process on a log in memory: every word once, whoever hears it, whatever the wire does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from calltape.simulation.loop import VirtualLoop
from eventlog.memory import MemoryLog
from eventlog.port import Entry, LogUnavailable, Placed
from schema import topics
from schema.call import CallAdopted, CallEnded, CallSealed, CallStarted, ProfileUsed
from schema.envelope import type_of
from schema.registry import decode, pack
from schema.stream import StreamClosed, StreamLost, StreamOpened, TurnReleased
from schema.topics import partition_of
from tests.support.hearing import FRAME_MS, QUIET, LoudDetector, ReadingEngine, ToldEngine, frame, spoken
from tests.support.runtimes import World, fields, now, on_virtual_time
from workers.hearing import HearingDesk, HearingRole
from workers.listening import SLOW_MS, HearingRuntime
from workers.profiles import Profile, profile_body
from workers.runtime import RuntimeLimits

CALL, STREAM = "CA1", "MZ1"
PROFILE = Profile(name="toy", greeting="Hello.")


class DeafLog(MemoryLog):
    """Takes no events of the ears that listen, and everything else."""

    def __init__(self) -> None:
        super().__init__(now=now)
        self.is_deaf = False

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if self.is_deaf and topic == topics.EVENTS.name and b'"role":"hearing"' in entries[0].value:
            raise LogUnavailable("no event is taken")
        return await super().append(topic, entries)


class SlowLog(MemoryLog):
    """Takes its time over a gap: longer than a log does that holds nothing back."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if topic == topics.EVENTS.name and type_of(decode(entries[0].value)) == "timer.rang":
            await asyncio.sleep(SLOW_MS / 1000 + 0.5)
        return await super().append(topic, entries)


class Line(World):
    """A call whose caller's frames are written to the log, and owners that hear them."""

    def __init__(self) -> None:
        super().__init__()
        self.engine: ToldEngine = ReadingEngine()
        self.ears: dict[str, HearingRuntime] = {}
        self.frames = 0

    def listen(self, instance: str) -> HearingRuntime:
        role = HearingRole(
            HearingDesk(
                stt=self.engine, detector=lambda rate: LoudDetector(), new_id=lambda: f"{instance}-{self.new_id()}"
            )
        )
        runtime = HearingRuntime(
            self.log,
            role,
            instance=instance,
            incarnation="1",
            now=now,
            new_id=lambda: f"{instance}-{self.new_id()}",
            limits=RuntimeLimits(commit_ms=100),
        )
        self.ears[instance] = runtime
        self.running[instance] = asyncio.get_running_loop().create_task(runtime.run())
        return runtime

    async def call(self, *, profile: bool = True) -> None:
        await self.say(CallStarted(id=self.new_id(), call_id=CALL, channel="twilio"), "web")
        if profile:
            await self.use_profile()
        await self.open(STREAM)

    async def use_profile(self) -> None:
        used = ProfileUsed(id=self.new_id(), call_id=CALL, hash="h", body=profile_body(PROFILE))
        await self.say_as(used, "conversation")

    async def open(self, stream: str) -> None:
        end = await self.log.end(topics.MEDIA.name, partition_of(CALL, topics.PARTITIONS))
        opened = StreamOpened(
            id=self.new_id(), call_id=CALL, stream=stream, door="twilio", mailbox=3, encoding="pcm16", media_end=end
        )
        await self.say(opened, stream)
        self.frames = 0

    async def send(self, pcm: bytes, frames: int, *, stream: str = STREAM, pace: bool = True) -> None:
        """Frames at their real pace, one append each."""
        for _ in range(frames):
            self.frames += 1
            media = frame(self.frames, pcm, stream=stream, call_id=CALL)
            await self.log.append(topics.MEDIA.name, [Entry(CALL, pack(media))])
            if pace:
                await asyncio.sleep(FRAME_MS / 1000)

    async def close_stream(self, stream: str = STREAM, *, last: int | None = None) -> None:
        last_sequence = self.frames if last is None else last
        closed = StreamClosed(id=self.new_id(), call_id=CALL, stream=stream, reason="stop", last_sequence=last_sequence)
        await self.say(closed, stream)

    async def texts(self) -> list[str]:
        return [text for text in fields(await self.events(CALL), "transcript.settled", "text") if text]


def settled_places(events: Sequence[object]) -> list[tuple[int, int]]:
    return [(e.start_ms, e.through_ms) for e in events if hasattr(e, "through_position")]  # type: ignore[attr-defined]


def test_a_call_is_heard_from_its_first_word_to_its_last() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(QUIET, 20)
        await line.send(spoken(1), 10)
        await line.send(spoken(2), 10)
        await line.send(QUIET, 30)
        await line.send(spoken(3), 10)
        await line.send(QUIET, 30)
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        assert await line.texts() == ["w1 w2", "w3"]
        events = await line.events(CALL)
        assert fields(events, "stream.heard", "complete") == [True]
        assert fields(events, "stream.heard", "through_ms") == [line.frames * FRAME_MS]
        assert [e.owner for e in events if hasattr(e, "owner")] == ["hearing:a:1"]
        await line.close()

    on_virtual_time(story())


def test_a_caller_who_hangs_up_in_mid_word_is_heard_to_that_word() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        await line.send(spoken(2), 5)
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        assert await line.texts() == ["w1 w2"]
        names = await line.names(CALL)
        assert names.index("transcript.settled") < names.index("stream.heard")
        await line.close()

    on_virtual_time(story())


def test_a_client_whose_turn_is_over_is_understood_without_waiting_for_silence() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        await line.say(TurnReleased(id=line.new_id(), call_id=CALL, stream=STREAM), STREAM)
        await line.until_said(CALL, "transcript.settled")
        assert await line.texts() == ["w1"]
        assert "timer.rang" not in await line.names(CALL)
        await line.close()

    on_virtual_time(story())


def test_speech_of_a_call_that_was_sealed_meanwhile_is_heard_once_and_let_go() -> None:
    async def story() -> None:
        line = Line()
        await line.call()
        await line.send(spoken(1), 15, pace=False)
        await line.close_stream()
        await line.say_as(CallEnded(id=line.new_id(), call_id=CALL, reason="caller_hung_up"), "conversation")
        await line.say_as(CallSealed(id=line.new_id(), call_id=CALL, complete=False), "conversation")
        heard = line.listen("late")
        await asyncio.sleep(2)  # of virtual time
        assert heard.calls.live and CALL not in heard.calls.cases
        names = await line.names(CALL)
        assert "transcript.settled" not in names and "speech.started" not in names
        await line.close()

    on_virtual_time(story())


def test_a_stream_that_closes_before_its_frames_are_read_is_heard_to_its_last_frame() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 15, pace=False)
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        assert await line.texts() == ["w1"]
        assert fields(await line.events(CALL), "stream.heard", "through_ms") == [15 * FRAME_MS]
        await line.close()

    on_virtual_time(story())


def test_a_takeover_in_mid_word_loses_no_word_and_hears_none_twice() -> None:
    async def story(after: int) -> list[str]:
        line = Line()
        line.listen("a")
        await line.call()
        sent = 0
        for word in range(1, 7):
            for pcm in (spoken(word), QUIET):
                for _ in range(18):
                    await line.send(pcm, 1)
                    sent += 1
                    if sent == after:
                        await line.fire("a")
                        line.listen("b")
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        texts = await line.texts()
        places = settled_places(await line.events(CALL))
        assert all(start >= through for (_, through), (start, _) in pairwise(places))
        await line.close()
        return " ".join(texts).split()

    for after in (3, 10, 20, 34, 37, 40, 55, 90, 130):
        words = on_virtual_time(story(after))
        assert words == ["w1", "w2", "w3", "w4", "w5", "w6"], f"killed after {after} frames"


def test_a_zombie_hears_on_and_nobody_believes_it() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        line.log.kill("hearing:a")
        line.listen("b")
        await line.send(spoken(2), 10)
        await line.send(QUIET, 30)
        await line.send(spoken(3), 10)
        await line.send(QUIET, 30)
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        assert " ".join(await line.texts()).split() == ["w1", "w2", "w3"]
        assert (await line.names(CALL)).count("stream.heard") == 1
        await line.close()

    on_virtual_time(story())


def test_no_engine_is_opened_before_the_profile_is_known_and_no_frame_is_missed() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call(profile=False)
        await line.send(spoken(1), 10)
        assert "speech.started" not in await line.names(CALL)
        await line.use_profile()
        await line.send(spoken(2), 10)
        await line.send(QUIET, 30)
        await line.until_said(CALL, "transcript.settled")
        assert await line.texts() == ["w1 w2"]
        await line.close()

    on_virtual_time(story())


def test_a_line_that_falls_silent_in_mid_word_is_a_gap_and_the_word_is_kept() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        await asyncio.sleep(1)
        events = await line.events(CALL)
        assert fields(events, "timer.rang", "name") == ["gap"]
        assert fields(events, "timer.rang", "stream") == [STREAM]
        assert await line.texts() == ["w1"]
        await line.send(spoken(2), 10)
        await line.send(QUIET, 30)
        await line.until_said(CALL, "transcript.settled", 2)
        assert await line.texts() == ["w1", "w2"]
        await line.close()

    on_virtual_time(story())


def test_a_gap_that_the_log_took_slowly_is_no_pause() -> None:
    """Frames of the caller, who never stopped, were held back with it."""

    async def story() -> None:
        line = Line()
        line.log = SlowLog(now=now)
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        await line.until_said(CALL, "timer.rang")
        await asyncio.sleep(0.15)
        await line.send(spoken(2), 10)
        await line.send(QUIET, 30)
        await line.until_said(CALL, "transcript.settled")
        assert await line.texts() == ["w1 w2"]
        await line.close()

    on_virtual_time(story())


def test_a_machine_that_stood_still_takes_nobodys_word_for_a_pause() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.freeze(1.0)
        await asyncio.sleep(0.15)  # the door stood still, too, and has to read its sockets
        await line.send(spoken(2), 10)
        await line.send(QUIET, 30)
        await line.until_said(CALL, "transcript.settled")
        assert await line.texts() == ["w1 w2"]
        assert "timer.rang" not in await line.names(CALL)
        await line.close()

    on_virtual_time(story())


def test_a_call_adopted_by_who_had_lost_it_already_is_adopted_back() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.until_said(CALL, "call.adopted")
        await line.say_as(CallAdopted(id=line.new_id(), call_id=CALL, owner="hearing:z:1"), "hearing")
        await line.send(spoken(1), 10)
        await line.send(QUIET, 30)
        assert await line.texts() == []
        await asyncio.sleep(RuntimeLimits().readopt_ms / 1000)
        assert await line.texts() == ["w1"]
        assert [e.owner for e in await line.events(CALL) if isinstance(e, CallAdopted)] == [
            "hearing:a:1", "hearing:z:1", "hearing:a:1",
        ]  # fmt: skip
        await line.close()

    on_virtual_time(story())


def test_who_stood_still_adopts_nothing_back_before_it_knows_what_is_its_own() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.until_said(CALL, "call.adopted")
        await line.say_as(CallAdopted(id=line.new_id(), call_id=CALL, owner="hearing:z:1"), "hearing")
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.freeze(60)
        await asyncio.sleep(10)
        assert (await line.names(CALL)).count("call.adopted") == 2
        await line.close()

    on_virtual_time(story())


def test_a_lost_stream_is_heard_to_the_end_of_what_arrived() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        await line.say_as(StreamLost(id=line.new_id(), call_id=CALL, stream=STREAM), "conversation")
        await line.until_said(CALL, "stream.heard")
        assert await line.texts() == ["w1"]
        await line.close()

    on_virtual_time(story())


def test_a_stream_that_never_sent_a_frame_was_heard() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.close_stream(last=0)
        await line.until_said(CALL, "stream.heard")
        assert fields(await line.events(CALL), "stream.heard", "complete") == [True]
        await line.close()

    on_virtual_time(story())


def test_a_stream_that_was_heard_is_not_heard_again_by_the_next_owner() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        await line.fire("a")
        line.listen("b")
        await line.until_said(CALL, "call.adopted", 2)
        await asyncio.sleep(5)
        assert (await line.names(CALL)).count("stream.heard") == 1
        assert await line.texts() == ["w1"]
        await line.close()

    on_virtual_time(story())


def test_two_streams_of_a_call_are_heard_each_to_its_end() -> None:
    async def story() -> None:
        line = Line()
        line.listen("a")
        await line.call()
        await line.send(spoken(1), 10)
        first = line.frames
        await line.open("MZ2")
        await line.close_stream(STREAM, last=first)
        await line.send(spoken(2), 10, stream="MZ2")
        await line.close_stream("MZ2")
        await line.until_said(CALL, "stream.heard", 2)
        assert sorted(fields(await line.events(CALL), "stream.heard", "stream")) == [STREAM, "MZ2"]
        assert sorted(await line.texts()) == ["w1", "w2"]
        await line.close()

    on_virtual_time(story())


def test_a_call_that_ended_while_nobody_listened_is_heard_all_the_same() -> None:
    async def story() -> None:
        line = Line()
        await line.call()
        await line.send(spoken(1), 10, pace=False)
        await line.send(QUIET, 30, pace=False)
        await line.send(spoken(2), 5, pace=False)
        await line.close_stream()
        line.listen("a")
        await line.until_said(CALL, "stream.heard")
        assert " ".join(await line.texts()).split() == ["w1", "w2"]
        await line.close()

    on_virtual_time(story())


def test_media_waits_on_the_log_while_what_was_heard_cannot_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.listening.MOST_UNSAID", 20)

    async def story() -> None:
        line = Line()
        line.log = log = DeafLog()
        heard = line.listen("a")
        await line.call()
        await line.until_said(CALL, "call.adopted")
        log.is_deaf = True
        for word in range(1, 41):
            await line.send(spoken(word), 10, pace=False)
            await line.send(QUIET, 70, pace=False)
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        # What one batch of frames gave beyond the limit, and no more for all that came later.
        assert 20 <= heard.appender.pending(topics.EVENTS.name) < 40
        log.is_deaf = False
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        assert await line.texts() == [f"w{word}" for word in range(1, 41)]
        await line.close()

    on_virtual_time(story())
