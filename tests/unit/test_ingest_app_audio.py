"""Audio as apps send it: numbered, in containers, or in a format that nobody declared."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.gaps import LONGEST_GAP_MS, MOST_MS, SILENCE_A_SOUND
from audio.wav import wav_bytes
from clients import opus
from clients.webm import OggWriter, WebmWriter, chunks
from ingest.dialects.base import Frame, Ignored, Problem, Repeated, Said
from ingest.dialects.intake import BAD_IN_A_ROW, Intake, Unpacking, WavIntake
from ingest.dialects.undeclared import Guess, Guessed, is_opus
from tests.support.sound import sweep, tone

VOICE = sweep(2_000, 48_000)
PACKETS = {ms: opus.encode(VOICE, 48_000, packet_ms=ms) for ms in (20, 40, 60)}


def frames(said: tuple[Said, ...]) -> list[Frame]:
    return [one for one in said if isinstance(one, Frame)]


def samples(ms: int = 20) -> bytes:
    return bytes(16 * 2 * ms)


def intake(encoding: str = "pcm16", sample_rate: int = 16_000, channels: int = 1) -> Intake:
    return Intake(encoding=encoding, sample_rate=sample_rate, channels=channels)


@pytest.mark.parametrize(
    ("encoding", "sample_rate", "channels"),
    [("mp3", 16_000, 1), ("", 16_000, 1), ("pcm16", 11_025, 1), ("pcm16", 0, 1), ("mulaw", 8_000, 3), ("opus", 0, 0)],
)
def test_what_no_stream_can_have_is_refused(encoding: str, sample_rate: int, channels: int) -> None:
    with pytest.raises(ValueError, match=r"audio|Hz"):
        intake(encoding, sample_rate, channels)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3], [0, 0, 0]),
        ([5, 6], [0, 0]),
        ([1, 4], [0, 2]),
        ([1, 1, 2], [0, None, 0]),
        ([3, 2, 4], [0, None, 0]),
        ([1, 10**9, 10**9 + 1], [0, 0, 0]),
        ([10**9, 1, 2], [0, 0, 0]),
        ([None, 7, None, 8], [0, 0, 0, 0]),
    ],
    ids=["in order", "joined late", "a gap", "repeated", "overtaken", "a leap", "a leap back", "not always numbered"],
)
def test_numbers_tell_what_is_missing_and_what_came_before(
    numbers: list[int | None], expected: list[int | None]
) -> None:
    taker = intake()
    said = [taker.take(samples(), number)[0] for number in numbers]
    assert [one.lost if isinstance(one, Frame) else None for one in said] == expected
    assert all(isinstance(one, Frame | Repeated) for one in said)


def test_a_recorder_that_was_stopped_counts_anew() -> None:
    taker = intake()
    for number in (1, 2, 3):
        taker.take(samples(), number)
    assert taker.take(samples(), 1) == (Repeated(),)
    taker.numbering.turn_ended()
    assert [frame.lost for number in (1, 2) for frame in frames(taker.take(samples(), number))] == [0, 0]


def test_what_is_lost_takes_its_time() -> None:
    taker = intake()
    taker.take(samples(40), 1)
    (frame,) = frames(taker.take(samples(40), 4))
    assert (frame.ms, frame.lost) == (120, 2)


def test_a_gap_is_ten_seconds_of_silence_at_most() -> None:
    taker = intake()
    taker.take(samples(20), 1)
    (frame,) = frames(taker.take(samples(20), 10_000))
    assert (frame.ms, frame.lost) == (20 + LONGEST_GAP_MS, 9_998)


def test_who_leaps_with_every_frame_is_believed_no_more_than_his_sound_allows() -> None:
    taker = intake()
    last = frames(taker.take(samples(20), 1))[0]
    for number in range(1, 1_000):
        (last,) = frames(taker.take(samples(20), 1 + number * 10_000))
    assert last.ms <= MOST_MS + 1_000 * 20 * (1 + SILENCE_A_SOUND)


def test_a_caller_who_is_missing_four_fifths_of_the_time_keeps_his_clock() -> None:
    taker = intake()
    for second in range(600):
        for number in range(10):
            (frame,) = frames(taker.take(samples(20), second * 50 + number))
            assert frame.ms == (second * 50 + number) * 20


def test_a_recording_that_begins_again_and_again_claims_no_more_silence() -> None:
    """Each time in another container: a header is cheap."""
    packet, taker, heard = PACKETS[20][0], Unpacking(), []
    for _ in range(100):
        webm, ogg = WebmWriter(), OggWriter()
        for recording in (
            webm.header() + webm.block(packet, 0) + webm.block(packet, 9_000),
            ogg.header() + ogg.page([packet], 20),
        ):
            heard += frames(taker.take(recording))
    assert len(heard) == 300
    assert heard[-1].ms <= MOST_MS + 300 * 20 * (1 + SILENCE_A_SOUND)


def test_five_frames_in_a_row_that_are_none_are_told_once() -> None:
    taker = intake("opus")
    kinds = [type(taker.take(b"\x00" * 2_000)[0]) for _ in range(2 * BAD_IN_A_ROW)]
    assert kinds.count(Problem) == 1
    assert kinds.index(Problem) == BAD_IN_A_ROW - 1
    taker.take(PACKETS[20][0])
    assert [type(taker.take(b"")[0]) for _ in range(BAD_IN_A_ROW)] == [Ignored] * 4 + [Problem]


@pytest.mark.parametrize("payload", [b"", b"\x00", bytes(32_001), bytes(32_002)], ids=["none", "odd", "odd", "long"])
def test_samples_are_whole_and_at_most_a_second(payload: bytes) -> None:
    assert intake().take(payload) == (Ignored("undecodable_audio"),)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.sampled_from(["webm", "ogg"]))
def test_a_container_may_be_cut_anywhere(sizes: list[int], kind: str) -> None:
    packets = PACKETS[60]
    if kind == "webm":
        webm = WebmWriter()
        recording = webm.header() + b"".join(webm.block(packet, 60 * n) for n, packet in enumerate(packets))
    else:
        ogg = OggWriter()
        recording = ogg.header() + b"".join(ogg.page([packet], 60) for packet in packets)
    # The first piece shows what it is.
    pieces = [recording[:8], *chunks(recording[8:], sizes)]
    unpacking = Unpacking()
    found = [frame for piece in pieces for frame in frames(unpacking.take(piece))]
    assert [frame.payload for frame in found] == packets
    assert [frame.ms for frame in found] == [60 * n for n in range(len(packets))]


def test_a_second_recording_goes_on_where_the_first_ended() -> None:
    unpacking, times = Unpacking(), []
    for _ in range(2):
        webm = WebmWriter()
        recording = webm.header() + b"".join(webm.block(packet, 60 * n) for n, packet in enumerate(PACKETS[60][:3]))
        times += [frame.ms for frame in frames(unpacking.take(recording))]
    assert times == [0, 60, 120, 180, 240, 300]


def test_what_is_no_container_is_told_after_five_pieces() -> None:
    unpacking = Unpacking()
    said = [one for _ in range(BAD_IN_A_ROW) for one in unpacking.take(b"not a recording")]
    assert [type(one) for one in said] == [Ignored] * 4 + [Problem]


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=8), st.booleans())
def test_a_wav_may_be_cut_anywhere_and_its_titles_are_no_sound(sizes: list[int], is_open: bool) -> None:
    pcm = tone(300, 16_000)
    recording = wav_bytes(pcm, 16_000)
    if is_open:
        recording = recording[:40] + b"\xff\xff\xff\xff" + pcm
    else:
        recording += b"LIST" + struct.pack("<I", 4) + b"INFO"
    taker = WavIntake(encoding="pcm16", sample_rate=16_000, channels=1)
    pieces = [recording[:4], *chunks(recording[4:], sizes)]
    found = [frame for piece in pieces for frame in frames(taker.take(piece))]
    assert b"".join(frame.payload for frame in found) == pcm
    assert all(len(frame.payload) <= 3_200 for frame in found)
    ends = [frame.ms + len(frame.payload) / 32 for frame in found]
    assert all(abs(end - after.ms) <= 1 for end, after in zip(ends, found[1:], strict=False))


def test_each_message_may_be_a_wav_of_its_own() -> None:
    taker = WavIntake(encoding="pcm16", sample_rate=16_000, channels=1)
    pieces = [frames(taker.take(wav_bytes(tone(100, 16_000), 16_000))) for _ in range(3)]
    assert [[frame.ms for frame in found] for found in pieces] == [[0], [100], [200]]


@pytest.mark.parametrize(
    "recording",
    [
        wav_bytes(tone(20, 8_000), 8_000),
        wav_bytes(tone(20, 16_000), 16_000, 2),
        wav_bytes(tone(20, 16_000), 16_000)[:34] + b"\x08" + wav_bytes(tone(20, 16_000), 16_000)[35:],
        b"RIFF\x00\x00\x00\x00AVI fmt ",
        b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00",
        tone(20, 16_000),
    ],
    ids=["another rate", "stereo", "8 bits", "no WAV", "no format", "no header"],
)
def test_a_wav_that_is_not_what_was_declared_is_no_sound(recording: bytes) -> None:
    taker = WavIntake(encoding="pcm16", sample_rate=16_000, channels=1)
    assert taker.take(recording) == (Ignored("undecodable_audio"),)


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
@pytest.mark.parametrize("bitrate", [6_000, 12_000, 24_000, 64_000])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_real_opus_is_never_taken_for_samples(packet_ms: int, bitrate: int, rate: int) -> None:
    noisy = bytes(sample ^ 3 if n % 2 == 0 else sample for n, sample in enumerate(sweep(3_000, rate, level=12_000)))
    for sound in (noisy, bytes(rate), tone(2_000, rate, level=30_000)):
        packets = opus.encode(sound, rate, packet_ms=packet_ms, bitrate=bitrate)
        assert [packet for packet in packets if not is_opus(packet)] == []


@given(
    st.sampled_from([8_000, 16_000, 24_000, 44_100, 48_000]),
    st.sampled_from([128, 160, 256, 320, 480, 512, 960, 1_024, 4_800]),
    st.integers(0, 15_000),
    st.integers(80, 1_000),
    st.integers(0, 40),
)
def test_samples_of_a_voice_are_never_taken_for_opus(rate: int, size: int, level: int, hertz: int, noise: int) -> None:
    pcm = bytearray(tone(400, rate, hertz=hertz, level=level))
    for at in range(0, len(pcm), 2):
        value = struct.unpack_from("<h", pcm, at)[0]
        struct.pack_into("<h", pcm, at, max(-32768, min(32767, value + (at * 7919 % (2 * noise + 1)) - noise)))
    assert not is_opus(bytes(pcm[: 2 * size]))


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("size", ["1024", "a tenth of a second"])
@pytest.mark.parametrize("late_ms", [0, 15])
def test_the_pace_of_samples_tells_their_rate(rate: int, size: str, late_ms: int) -> None:
    count = 1_024 if size == "1024" else rate // 10
    pcm, guess, guessed, number = bytes(count * 2), Guess(), None, 0
    while guessed is None:
        number += 1
        arrives_ms = round(number * count * 1000 / rate) + (late_ms if number % 3 == 0 else 0)
        guessed = guess.watch(pcm, arrives_ms)
    if size == "1024" and rate > 40_000:
        assert guessed.sample_rate in (44_100, 48_000)  # nine parts in a hundred apart: the network's trembling
    else:
        assert guessed == Guessed("pcm16", rate)


@pytest.mark.parametrize("gap_ms", [0, 1, 3_000], ids=["all at once", "from a file", "hardly"])
def test_what_no_microphone_sends_is_taken_for_16_khz(gap_ms: int) -> None:
    guess, guessed, number = Guess(), None, 0
    while guessed is None:
        number += 1
        guessed = guess.watch(bytes(2_048), number * gap_ms)
    assert guessed == Guessed("pcm16", 16_000)
    assert number <= 47


def test_ogg_and_opus_are_known_by_one_frame() -> None:
    assert Guess().watch(OggWriter().header(), 0) == Guessed("opus", 16_000, "ogg")
    assert Guess().watch(PACKETS[20][3], 0) == Guessed("opus", 16_000)


def test_nothing_that_came_is_no_format() -> None:
    assert Guess().best() is None
