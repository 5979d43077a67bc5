"""A whole call on an Opus stream: heard, answered, interrupted and recorded by the roles as they ship."""

from __future__ import annotations

import asyncio
import wave
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from audio.opus_toc import packet_ms
from audio.resample import resample
from eventlog.port import Log
from schema import topics
from schema.envelope import AnyEvent
from schema.media import AnyMedia, MediaSpoken
from schema.registry import unpack_media
from schema.stream import PlaybackCleared, PlaybackMarked, PlaybackStarted
from schema.turn import ReplyFinished, ReplyInterrupted, ReplySentence, ReplyVoiced
from tests.support.calls import PATIENCE_S, World, running, texts
from tests.support.opus_calls import RATE, OpusCall, packet_desk, speech
from tests.support.sound import loudness
from workers.engines.espeak import Espeak
from workers.engines.port import VoiceRequest

CALL = "default~opus-1"


@dataclass(frozen=True, slots=True)
class Called:
    """What became of the call."""

    events: list[AnyEvent]
    media: list[AnyMedia]
    shown: dict[str, Any]
    greeting: bytes  # as the voice makes it, at RATE
    call: OpusCall
    recording: Path

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def _until(world: World, kind: type, replies: int) -> None:
    """Until so many replies have come so far."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            events = await world.events(CALL)
            if len({event.reply for event in events if isinstance(event, kind)}) >= replies:  # type: ignore[attr-defined]
                return
            await asyncio.sleep(0.05)


async def _media(log: Log) -> list[AnyMedia]:
    partition = topics.partition_of(CALL, await log.partitions(topics.MEDIA.name))
    reader = log.reader(topics.MEDIA.name, {partition: 0})
    found: list[AnyMedia] = []
    while records := await reader.read(max_records=5_000, wait_ms=50):
        found += [unpack_media(record.value) for record in records]
    await reader.close()
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def called(tmp_path_factory: pytest.TempPathFactory) -> Called:
    folder = tmp_path_factory.mktemp("house")
    async with running(folder) as world, packet_desk(world.house.log) as desk, Espeak() as voice:
        call = OpusCall(desk, CALL)
        await call.begin()
        await _until(world, ReplyFinished, 1)
        call.say(await speech(voice, "what can you do"))
        await _until(world, PlaybackStarted, 2)
        call.say(await speech(voice, "make a note to buy milk"))
        await _until(world, ReplyInterrupted, 1)
        await _until(world, ReplyFinished, 3)
        call.hang_up()
        shown = await world.shown(CALL)
        events = await world.events(CALL)
        first = next(event.text for event in events if isinstance(event, ReplySentence))
        request = VoiceRequest(str(first), "en-us", "en-US", RATE, 165)
        greeting = b"".join([piece async for piece in voice.speak(request)])
        media = await _media(world.house.log)
        return Called(events, media, shown, greeting, call, Path(folder) / "recordings" / shown["recording"])


@pytest.mark.asyncio(loop_scope="module")
class TestACallOnAnOpusStream:
    async def test_its_words_are_heard(self, called: Called) -> None:
        assert [text for text in texts(called.events, "transcript.settled") if text] == [
            "what can you do",
            "make a note to buy milk",
        ]

    async def test_the_log_keeps_the_sound_packet_by_packet_in_the_codec_it_came_in(self, called: Called) -> None:
        assert {packet_ms(frame.payload) for frame in called.media} == {20}
        spoken = [frame for frame in called.media if isinstance(frame, MediaSpoken)]
        assert [frame.payload for frame in spoken] == [f for f in called.call.frames if isinstance(f, bytes)]

    async def test_a_sentence_is_voiced_and_played_packet_by_packet(self, called: Called) -> None:
        reply = called.of(ReplyFinished)[0].reply
        spoken = [f for f in called.media if isinstance(f, MediaSpoken) and (f.reply, f.sentence) == (reply, 0)]
        assert [frame.offset_ms for frame in spoken] == [20 * number for number in range(len(spoken))]
        voiced = next(event for event in called.of(ReplyVoiced) if (event.reply, event.index) == (reply, 0))
        assert voiced.duration_ms == 20 * len(spoken)
        assert voiced.duration_ms == ceil(len(called.greeting) / 2 / RATE * 50) * 20

    async def test_the_caller_hears_the_voice(self, called: Called) -> None:
        # The voice's pitch flutters anew each time: what is compared is how loud it is, and when.
        expected = loudness(resample(called.greeting, RATE, 16_000), 16_000)
        heard = loudness(called.call.heard(), 16_000)[: len(expected)]
        assert np.corrcoef(expected, heard)[0, 1] > 0.85

    async def test_what_was_heard_is_estimated_where_nobody_acknowledges(self, called: Called) -> None:
        assert all(mark.estimated for mark in called.of(PlaybackMarked))
        cleared = called.of(PlaybackCleared)
        assert cleared and "clear" in called.call.frames
        assert all(cut.estimated for cut in cleared if cut.heard_ms)

    async def test_it_is_recorded_wide_band_with_both_sides(self, called: Called) -> None:
        with wave.open(str(called.recording)) as file:
            assert (file.getnchannels(), file.getframerate()) == (2, 16_000)
            frames = file.readframes(file.getnframes())
        left = b"".join(frames[at : at + 2] for at in range(0, len(frames), 4))
        right = b"".join(frames[at + 2 : at + 4] for at in range(0, len(frames), 4))
        assert any(left) and any(right)
