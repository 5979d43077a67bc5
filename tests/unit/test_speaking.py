"""Sentences get a voice, one after the other, in pieces, from where the caller stopped hearing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from audio.encoding import PIECE_MS
from audio.opus_toc import packet_ms
from eventlog.memory import MemoryLog
from eventlog.port import Entry
from schema.outbox import OutboxAudio
from schema.registry import unpack_outbox
from tests.support.runtimes import on_virtual_time
from workers.appender import Appender
from workers.engines.port import EngineError, MadeBy, TextToSpeechCapabilities, VoiceRequest
from workers.lifecycle import Line
from workers.outbound import Outbound
from workers.profiles import Profile, Voice
from workers.speaking import ENGINE_TIMEOUT_S, Speaker, ToSpeak, Voiced, word_start_ms


class Mail(Appender):
    """What reaches the mailbox, in order."""

    def __init__(self) -> None:
        super().__init__(MemoryLog(now=lambda: 0))
        self.audio: list[OutboxAudio] = []
        self.partitions: set[int | None] = set()

    def put(self, topic: str, entry: Entry) -> int:
        message = unpack_outbox(entry.value)
        assert isinstance(message, OutboxAudio)
        self.audio.append(message)
        self.partitions.add(entry.partition)
        return 0


class Counter:
    """Speaks 100 ms a letter, each sample the letter itself; a text of `hang` never comes, `fail` fails midway."""

    capabilities = TextToSpeechCapabilities("counter", streaming=True)

    def __init__(self) -> None:
        self.asked: list[VoiceRequest] = []

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MadeBy("counter", request.voice, "")

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        if request.text == "hang":
            await asyncio.sleep(3600)
        for letter in request.text:
            await asyncio.sleep(0)
            yield bytes((ord(letter), 0)) * (request.sample_rate // 10)
            if request.text == "fail":
                raise EngineError("tts_down", "no voice today", retryable=True)
            if request.text == "break":
                raise ZeroDivisionError

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


def line(encoding: str = "pcm16", sample_rate: int = 8000) -> Line:
    return Line("MZ1", 1, "twilio", 7, encoding, sample_rate, 0, 0)


def to_speak(text: str, index: int = 0, *, on: Line | None = None, from_ms: int = 0) -> ToSpeak:
    return ToSpeak("CA1", "r", f"s{index}", index, text, 42, 1, on or line(), from_ms)


def spoken(*sentences: ToSpeak, seconds: float = 60) -> tuple[list[OutboxAudio], list[Voiced]]:
    async def story() -> tuple[list[OutboxAudio], list[Voiced]]:
        mail, done = Mail(), list[Voiced]()
        speaker = Speaker(Counter(), Outbound(mail), done.append)
        for sentence in sentences:
            speaker.speak(sentence)
        await asyncio.sleep(seconds)
        speaker.stop()
        assert mail.partitions <= {7}
        return mail.audio, done

    return on_virtual_time(story())


def test_a_sentence_goes_out_in_pieces_as_it_is_made_and_the_last_one_says_so() -> None:
    audio, done = spoken(to_speak("hello"))
    assert [(piece.offset_ms, len(piece.payload) // 16, piece.last) for piece in audio] == [
        (0, PIECE_MS, False),
        (200, PIECE_MS, False),
        (400, 100, True),
    ]
    assert (done[0].duration_ms, done[0].error) == (500, None)
    assert all((piece.take, piece.sentence_id, piece.stream) == (42, "s0", "MZ1") for piece in audio)


def test_sentences_follow_each_other() -> None:
    audio, done = spoken(to_speak("one", 0), to_speak("two", 1))
    assert [piece.sentence for piece in audio] == sorted(piece.sentence for piece in audio)
    assert [voiced.sentence.index for voiced in done] == [0, 1]


def test_a_sentence_goes_on_where_the_caller_stopped_hearing() -> None:
    audio, done = spoken(to_speak("hello", from_ms=220))
    assert audio[0].offset_ms == 220
    assert sum(len(piece.payload) for piece in audio) // 16 == 500 - 220
    assert done[0].duration_ms == 500, "the sentence is as long as it is"


def test_a_sentence_that_was_heard_whole_still_says_that_it_is_over() -> None:
    audio, _ = spoken(to_speak("hello", from_ms=500))
    assert [(piece.offset_ms, piece.payload, piece.last) for piece in audio] == [(500, b"", True)]


def test_mu_law_streams_get_mu_law() -> None:
    audio, done = spoken(to_speak("hi", on=line("mulaw")))
    assert sum(len(piece.payload) for piece in audio) == 1600
    assert done[0].duration_ms == 200


def test_the_streams_own_rate_is_asked_of_the_voice() -> None:
    async def story() -> None:
        voice = Counter()
        speaker = Speaker(voice, Outbound(Mail()), lambda voiced: None)
        profile = Profile(name="p", greeting="hi", language="en-GB", voice=Voice(name="en-gb", rate_wpm=150))
        speaker.speak(
            ToSpeak("CA1", "r", "s", 0, "hi", 1, 1, line("pcm16", 16_000), profile=profile),
        )
        await asyncio.sleep(1)
        asked = voice.asked[0]
        assert (asked.sample_rate, asked.voice, asked.language, asked.rate_wpm) == (16_000, "en-gb", "en-GB", 150)

    on_virtual_time(story())


@pytest.mark.parametrize(("text", "code"), [("fail", "tts_down"), ("hang", "tts_timeout"), ("break", "tts_broke")])
def test_a_voice_that_fails_says_so_and_the_next_sentence_is_spoken(text: str, code: str) -> None:
    audio, done = spoken(to_speak(text, 0), to_speak("next", 1), seconds=ENGINE_TIMEOUT_S + 60)
    assert [(voiced.duration_ms, voiced.error.code if voiced.error else "") for voiced in done] == [
        (0, code),
        (400, ""),
    ]
    assert audio[-1].sentence == 1 and audio[-1].last


@pytest.mark.parametrize(("from_ms", "first"), [(0, 0), (220, 220), (233, 220), (499, 480)])
def test_opus_goes_out_packet_by_packet_from_the_one_that_was_cut(from_ms: int, first: int) -> None:
    audio, done = spoken(to_speak("hello", on=line("opus", 16_000), from_ms=from_ms))
    assert [piece.offset_ms for piece in audio] == list(range(first, 500, 20))
    assert {packet_ms(piece.payload) for piece in audio} == {20}
    assert [piece.last for piece in audio] == [False] * (len(audio) - 1) + [True]
    assert done[0].duration_ms == 500


def test_a_stream_may_be_spoken_to_in_longer_packets() -> None:
    audio, done = spoken(to_speak("hello", on=replace(line("opus", 16_000), packet_ms=60), from_ms=130))
    assert [piece.offset_ms for piece in audio] == list(range(120, 500, 60))
    assert {packet_ms(piece.payload) for piece in audio} == {60}
    assert done[0].duration_ms == 540


def test_a_degraded_line_gets_fewer_bits() -> None:
    on = line("opus", 16_000)
    (well, _), (badly, _) = spoken(to_speak("hello", on=on)), spoken(to_speak("hello", on=replace(on, degraded=True)))
    assert sum(len(p.payload) for p in badly) < sum(len(p.payload) for p in well)


def test_stereo_is_said_where_it_is_asked_for() -> None:
    audio, done = spoken(to_speak("hi", on=replace(line("pcm16", 24_000), channels=2)))
    assert (sum(len(piece.payload) for piece in audio), done[0].duration_ms) == (200 * 96, 200)


def test_every_sentence_begins_with_an_encoder_of_its_own() -> None:
    on = line("opus", 16_000)
    twice, _ = spoken(to_speak("hello", 0, on=on), to_speak("hello", 1, on=on))
    assert [p.payload for p in twice if p.sentence == 0] == [p.payload for p in twice if p.sentence == 1]


@pytest.mark.parametrize("encoding", ["speex", ""])
def test_a_format_nobody_can_encode_is_a_failure_and_no_crash(encoding: str) -> None:
    audio, done = spoken(to_speak("hello", on=line(encoding)))
    assert audio == []
    assert done[0].error is not None


def test_a_speaker_that_was_stopped_says_nothing_of_what_waited() -> None:
    async def story() -> list[Voiced]:
        done: list[Voiced] = []
        speaker = Speaker(Counter(), Outbound(Mail()), done.append)
        for index in range(5):
            speaker.speak(to_speak("hang", index))
        await asyncio.sleep(0.1)
        speaker.stop()
        speaker.speak(to_speak("go", 9))
        await asyncio.sleep(100)
        return done

    assert [voiced.sentence.index for voiced in on_virtual_time(story())] == [9]


# Where a cut sentence goes on


def test_a_cut_sentence_goes_on_at_the_beginning_of_the_cut_word() -> None:
    text = "one two three four"
    assert word_start_ms(text, 1800, 0) == 0
    assert word_start_ms(text, 1800, 250) == 0
    assert word_start_ms(text, 1800, 650) == 400
    assert word_start_ms(text, 1800, 1800) == 1800


@given(st.text("ab ", max_size=40), st.integers(0, 10_000), st.integers(0, 12_000))
def test_a_cut_sentence_never_goes_on_after_what_was_heard(text: str, duration_ms: int, heard_ms: int) -> None:
    start_ms = word_start_ms(text, duration_ms, heard_ms)
    assert 0 <= start_ms <= max(heard_ms, duration_ms)
    assert start_ms <= heard_ms or start_ms - heard_ms <= 40
    assert start_ms % 20 == 0
