"""Engines that are none: speech is found and never understood, replies are written and never heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from audio.decoding import PatientDecoder
from audio.formats import PCM16_8K
from calltape.checks import agent
from calltape.engines import other_way_told, speech_to_text, text_to_speech
from calltape.terminal import Refused
from schema.envelope import Event, type_of
from schema.speech import SpeechStarted, TranscriptSettled
from schema.turn import ReplyComposed, ReplySentence, ReplyStarted, ReplyVoiced
from tests.support.hearing import FRAME_MS, QUIET, LoudDetector, frame, spoken
from tests.support.settings import plain_settings
from workers.ear import Ear, EarConfig
from workers.engines.none import NoSpeechToText, NoTextToSpeech
from workers.engines.phrases import Phrases
from workers.engines.port import EngineError, Finished, Heard, HearingRequest, Settled, VoiceRequest
from workers.talk import Finish, Talk
from workers.turns import fold, owed

REQUEST = HearingRequest("en-US", 8000, start_ms=1000)
SENTENCE = VoiceRequest("hello", "", "en-US", 8000)
MS = 16  # bytes
FED_MS = 2600


class Heeded:
    """A stream that was fed and told of speech, and what came of it so far."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.stream = NoSpeechToText().open(REQUEST, self.heard.append)
        self.stream.feed(bytes(FED_MS * MS))
        self.stream.speech_started(1400)

    async def soon(self) -> list[Heard]:
        assert self.heard == [], "nothing is told from inside a method"
        await asyncio.sleep(0)
        return self.heard


async def test_an_utterance_is_settled_without_words_or_length_as_far_as_it_was_fed() -> None:
    heeded = Heeded()
    heeded.stream.speech_paused(1200)
    assert await heeded.soon() == [Settled("", 0.0, 1400, 1400, 1000 + FED_MS)]


async def test_a_short_pause_ends_nothing() -> None:
    heeded = Heeded()
    heeded.stream.speech_paused(300)
    heeded.stream.speech_paused(700)
    assert await heeded.soon() == []


async def test_a_pause_that_is_told_again_settles_nothing_again() -> None:
    heeded = Heeded()
    heeded.stream.speech_paused(1200)
    heeded.stream.speech_paused(1200)
    assert len(await heeded.soon()) == 1


async def test_the_end_settles_what_is_open_and_says_so() -> None:
    heeded = Heeded()
    heeded.stream.finish()
    assert await heeded.soon() == [Settled("", 0.0, 1400, 1400, 1000 + FED_MS), Finished()]


async def test_a_closed_stream_says_nothing_more() -> None:
    heeded = Heeded()
    heeded.stream.finish()
    heeded.stream.close()
    assert await heeded.soon() == []


async def test_an_ear_tells_of_every_utterance_and_of_no_word() -> None:
    said: list[Event] = []
    ids, numbers = count(1), count(1)

    def say(events: Sequence[Event]) -> None:
        said.extend(events)

    request = HearingRequest("en-US", 8000)
    config = EarConfig(call_id="CA1", stream="MZ1", request=request, steps_ms=(300, 700, 1200), min_words=1)
    decoder = PatientDecoder(PCM16_8K, 8000)
    ear = Ear(config, NoSpeechToText(), LoudDetector(), decoder, new_id=lambda: f"id{next(ids)}", say=say)
    for pcm, frames in [(spoken(1), 25), (QUIET, 70), (spoken(2), 25), (QUIET, 70)]:
        for _ in range(frames):
            number = next(numbers)
            ear.hear(frame(number, pcm), number, number * FRAME_MS)
            await asyncio.sleep(0)
    ear.finish()
    await asyncio.sleep(0)
    utterance = ["speech.started", *["speech.paused"] * 3, "transcript.settled", "speech.stopped"]
    assert [type_of(event) for event in said] == [*utterance, *utterance, "stream.heard"]
    settled = [event for event in said if isinstance(event, TranscriptSettled)]
    assert [(event.text, event.complete) for event in settled] == [("", None)] * 2
    assert settled[0].through_ms < settled[1].start_ms
    assert settled[0].made_by is not None and settled[0].made_by.engine == "none"


def test_speech_without_length_is_no_turn_to_be_answered() -> None:
    talk = Talk(stream="MZ1", has_profile=True, greeted=True)
    talk = fold(talk, SpeechStarted(id="s", call_id="CA1", stream="MZ1", at_ms=1400), 1, 2000)
    settled = TranscriptSettled(
        id="t", call_id="CA1", stream="MZ1", text="", start_ms=1400, end_ms=1400, through_ms=3600
    )
    talk = fold(talk, settled, 2, 3600)
    assert (talk.said, talk.wordless) == ((), True)


@pytest.mark.parametrize("voice", [NoTextToSpeech(), Phrases(NoTextToSpeech())])
async def test_no_sentence_gets_a_voice(voice: Any) -> None:
    for _ in range(2):
        with pytest.raises(EngineError, match="no engine is configured that speaks") as failed:
            await anext(voice.speak(SENTENCE))
        assert (failed.value.code, failed.value.retryable) == ("no_voice", False)
    assert voice.made_by(SENTENCE).engine == "none"
    await voice.close()


def test_a_reply_without_a_voice_is_over_and_was_not_heard() -> None:
    named: dict[str, Any] = {"call_id": "CA1", "reply": "r"}
    talk = Talk(stream="MZ1", has_profile=True)
    for position, event in enumerate(
        (
            ReplyStarted(id="r", call_id="CA1", why="greeting", agent="notes"),
            ReplySentence(id="s", index=0, text="Hello.", **named),
            ReplyComposed(id="c", sentences=1, **named),
            ReplyVoiced(id="v", index=0, duration_ms=0, **named),
        ),
        start=1,
    ):
        assert owed(talk) != (Finish("r", interrupted=False),)
        talk = fold(talk, event, position, 1000 + position)
    assert owed(talk) == (Finish("r", interrupted=False),)


def test_none_is_named_like_any_engine_and_stands_alone() -> None:
    assert isinstance(speech_to_text(("none",)), NoSpeechToText)
    assert isinstance(text_to_speech(("none",)), NoTextToSpeech)
    with pytest.raises(Refused, match="CALLTAPE_STT names 'none' beside others"):
        speech_to_text(("pocketsphinx", "none"))
    with pytest.raises(Refused, match="CALLTAPE_TTS names 'none' beside others"):
        text_to_speech(("none", "espeak"))


def test_who_has_no_engine_is_told_both_ways() -> None:
    with pytest.raises(Refused, match="install it, or set CALLTAPE_STT=none CALLTAPE_TTS=none"), other_way_told():
        raise EngineError("engine_unavailable", "it cannot run: install it", retryable=False)


async def test_a_check_warns_that_nobody_will_hear_or_answer() -> None:
    hearing, speaking = (
        await agent.hearing(plain_settings(stt=("none",))),
        await agent.speaking(plain_settings(tts=("none",))),
    )
    assert hearing.ok and "nobody listens" in hearing.detail and "CALLTAPE_STT" in hearing.fix
    assert speaking.ok and "nobody speaks" in speaking.detail and "CALLTAPE_TTS" in speaking.fix
