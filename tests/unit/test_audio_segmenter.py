"""The segmenter tells speech from clicks, tells each silence once, and counts only audio."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.chunking import FrameCutter
from audio.segmenter import Segmenter, SegmenterConfig, SpeechEvent, SpeechPaused, SpeechStarted, SpeechStopped

FLAGS = st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=30).map(
    lambda runs: [flag for flag, count in runs for _ in range(count)]
)


def hear(segmenter: Segmenter, *runs: tuple[bool, int]) -> list[SpeechEvent]:
    """Push runs of (voiced, milliseconds)."""
    return [event for voiced, ms in runs for _ in range(ms // 20) for event in segmenter.push(voiced)]


def test_an_utterance_starts_pauses_at_each_step_and_stops() -> None:
    assert hear(Segmenter(), (False, 200), (True, 400), (False, 2000)) == [
        SpeechStarted(200),
        SpeechPaused(300, 600),
        SpeechPaused(700, 600),
        SpeechPaused(1200, 600),
        SpeechStopped(600),
    ]


def test_speech_that_goes_on_after_a_pause_is_the_same_speech() -> None:
    assert hear(Segmenter(), (True, 400), (False, 400), (True, 200), (False, 300)) == [
        SpeechStarted(0),
        SpeechPaused(300, 400),
        SpeechPaused(300, 1000),
    ]


def test_a_click_is_no_speech() -> None:
    assert hear(Segmenter(), (True, 60), (False, 200), (True, 20), (False, 60), (True, 60), (False, 400)) == []


def test_a_gap_within_the_window_does_not_keep_speech_from_being_confirmed() -> None:
    assert hear(Segmenter(), (True, 40), (False, 40), (True, 40)) == [SpeechStarted(0)]


def test_a_click_in_a_pause_does_not_prolong_it() -> None:
    assert hear(Segmenter(), (True, 200), (False, 140), (True, 20), (False, 140)) == [
        SpeechStarted(0),
        SpeechPaused(300, 200),
    ]


def test_settling_ends_the_speech_at_its_last_voice_and_the_next_starts_anew() -> None:
    segmenter = Segmenter()
    assert hear(segmenter, (True, 200), (False, 300)) == [SpeechStarted(0), SpeechPaused(300, 200)]
    assert segmenter.settle() == (SpeechStopped(200),)
    assert segmenter.settle() == ()
    assert hear(segmenter, (False, 1000), (True, 100)) == [SpeechStarted(1500)]


def test_a_takeover_counts_from_where_the_stream_stands() -> None:
    assert hear(Segmenter(start_ms=61_000), (True, 100)) == [SpeechStarted(61_000)]


def test_lost_frames_are_silence() -> None:
    segmenter = Segmenter()
    hear(segmenter, (True, 200))
    assert segmenter.pad(700) == (SpeechPaused(300, 200), SpeechPaused(700, 200))
    assert segmenter.pad(500) == (SpeechPaused(1200, 200), SpeechStopped(200))
    assert segmenter.now_ms == 1400


def test_a_gap_breaks_what_was_about_to_become_speech() -> None:
    segmenter = Segmenter()
    hear(segmenter, (True, 60))
    assert segmenter.pad(120) == ()
    assert hear(segmenter, (True, 60)) == []


@pytest.mark.parametrize("pauses", [(), (700, 300), (0, 300), (300, 300)])
def test_pauses_that_do_not_ascend_are_refused(pauses: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        SegmenterConfig(pause_ms=pauses)


@given(FLAGS, st.integers(0, 10_000_000))
def test_every_start_has_one_stop_and_time_never_runs_back(flags: list[bool], start_ms: int) -> None:
    segmenter = Segmenter(start_ms=start_ms)
    events: list[SpeechEvent] = []
    for flag in flags:
        events += segmenter.push(flag)
        assert segmenter.speaking == (sum(type(e) is SpeechStarted for e in events) > _stops(events))
    events += segmenter.settle()
    open_since, last_ms = None, start_ms
    for event in events:
        at_ms = event.at_ms if isinstance(event, SpeechStarted) else event.voiced_through_ms
        assert last_ms <= at_ms <= segmenter.now_ms
        last_ms = at_ms
        if isinstance(event, SpeechStarted):
            assert open_since is None
            open_since = at_ms
        else:
            assert open_since is not None
            open_since = None if isinstance(event, SpeechStopped) else open_since
    assert open_since is None


def _stops(events: list[SpeechEvent]) -> int:
    return sum(type(event) is SpeechStopped for event in events)


@given(FLAGS)
def test_each_silence_is_told_once_and_in_order(flags: list[bool]) -> None:
    segmenter = Segmenter()
    told: dict[int, list[int]] = {}
    for flag in flags:
        for event in segmenter.push(flag):
            if isinstance(event, SpeechPaused):
                told.setdefault(event.voiced_through_ms, []).append(event.silence_ms)
    assert all(steps == [300, 700, 1200][: len(steps)] for steps in told.values())


@given(FLAGS, st.integers(0, 3_000_000))
def test_the_clock_at_the_start_moves_times_and_changes_nothing_else(flags: list[bool], start_ms: int) -> None:
    here, there = Segmenter(), Segmenter(start_ms=start_ms)
    for flag in flags:
        assert [_moved(event, start_ms) for event in here.push(flag)] == list(there.push(flag))


def _moved(event: SpeechEvent, ms: int) -> SpeechEvent:
    if isinstance(event, SpeechStarted):
        return SpeechStarted(event.at_ms + ms)
    if isinstance(event, SpeechPaused):
        return SpeechPaused(event.silence_ms, event.voiced_through_ms + ms)
    return SpeechStopped(event.voiced_through_ms + ms)


@given(FLAGS, st.lists(st.integers(1, 50)))
def test_the_same_audio_in_any_pieces_gives_the_same_events(flags: list[bool], sizes: list[int]) -> None:
    frames = b"".join(bytes([flag]) * 8 for flag in flags)
    whole, pieces, cutter = Segmenter(), Segmenter(), FrameCutter(8)
    expected = [event for flag in flags for event in whole.push(flag)]
    offset, events = 0, list[SpeechEvent]()
    for size in [*sizes, len(frames)]:
        for frame in cutter.frames(frames[offset : offset + size]):
            events += pieces.push(bool(frame[0]))
        offset += size
    assert events == expected


@given(st.lists(st.integers(0, 30), max_size=10))
def test_a_gap_in_parts_is_the_gap_at_once(parts: list[int]) -> None:
    whole, cut = Segmenter(), Segmenter()
    for segmenter in (whole, cut):
        hear(segmenter, (True, 200))
    assert [e for part in parts for e in cut.pad(part * 20)] == list(whole.pad(sum(parts) * 20))
