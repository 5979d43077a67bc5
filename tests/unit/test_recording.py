"""Streams of any format on one recording: at their time, at its rate, and only what was heard."""

from __future__ import annotations

import io
import tracemalloc
import wave
from dataclasses import replace
from pathlib import Path

import pytest

from audio.encoding import Spoken, sentence_encoder
from audio.formats import AudioFormat
from schema.media import AnyMedia, MediaReceived, MediaSpoken
from schema.stream import StreamOpened
from tests.support.sound import likeness, sweep
from workers.recording import LONGEST_MS, Cut, Plan, Recording, track_of
from workers.recording_file import RecordingFile

CALL = "CA1"
MS = 400
LOUD = b"\x01\x10" * 160  # 20 ms at 8 kHz


def opened(stream: str = "s", begins_ms: int = 0, **given: object) -> Plan:
    event = StreamOpened(id="o", call_id=CALL, stream=stream, door="d", mailbox=1, **given)  # type: ignore[arg-type]
    return Plan({stream: track_of(event, begins_ms)})


def payloads(declared: AudioFormat, packet_ms: int = 0, ms: int = MS) -> list[tuple[int, bytes]]:
    """(ms, payload) of a sweep."""
    encoder = sentence_encoder(Spoken(declared, packet_ms))
    pieces = [*encoder.feed(sweep(ms, declared.sample_rate)), *encoder.finish()]
    return [(piece.offset_ms, piece.payload) for piece in pieces]


def received(frames: list[tuple[int, bytes]], *, begins_ms: int = 0, stream: str = "s") -> list[AnyMedia]:
    return [
        MediaReceived(call_id=CALL, stream=stream, sequence=number, ms=begins_ms + ms, payload=payload)
        for number, (ms, payload) in enumerate(frames, start=1)
    ]


def spoken(frames: list[tuple[int, bytes]], *, at_ms: int = 0, stream: str = "s") -> list[AnyMedia]:
    """Written all at once, to be played one after the other."""
    return [
        MediaSpoken(
            call_id=CALL, stream=stream, sequence=n, ms=at_ms, payload=payload, reply="r", sentence=0, offset_ms=ms
        )
        for n, (ms, payload) in enumerate(frames, start=1)
    ]


def lay_out(plan: Plan, frames: list[AnyMedia]) -> tuple[bytes, bytes]:
    """Both sides."""
    left, right = io.BytesIO(), io.BytesIO()
    Recording(plan, left, right).take(frames)
    return left.getvalue(), right.getvalue()


IN = [
    ({"encoding": "mulaw", "sample_rate": 8000}, AudioFormat("mulaw", 8000), 8000),
    ({"encoding": "pcm16", "sample_rate": 44100}, AudioFormat("pcm16", 44100), 16000),
    ({"encoding": "pcm16", "sample_rate": 48000, "channels": 2}, AudioFormat("pcm16", 48000, 2), 16000),
    ({"encoding": "opus", "sample_rate": 48000}, AudioFormat("opus", 48000), 16000),
]


