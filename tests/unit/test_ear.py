"""One stream being heard: every millisecond once, whatever becomes of frames and recognisers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from audio.decoding import PatientDecoder
from audio.formats import PCM16_8K, AudioFormat
from audio.opus import OpusEncoder
from schema.envelope import Event, type_of
from schema.failure import WorkFailed
from schema.media import MediaReceived
from tests.support.hearing import FRAME_MS, QUIET, LoudDetector, ToldEngine, ToldStream, frame, spoken
from tests.support.sound import likeness, sweep
from workers.ear import MOST_FAILURES, Ear, EarConfig
from workers.engines.port import HearingRequest

BEGAN_AT = 1_000_000
STEPS_MS = (300, 700, 1200)


class Room:
    """An ear, its recogniser, and what it said."""

    def __init__(
        self, *, through_ms: int = 0, min_words: int = 1, declared: AudioFormat = PCM16_8K, rate: int = 8000
    ) -> None:
        self.engine = ToldEngine()
        self.said: list[Event] = []
        ids = count(1)
        config = EarConfig(
            call_id="CA1",
            stream="MZ1",
            request=HearingRequest(language="en-US", sample_rate=rate),
            steps_ms=STEPS_MS,
            min_words=min_words,
            through_ms=through_ms,
        )
        decoder = PatientDecoder(declared, config.request.sample_rate)
        self.ear = Ear(config, self.engine, LoudDetector(), decoder, new_id=lambda: f"id{next(ids)}", say=self._say)
        self.number = 0

    def _say(self, events: Sequence[Event]) -> None:
        self.said += events

    @property
    def stream(self) -> ToldStream:
        return self.engine.streams[-1]

    def hear(self, pcm: bytes, frames: int = 1, *, number: int | None = None) -> None:
        for _ in range(frames):
            self.number = number if number is not None else self.number + 1
            self.ear.hear(frame(self.number, pcm), self.number * 10, BEGAN_AT + self.number * FRAME_MS)

    def names(self) -> list[str]:
        return [type_of(event) for event in self.said]

    def last(self, name: str) -> Any:
        return next(event for event in reversed(self.said) if type_of(event) == name)


def test_speech_is_told_with_its_own_milliseconds() -> None:
    room = Room()
    room.hear(QUIET, 50)
    room.hear(spoken(1), 25)
    room.hear(QUIET, 20)
    assert room.names() == ["speech.started", "speech.paused"]
    assert room.last("speech.started").at_ms == 1000
    paused = room.last("speech.paused")
    assert (paused.silence_ms, paused.voiced_ms) == (300, 1500)
    assert paused.voiced_at == BEGAN_AT + 75 * FRAME_MS
    assert room.stream.told == ["started 1000", "paused 300"]


def test_every_step_of_silence_is_told_once() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, 100)
    assert [event.silence_ms for event in room.said if type_of(event) == "speech.paused"] == [300, 700, 1200]  # type: ignore[attr-defined]


def test_settled_words_end_the_utterance_and_say_how_far_it_was_heard() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, 16)
    room.stream.settles("yes", 700, start_ms=0, end_ms=400)
    assert room.names()[-2:] == ["transcript.settled", "speech.stopped"]
    settled = room.last("transcript.settled")
    assert (settled.text, settled.through_ms, settled.complete) == ("yes", 700, True)
    assert settled.through_position == 36 * 10, "the frame that follows 700 ms"
    assert not room.ear.speaking


def test_an_utterance_that_nobody_understands_is_closed_by_an_empty_line() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, 16)
    room.stream.settles("", 700)
    assert room.names()[-2:] == ["transcript.settled", "speech.stopped"]
    assert room.last("transcript.settled").through_ms == 700


def test_late_frames_that_are_settled_piece_by_piece_leave_no_empty_lines() -> None:
    """A recogniser that cuts long speech is told of the same pause again after each piece, and answers each time."""
    room = Room()
    room.hear(spoken(1), 60)
    room.hear(QUIET, 65)
    for text, through_ms in (("one", 400), ("two", 800), ("three", 2300)):
        room.stream.settles(text, through_ms, end_ms=min(through_ms, 1200))
    assert room.stream.told.count("paused 1200") == 3
    said = len(room.said)
    for _ in range(3):
        room.stream.settles("", 2500)
    assert room.names()[said:] == []
    assert [event.text for event in room.said if type_of(event) == "transcript.settled"] == ["one", "two", "three"]  # type: ignore[attr-defined]
    room.hear(spoken(2), 20)
    room.hear(QUIET, 16)
    room.stream.settles("four", 3000, start_ms=2500, end_ms=2900)
    four = room.last("transcript.settled")
    assert (four.start_ms, four.through_ms, four.through_position) == (2500, 3000, 151 * 10)


def test_missing_frames_are_heard_as_silence() -> None:
    room = Room()
    room.hear(spoken(1), 10)
    room.hear(spoken(1), number=21)
    assert room.stream.fed_ms == 21 * FRAME_MS
    assert room.stream.fed[10 * 320 : 20 * 320] == bytes(10 * 320)


def test_repeated_frames_are_heard_once() -> None:
    room = Room()
    room.hear(spoken(1), 10)
    room.hear(spoken(1), 5, number=10)
    room.hear(spoken(1), 1, number=3)
    assert room.stream.fed_ms == 200


def test_a_pause_in_a_gap_is_told_too() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, number=20 + 600)
    assert [event.silence_ms for event in room.said if type_of(event) == "speech.paused"] == [300, 700, 1200]  # type: ignore[attr-defined]
    assert room.stream.fed_ms == 620 * FRAME_MS


def test_an_hour_that_is_missing_is_a_jump_of_the_clock() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, number=180_000)
    assert room.names()[-1] == "speech.stopped"
    assert room.stream.request.start_ms == 179_999 * FRAME_MS


def test_a_long_silence_that_is_missing_is_jumped_over_while_nobody_speaks() -> None:
    room = Room()
    room.hear(QUIET, 10)
    room.hear(spoken(1), number=10 + 6_000 // FRAME_MS)
    room.hear(spoken(1), 20)
    assert len(room.engine.streams) == 2
    assert [stream.fed_ms for stream in room.engine.streams] == [200, 21 * FRAME_MS]
    assert room.stream.request.start_ms == room.last("speech.started").at_ms == 9 * FRAME_MS + 6_000


def test_a_short_one_is_heard_and_so_is_a_longer_one_in_open_speech() -> None:
    room = Room()
    room.hear(QUIET, 10)
    room.hear(spoken(1), number=10 + 5_000 // FRAME_MS)
    room.hear(spoken(1), 20)
    room.hear(QUIET, number=room.number + 15_000 // FRAME_MS)
    assert len(room.engine.streams) == 1
    assert room.stream.fed_ms == room.number * FRAME_MS
    room.hear(QUIET, number=room.number + 601_000 // FRAME_MS)
    assert len(room.engine.streams) == 2
    assert room.names()[-1] == "speech.stopped"


def test_half_a_word_before_a_gap_is_not_jumped_over() -> None:
    """Too short to be speech, it is with the recogniser all the same."""
    room = Room()
    room.hear(QUIET, 10)
    room.hear(spoken(1), 2)
    assert not room.ear.speaking
    room.hear(QUIET, number=room.number + 10_000 // FRAME_MS)
    assert len(room.engine.streams) == 1
    assert room.stream.fed_ms == room.number * FRAME_MS


def test_an_old_log_full_of_gaps_costs_hearing_its_sound_alone() -> None:
    room = Room()
    for number in range(100):
        room.hear(QUIET, number=1 + number * 600_000 // FRAME_MS)
    assert sum(stream.fed_ms for stream in room.engine.streams) == 100 * FRAME_MS
    assert room.stream.request.start_ms == 99 * 600_000


def test_a_jump_brings_no_recogniser_back_that_was_given_up() -> None:
    room = Room()
    room.hear(QUIET, 10)
    room.stream.fails(retryable=False)
    room.hear(QUIET, number=1_000)
    assert len(room.engine.streams) == 1
    assert room.names() == ["work.failed"]


# Another owner goes on


def test_a_new_owner_hears_on_exactly_where_the_last_one_settled() -> None:
    room = Room(through_ms=1010)
    room.hear(spoken(1), 100)
    assert room.stream.request.start_ms == 1010
    assert room.stream.fed_ms == 2000 - 1010
    assert room.ear.config.through_ms == 1010


def test_a_new_owner_that_finds_later_audio_begins_there() -> None:
    room = Room(through_ms=100)
    room.hear(QUIET, number=51)
    assert room.stream.request.start_ms == 1000
    assert room.stream.fed_ms == FRAME_MS


def test_what_is_settled_never_lies_before_what_was_settled() -> None:
    room = Room()
    room.hear(spoken(1), 50)
    room.stream.settles("one", 600)
    room.stream.settles("two", 500, start_ms=100)
    settled = room.last("transcript.settled")
    assert settled.through_ms == 600 and settled.start_ms >= 600


# Recognisers that fail


def test_a_failed_recogniser_is_replaced_and_hears_all_that_was_not_settled() -> None:
    room = Room()
    room.hear(QUIET, 10)
    room.hear(spoken(1), 30)
    room.stream.settles("one", 600)
    room.hear(spoken(2), 20)
    first = room.stream
    first.fails()
    assert len(room.engine.streams) == 2
    assert room.stream.request.start_ms == 600
    assert room.stream.fed_ms == 1200 - 600
    room.hear(spoken(2), 5)
    assert room.stream.fed_ms == 1300 - 600
    first.settles("a ghost", 900)
    assert "a ghost" not in {getattr(event, "text", "") for event in room.said}


def test_a_replaced_recogniser_is_told_that_speech_is_open_and_paused() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, 16)
    room.stream.fails()
    assert room.stream.told == ["started 0", "paused 300"]


def test_a_recogniser_that_fails_again_and_again_is_given_up_and_said_so() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    for _ in range(MOST_FAILURES + 1):
        room.stream.fails()
    assert room.names()[-2:] == ["work.failed", "speech.stopped"]
    assert len(room.engine.streams) == MOST_FAILURES + 1
    room.ear.finish()
    heard = room.last("stream.heard")
    assert not heard.complete


def test_settled_words_forgive_earlier_failures() -> None:
    room = Room()
    for number in range(3 * MOST_FAILURES):
        room.hear(spoken(1), 10)
        room.stream.fails()
        room.stream.settles("one", room.number * FRAME_MS - 10)
        assert len(room.engine.streams) == number + 2
    assert "work.failed" not in room.names()


def test_a_failure_for_good_is_not_tried_again() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.stream.fails(retryable=False)
    assert len(room.engine.streams) == 1
    assert "work.failed" in room.names()


def test_speech_nobody_can_understand_still_stops() -> None:
    room = Room()
    room.hear(QUIET, 5)
    room.stream.fails(retryable=False)
    room.hear(spoken(1), 20)
    room.hear(QUIET, 70)
    assert room.names()[-1] == "speech.stopped"
    assert not room.ear.speaking


# Guesses


def test_guesses_come_when_they_change_and_at_most_three_a_second() -> None:
    room = Room()
    room.hear(spoken(1), 10)
    for number in range(50):
        room.hear(spoken(1))
        room.stream.guesses(f"word {number // 2}")
    revised = [event for event in room.said if type_of(event) == "transcript.revised"]
    assert 3 <= len(revised) <= 4


def test_the_guess_that_reaches_the_deciding_number_of_words_comes_at_once() -> None:
    room = Room(min_words=3)
    room.hear(spoken(1), 10)
    for guess in ("well", "well no", "well no not", "well no not that"):
        room.stream.guesses(guess)
    assert [event.text for event in room.said if type_of(event) == "transcript.revised"] == ["well", "well no not"]  # type: ignore[attr-defined]


def test_a_guess_without_speech_is_nothing() -> None:
    room = Room()
    room.hear(QUIET, 10)
    room.stream.guesses("noise")
    assert room.said == []


# The end


def test_a_caller_who_hangs_up_in_mid_word_keeps_that_word() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.ear.finish()
    assert room.stream.told[-1] == "finish"
    assert room.names() == ["speech.started"]
    room.stream.settles("den", 400)
    room.stream.finishes()
    assert room.names() == ["speech.started", "transcript.settled", "speech.stopped", "stream.heard"]
    assert room.last("stream.heard").through_ms == 400


def test_speech_that_ends_with_the_line_was_voiced_until_there() -> None:
    room = Room()
    room.hear(QUIET, 50)
    room.hear(spoken(1), 25)
    room.ear.finish()
    room.stream.settles("buy", 1500)
    stopped = room.last("speech.stopped")
    assert (stopped.voiced_ms, stopped.voiced_at) == (1500, BEGAN_AT + 75 * FRAME_MS)


def test_the_end_is_said_once() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.ear.finish()
    room.ear.finish()
    room.stream.finishes()
    room.ear.finish()
    assert room.names().count("stream.heard") == 1
    assert room.names().count("speech.stopped") == 1


def test_a_stream_without_a_frame_was_heard_at_once() -> None:
    room = Room()
    room.ear.finish()
    assert room.names() == ["stream.heard"]
    assert room.last("stream.heard").complete and room.engine.streams == []


def test_a_recogniser_that_fails_at_the_end_is_asked_once_more() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.ear.finish()
    room.stream.fails()
    assert room.stream.told[-1] == "finish" and room.stream.fed_ms == 400
    room.stream.settles("den", 400)
    room.stream.finishes()
    assert room.names()[-1] == "stream.heard"


def test_frames_after_the_end_are_nothing() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.ear.finish()
    room.hear(spoken(1), 20)
    assert room.stream.fed_ms == 400


def test_a_stopped_ear_says_nothing_more() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    stream = room.stream
    room.ear.stop()
    stream.settles("ghost", 400)
    assert stream.told[-1] == "close"
    assert room.names() == ["speech.started"]


def test_a_gap_in_open_speech_is_its_longest_silence() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.ear.gap()
    room.ear.gap()
    assert room.names() == ["speech.started", "speech.paused"]
    assert room.last("speech.paused").silence_ms == 1200
    assert room.stream.told[-1] == "paused 1200"


def test_what_was_broken_off_is_not_followed_by_silence() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.ear.finish()
    room.ear.gap()
    assert room.names() == ["speech.started"]
    assert room.stream.told[-1] == "finish"


def test_words_that_follow_the_settled_ones_at_once_are_speech_again() -> None:
    room = Room()
    room.hear(spoken(1), 20)
    room.hear(QUIET, 16)
    room.hear(spoken(2), 10)
    room.stream.settles("one", 700)
    assert room.ear.speaking, "what came after 700 ms is heard as a new utterance"
    assert room.names()[-1] == "speech.started"
    assert room.last("speech.started").at_ms >= 700


# Other formats than the telephone's

OPUS = AudioFormat("opus", 48000)


def packets(ms: int, *, packet_ms: int = 20) -> list[bytes]:
    encoder = OpusEncoder(48000, packet_ms=packet_ms)
    return encoder.feed(sweep(ms, 48000))


def opus_room(**given: int) -> Room:
    return Room(declared=OPUS, rate=16000, **given)


def send(room: Room, payloads: Sequence[bytes], *, packet_ms: int = 20, first: int = 0) -> None:
    for number, payload in enumerate(payloads, start=first):
        media = MediaReceived(call_id="CA1", stream="MZ1", sequence=number + 1, ms=number * packet_ms, payload=payload)
        room.ear.hear(media, number * 10, BEGAN_AT + number * packet_ms)


def test_opus_is_heard_millisecond_by_millisecond() -> None:
    room = opus_room()
    send(room, packets(600, packet_ms=60), packet_ms=60)
    assert len(room.stream.fed) == 600 * 32
    assert room.stream.request.sample_rate == 16000
    assert likeness(sweep(600, 16000), room.stream.fed, 16000)[0] > 0.9


def test_a_packet_that_cannot_be_decoded_is_silence_of_its_length() -> None:
    room, sent = opus_room(), packets(400)
    send(room, [*sent[:5], b"\xff", *sent[6:]])
    assert len(room.stream.fed) == 400 * 32
    assert room.stream.fed[5 * 640 : 6 * 640] == bytes(640)


def test_a_stream_that_is_not_what_it_declares_is_told_once() -> None:
    room, sent = opus_room(), packets(100)
    send(room, [b"\xff"] * 9)
    send(room, sent, first=9)
    send(room, [b"\xff"] * 4, first=14)
    failed = [event for event in room.said if isinstance(event, WorkFailed)]
    assert [(event.stage, event.code, event.retryable) for event in failed] == [
        ("hearing", "unsupported_format", False)
    ]
    assert room.stream.fed_ms * 8 // 16 == 100, "and what follows is heard all the same"


def test_a_stream_that_could_not_be_decoded_was_not_heard_whole() -> None:
    room = opus_room()
    send(room, [b"\xff"] * 9)
    room.ear.finish()
    assert not room.last("stream.heard").complete


def test_who_hears_on_primes_its_decoder_with_what_was_heard_before() -> None:
    sent = packets(1200)
    first = opus_room()
    send(first, sent[:40])
    first.stream.settles("one", 690)
    settled = first.last("transcript.settled")
    begins = settled.through_position // 10
    assert begins * 20 <= 690 - 80 < (begins + 1) * 20
    second = opus_room(through_ms=690)
    send(second, sent[begins:], first=begins)
    assert second.stream.request.start_ms == 690
    assert len(second.stream.fed) == (1200 - 690) * 32, "no millisecond twice, none lost"
    send(first, sent[40:], first=40)
    alike, late_ms = likeness(first.stream.fed[690 * 32 :], second.stream.fed, 16000)
    assert alike > 0.95 and late_ms == 0, "a decoder of other packets never sounds quite the same"


@pytest.mark.parametrize(
    ("declared", "chunk"), [(AudioFormat("pcm16", 44100, 2), 256), (AudioFormat("pcm16", 48000), 128)]
)
def test_odd_chunks_leave_no_gap_and_no_overlap(declared: AudioFormat, chunk: int) -> None:
    room = Room(declared=declared, rate=16000)
    frames = 2 * declared.sample_rate // chunk
    for number in range(frames):
        ms = number * chunk * 1000 // declared.sample_rate
        payload = b"\x10\x10" * chunk * declared.channels
        media = MediaReceived(call_id="CA1", stream="MZ1", sequence=number + 1, ms=ms, payload=payload)
        room.ear.hear(media, number, BEGAN_AT + ms)
    assert abs(len(room.stream.fed) // 2 - frames * chunk * 16000 / declared.sample_rate) <= 1
    assert bytes(64) not in room.stream.fed[64:], "no silence was put between"
