"""A call that nobody hears and nobody answers aloud: everything of it is kept, and nothing is claimed to be heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest_asyncio

from audio.wav import read_wav
from clients.report import CallReport
from clients.script import Dtmf, Hangup, Say, Wait
from eventlog.port import Record
from migrations.run import upgrade_on
from projections.database import sync_engine
from projections.rebuild import rebuild
from schema import topics
from schema.envelope import AnyEvent
from schema.failure import WorkFailed
from schema.media import AnyMedia, MediaReceived
from schema.registry import unpack_media
from schema.speech import TranscriptSettled
from schema.stream import StreamClosed
from schema.turn import ReplySentence, ReplyVoiced
from tests.e2e.test_spoken_calls import contents
from tests.support.calls import World, names, running, texts

RATE = 8000
STEPS = (Wait(wait=500), Say(say="make a note to buy milk"), Wait(wait=4000), Dtmf(dtmf="0"), Wait(wait=4000), Hangup())


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of the call."""

    report: CallReport
    shown: dict[str, Any]
    events: list[AnyEvent]
    media: list[AnyMedia]
    records: list[Record]  # of calls.events
    folder: Path

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def records_of(world: World, topic: str) -> list[Record]:
    positions = dict.fromkeys(range(await world.house.log.partitions(topic)), 0)
    reader = world.house.log.reader(topic, positions)
    try:
        return await reader.read(max_records=20_000, wait_ms=100)
    finally:
        await reader.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: Any) -> AsyncIterator[Kept]:
    folder = tmp_path_factory.mktemp("house")
    async with running(folder, stt=("none",), tts=("none",)) as world:
        report = await world.call(*STEPS)
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
        media = [unpack_media(record.value) for record in await records_of(world, topics.MEDIA.name)]
        records = await records_of(world, topics.EVENTS.name)
    yield Kept(report, shown, events, media, records, folder)


def test_a_call_is_carried_from_its_greeting_to_its_seal(kept: Kept) -> None:
    told = names(kept.events)
    for each in (
        ("call.started", "stream.opened", "dtmf.pressed", "stream.closed"),
        ("profile.used", "reply.started", "reply.finished", "turn.taken", "reply.started", "reply.finished"),
        ("speech.started", "transcript.settled", "speech.stopped"),
    ):
        assert [name for name in told[: told.index("stream.closed") + 1] if name in each] == list(each)
    assert {"call.ended", "stream.heard", "call.sealed", "call.summarised"} <= set(names(kept.events))
    assert (kept.shown["reason"], kept.shown["complete"]) == ("caller_hung_up", True)
    assert kept.report.violations == []


def test_speech_is_found_and_no_word_of_it(kept: Kept) -> None:
    [settled] = kept.of(TranscriptSettled)
    assert (settled.text, settled.made_by.engine) == ("", "none")
    assert texts(kept.events, "turn.taken") == ["0"], "and nobody asks to hear it again"
    assert kept.shown["stt_engine"] == "none"


def test_replies_are_on_the_record_and_nothing_of_them_was_heard(kept: Kept) -> None:
    [turn] = kept.shown["turns"]
    assert "remind me" in turn["reply"] and turn["reply_heard"] == ""
    assert [(line["speaker"], line["text"]) for line in kept.shown["transcript"]] == [("caller", "0")]
    voiced, failed = kept.of(ReplyVoiced), kept.of(WorkFailed)
    assert len(kept.of(ReplySentence)) == len(voiced) == len(failed) > 2
    assert {event.duration_ms for event in voiced} == {0}
    assert {(event.stage, event.code) for event in failed} == {("tts", "no_voice")}


def test_every_frame_is_on_the_log_and_none_went_out(kept: Kept) -> None:
    [closed] = kept.of(StreamClosed)
    assert all(isinstance(each, MediaReceived) for each in kept.media)
    assert [each.sequence for each in kept.media] == list(range(1, closed.last_sequence + 1))
    assert kept.report.turns[0].first_audio_ms is None


def test_the_caller_is_in_the_recording(kept: Kept) -> None:
    recorded = (kept.folder / "recordings" / kept.shown["recording"]).read_bytes()
    assert np.abs(np.frombuffer(read_wav(recorded, RATE), "<i2").astype(float)).max() > 1000


def test_tables_rebuilt_from_the_log_equal_the_live_ones(kept: Kept, tmp_path: Path) -> None:
    again = f"sqlite:///{tmp_path / 'again.sqlite'}"
    engine = sync_engine(again)
    with engine.begin() as connection:
        upgrade_on(connection)
    with engine.begin() as connection:
        rebuild(connection, kept.records)
    engine.dispose()
    assert contents(again) == contents(f"sqlite:///{kept.folder / 'calls.sqlite'}")