@pytest.mark.parametrize(("given", "declared", "rate"), IN)
def test_what_came_in_is_laid_where_it_was_said(given: dict[str, object], declared: AudioFormat, rate: int) -> None:
    plan = opened(begins_ms=1000, **given)
    left, right = lay_out(plan, received(payloads(declared), begins_ms=500))
    assert plan.sample_rate == rate
    assert (len(left), right) == ((1500 + MS) * rate // 500, b"")
    assert not any(left[: 1500 * rate // 500])
    assert likeness(sweep(MS, rate), left[1500 * rate // 500 :], rate)[0] > 0.9


def test_what_goes_out_may_be_in_another_format() -> None:
    plan = opened(encoding="mulaw", out_encoding="opus", out_sample_rate=16000, out_packet_ms=60)
    frames = spoken(payloads(AudioFormat("opus", 16000), 60, 420), at_ms=100)
    left, right = lay_out(plan, received(payloads(AudioFormat("mulaw", 8000))) + frames)
    assert (len(left) // 32, len(right) // 32) == (MS, 520)
    assert likeness(sweep(MS, 16000), left, 16000)[0] > 0.9
    assert likeness(sweep(420, 16000), right[100 * 32 :], 16000)[0] > 0.9


def test_what_was_written_ahead_and_then_cut_is_not_in_the_recording() -> None:
    plan = replace(opened(encoding="mulaw", sample_rate=8000), cuts={"s:r:0": (Cut(250, 200),)})
    ahead = [
        MediaSpoken(call_id=CALL, stream="s", sequence=n, ms=ms, payload=payload, reply="r", sentence=0, offset_ms=ms)
        for n, (ms, payload) in enumerate(payloads(AudioFormat("mulaw", 8000), ms=800), start=1)
    ]
    _, right = lay_out(plan, ahead)
    assert len(right) // 16 == 200


def test_packets_that_were_cut_are_not_in_the_recording() -> None:
    plan = replace(opened(encoding="opus", sample_rate=16000), cuts={"s:r:0": (Cut(200, 130),)})
    _, right = lay_out(plan, spoken(payloads(AudioFormat("opus", 16000))))
    assert len(right) // 32 == 130


def test_a_telephone_and_an_app_on_one_call_make_one_recording() -> None:
    plan = opened("a", encoding="mulaw")
    plan = Plan({**plan.tracks, **opened("b", 1000, encoding="opus", sample_rate=16000).tracks})
    frames = received(payloads(AudioFormat("mulaw", 8000)), stream="a")
    left, _ = lay_out(plan, frames + received(payloads(AudioFormat("opus", 16000)), stream="b"))
    assert plan.sample_rate == 16000
    for begins_ms in (0, 1000):
        assert likeness(sweep(MS, 16000), left[begins_ms * 32 : (begins_ms + MS) * 32], 16000)[0] > 0.9


def test_what_cannot_be_decoded_is_silence_and_the_rest_stays_in_its_place() -> None:
    frames = payloads(AudioFormat("opus", 16000))
    frames[3] = (frames[3][0], b"\xff")
    left, _ = lay_out(opened(encoding="opus", sample_rate=16000), received(frames))
    assert len(left) // 32 == MS
    assert not any(left[60 * 32 : 80 * 32]) and any(left[80 * 32 : 82 * 32])


def test_odd_chunks_follow_each_other_without_a_click() -> None:
    pcm = b"\x10\x10" * 44100
    frames = [(at * 1000 // 44100, pcm[at * 2 : (at + 256) * 2]) for at in range(0, 44100, 256)]
    left, _ = lay_out(opened(encoding="pcm16", sample_rate=44100), received(frames))
    assert abs(len(left) // 2 - 16000) <= 1
    assert set(left[64:]) == {0x10}


def test_hours_of_silence_cost_neither_memory_nor_disk(tmp_path: Path) -> None:
    hour_ms = 3_600_000
    plan = opened(encoding="pcm16", sample_rate=16_000)
    frames = received([(hour * hour_ms, b"\x01\x10" * 320) for hour in range(5)])
    file = RecordingFile(plan, tmp_path / "a.wav")
    tracemalloc.start()
    try:
        file.take(frames)
        assert file.save() == 4 * hour_ms + 20
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
        file.close()
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").stat().st_blocks * 512 < 4 << 20
    with wave.open(str(tmp_path / "a.wav")) as made:
        assert made.getnframes() == (4 * hour_ms + 20) * 16
        for hour in range(5):
            made.setpos(hour * hour_ms * 16)
            assert made.readframes(321) == b"\x01\x10\x00\x00" * 320 + (bytes(4) if hour < 4 else b"")


def test_what_could_not_be_saved_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()  # nothing can be put in its place
    file = RecordingFile(opened(encoding="pcm16", sample_rate=8_000), tmp_path / "a.wav")
    file.take(received([(0, LOUD)]))
    with pytest.raises(OSError):
        file.save()
    file.close()
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]


def test_what_lies_beyond_the_longest_recording_is_not_in_it() -> None:
    plan = opened(encoding="pcm16", sample_rate=8_000)
    left, right = io.BytesIO(), io.BytesIO()
    recording = Recording(plan, left, right)
    recording.take(received([(0, LOUD), (LONGEST_MS, LOUD), (LONGEST_MS + 1_000, LOUD)]))
    assert (left.getvalue(), recording.length) == (LOUD, len(LOUD))


def test_the_shorter_side_is_followed_by_silence(tmp_path: Path) -> None:
    plan = opened(encoding="pcm16", sample_rate=8_000)
    file = RecordingFile(plan, tmp_path / "a.wav")
    file.take([*received([(0, LOUD)]), *spoken([(0, LOUD)], at_ms=10_000)])
    assert file.save() == 10_020
    file.close()
    with wave.open(str(tmp_path / "a.wav")) as made:
        pcm = made.readframes(made.getnframes())
    assert len(pcm) == 10_020 * 8 * 4
    assert pcm[: 20 * 32] == b"\x01\x10\x00\x00" * 160
    assert pcm[-20 * 32 :] == b"\x00\x00\x01\x10" * 160
    assert not any(pcm[20 * 32 : -20 * 32])
