"""The playout buffer plays at the pace it is given and never forgets a mark."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clients.playout import LIMIT_MS, MarkEcho, Playout


def audio(duration_ms: int) -> bytes:
    return b"\x10" * (8 * duration_ms)


def test_audio_plays_at_real_pace_and_silence_fills_the_rest() -> None:
    playout = Playout()
    playout.append(audio(30), at_ms=10)
    assert playout.take(20).audio == b"\xff" * 80 + audio(10)
    assert playout.buffered_ms == 20
    assert playout.take(60).audio == audio(20) + b"\xff" * 160


def test_a_mark_is_due_when_the_audio_before_it_has_played() -> None:
    playout = Playout()
    playout.append(audio(50), at_ms=0)
    playout.mark("a", at_ms=0)
    playout.append(audio(50), at_ms=5)
    playout.mark("b", at_ms=5)
    assert playout.take(49).echoes == ()
    assert playout.take(60).echoes == (MarkEcho("a", 50, cleared=False),)
    assert playout.take(200).echoes == (MarkEcho("b", 100, cleared=False),)


def test_a_mark_behind_nothing_is_due_at_once() -> None:
    playout = Playout()
    playout.mark("now", at_ms=7)
    assert playout.take(7).echoes == (MarkEcho("now", 7, cleared=False),)


def test_clear_drops_the_audio_and_returns_every_pending_mark() -> None:
    playout = Playout()
    playout.append(audio(100), at_ms=0)
    playout.mark("a", at_ms=0)
    playout.mark("b", at_ms=0)
    playout.clear(at_ms=40)
    heard = playout.take(60)
    assert heard.audio == audio(40) + b"\xff" * 160
    assert heard.echoes == (MarkEcho("a", 40, cleared=True), MarkEcho("b", 40, cleared=True))


def test_more_than_ten_minutes_is_discarded() -> None:
    playout = Playout()
    assert playout.append(audio(LIMIT_MS), at_ms=0)
    assert not playout.append(audio(1), at_ms=0)
    assert playout.buffered_ms == LIMIT_MS
    assert playout.append(audio(1), at_ms=1)


STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "mark", "clear", "take"]), st.integers(0, 60), st.integers(0, 200)),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_every_mark_comes_back_once_in_order_and_the_clock_never_gaps(steps: list[tuple[str, int, int]]) -> None:
    playout, now, sent = Playout(), 0, 0
    echoed: list[MarkEcho] = []
    heard = 0
    for number, (what, wait_ms, size) in enumerate(steps):
        now += wait_ms
        if what == "append":
            playout.append(b"\x10" * size, now)
        elif what == "mark":
            playout.mark(str(number), now)
            sent += 1
        elif what == "clear":
            playout.clear(now)
        else:
            taken = playout.take(now)
            heard += len(taken.audio)
            echoed += taken.echoes
    last = playout.take(now + 60_000)
    echoed += last.echoes
    assert heard + len(last.audio) == (now + 60_000) * 8
    assert len(echoed) == sent
    assert [int(echo.name) for echo in echoed] == sorted(int(echo.name) for echo in echoed)
    assert [echo.at_ms for echo in echoed] == sorted(echo.at_ms for echo in echoed)
