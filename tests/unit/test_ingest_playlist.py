"""What the caller hears, whatever the log and the peer do: each millisecond once, no zombie, no claim unproven."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.config import Pace
from ingest.playing import Act, Clear, Cleared, Marked, Playlist, Started, Write
from schema.call import CallAdopted
from schema.envelope import AnyEvent
from schema.outbox import OutboxAudio
from schema.turn import ReplyInterrupted, ReplyResumed, ReplyStarted

REPLIES = ("a", "b")
STEP_MS = 20


def interrupted(reply: str) -> ReplyInterrupted:
    return ReplyInterrupted(id="i", call_id="c", reply=reply)


def resumed(reply: str) -> ReplyResumed:
    return ReplyResumed(id="x", call_id="c", reply=reply, generation=2, after_index=0)


def adopted() -> CallAdopted:
    return CallAdopted(id="o", call_id="c", role="conversation", owner="w2")


def audio(
    offset_ms: int, length_ms: int, *, take: int, last: bool = False, reply: str = "a", index: int = 0, fill: int = 1
) -> OutboxAudio:
    return OutboxAudio(
        call_id="c",
        stream="s",
        reply=reply,
        sentence=index,
        sentence_id=f"{reply}-{index}",
        offset_ms=offset_ms,
        take=take,
        payload=bytes([fill % 256]) * (length_ms * 8),
        last=last,
    )


@dataclass
class Witness:
    """Believes nothing: keeps what was written, heard and cut, and compares."""

    playlist: Playlist = field(default_factory=lambda: Playlist(pace=Pace(), bytes_per_ms=8))
    now: int = 0
    position: int = 10
    take: int = 0
    silent: set[str] = field(default_factory=set)
    welcome: set[int] = field(default_factory=set)  # fill bytes of messages that were taken
    written: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    furthest: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    begun: set[tuple[str, int]] = field(default_factory=set)
    finished: set[tuple[str, int]] = field(default_factory=set)
    out: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)

    def fact(self, event: AnyEvent, step: int) -> None:
        position = self.position + step
        acts = self.playlist.fact(position, event, self.now)
        if step <= 0:
            assert acts is None, "a fact by a position not above the last one's says nothing"
            return
        self.position = position
        assert acts is not None
        if isinstance(event, CallAdopted | ReplyStarted | ReplyResumed):
            self.take = position
        if isinstance(event, ReplyResumed):
            self.silent.discard(event.reply)
        if isinstance(event, ReplyInterrupted):
            self.silent.add(event.reply)
        self.see(acts)

    def audio(self, message: OutboxAudio) -> None:
        taken = self.playlist.audio(message, self.now)
        if message.take < self.take or message.reply in self.silent:
            assert not taken
        if taken:
            self.welcome.add(message.payload[0])
            key = (message.reply, message.sentence)
            if key not in self.begun:
                # What lies before it was heard on an older stream, or before the cut.
                self.begun.add(key)
                self.furthest[key] = max(self.furthest[key], message.offset_ms)

    def echo(self, index: int) -> None:
        if self.out:
            name = self.out.pop(min(index, len(self.out) - 1))
            acts = self.playlist.echoed(name, self.now)
            assert acts is not None
            self.see(acts)
            assert self.playlist.echoed(name, self.now) is None

    def echo_cleared(self) -> None:
        if self.cleared:
            name = self.cleared.pop()
            assert self.playlist.echoed(name, self.now) == [], "its echo proves nothing"
            assert self.playlist.echoed(name, self.now) is None

    def see(self, acts: list[Act]) -> None:
        for act in acts:
            match act:
                case Write():
                    self._written(act)
                case Clear():
                    self.cleared += self.out
                    self.out.clear()
                case Marked(reply, sentence, heard_ms, last):
                    key = (reply, sentence)
                    assert heard_ms <= self.furthest[key]
                    assert key not in self.finished
                    if last:
                        self.finished.add(key)
                case Cleared(reply, sentence, heard_ms):
                    assert heard_ms <= self.furthest[reply, sentence]
                    self.written[reply, sentence].clear()
                    self.begun.discard((reply, sentence))
                    self.finished.discard((reply, sentence))
                case Started(reply):
                    assert reply not in self.silent

    def _written(self, act: Write) -> None:
        key = (act.reply, act.sentence)
        assert act.reply not in self.silent, "an interrupted reply is silent until it is resumed"
        assert set(act.payload) <= self.welcome, "what was dropped is never heard"
        span = range(act.offset_ms, act.offset_ms + len(act.payload) // 8)
        assert not self.written[key] & set(span), "no millisecond twice"
        self.written[key] |= set(span)
        self.furthest[key] = max(self.furthest[key], span.stop)
        self.out.append(act.mark)


replies = st.sampled_from(REPLIES)
steps = st.integers(-2, 3)
operations = st.one_of(
    st.tuples(
        st.just("audio"),
        replies,
        st.integers(0, 1),
        st.integers(0, 12),
        st.integers(1, 12),
        st.integers(-4, 1),
        st.booleans(),
    ),
    st.tuples(st.just("interrupt"), replies, steps),
    st.tuples(st.just("resume"), replies, steps),
    st.tuples(st.just("adopt"), steps),
    st.tuples(st.just("echo"), st.integers(0, 3)),
    st.tuples(st.just("echo cleared")),
    st.tuples(st.just("due"), st.integers(0, 500)),
)


def _do(witness: Witness, number: int, operation: tuple[Any, ...]) -> None:
    match operation:
        case ("audio", reply, index, offset, length, behind, last):
            take = max(0, witness.position + behind)
            witness.audio(
                audio(
                    offset * STEP_MS,
                    length * STEP_MS,
                    take=take,
                    last=last,
                    reply=reply,
                    index=index,
                    fill=number,
                )
            )
        case ("interrupt", reply, step):
            witness.fact(interrupted(reply), step)
        case ("resume", reply, step):
            witness.fact(resumed(reply), step)
        case ("adopt", step):
            witness.fact(adopted(), step)
        case ("echo", index):
            witness.echo(index)
        case ("echo cleared",):
            witness.echo_cleared()
        case ("due", wait):
            witness.now += wait
            witness.see(witness.playlist.due(witness.now))


@settings(max_examples=300)
@given(st.lists(operations, max_size=60))
def test_nothing_is_said_twice_and_nothing_claimed_unheard(script: list[tuple[Any, ...]]) -> None:
    witness = Witness()
    witness.fact(adopted(), 1)
    for number, operation in enumerate(script):
        _do(witness, number, operation)
    witness.see(witness.playlist.lost(witness.now))
    assert witness.playlist.due(witness.now + 10_000) == []


@given(st.lists(operations, max_size=40))
def test_it_never_runs_far_ahead_of_the_listener(script: list[tuple[Any, ...]]) -> None:
    witness = Witness()
    witness.fact(adopted(), 1)
    pace = Pace()
    for number, operation in enumerate(script):
        _do(witness, number, operation)
        assert witness.playlist.ahead_ms(witness.now) <= pace.lead_ms + pace.chunk_ms + pace.least_ms


@pytest.fixture
def playlist() -> Playlist:
    return Playlist(pace=Pace(), bytes_per_ms=8)


def test_a_zombies_audio_is_dropped_and_a_new_owners_is_not(playlist: Playlist) -> None:
    playlist.fact(20, adopted(), 0)
    assert not playlist.audio(audio(0, 100, take=19), 0)
    assert playlist.audio(audio(0, 100, take=20), 0)


def test_the_rest_of_a_sentence_that_came_whole_is_finished_in_its_take(playlist: Playlist) -> None:
    playlist.fact(5, adopted(), 0)
    playlist.audio(audio(0, 4_000, take=5, last=True, fill=5), 0)
    acts = playlist.due(0)
    playlist.fact(9, adopted(), 100)
    assert not playlist.audio(audio(0, 4_000, take=9, last=True, fill=9), 100)
    for now in range(100, 4_000, 100):
        acts += playlist.due(now)
    written = [act for act in acts if isinstance(act, Write)]
    assert {byte for act in written for byte in act.payload} == {5}
    assert sum(len(act.payload) for act in written) == 4_000 * 8


def test_only_the_resumed_reply_speaks_again(playlist: Playlist) -> None:
    playlist.fact(6, interrupted("a"), 0)
    playlist.fact(7, interrupted("b"), 0)
    playlist.fact(8, resumed("a"), 0)
    assert not playlist.audio(audio(0, 100, take=8, reply="b"), 0)
    assert playlist.audio(audio(0, 100, take=8, reply="a"), 0)


def test_a_sentence_whose_rest_never_comes_gives_way_to_the_next(playlist: Playlist) -> None:
    playlist.audio(audio(0, 100, take=5), 0)
    playlist.audio(audio(0, 100, take=5, index=1, last=True), 0)
    before = playlist.due(0)
    after = playlist.due(Pace().starved_ms)
    assert {act.sentence for act in before if isinstance(act, Write)} == {0}
    assert {act.sentence for act in after if isinstance(act, Write)} == {1}
    assert Cleared("a", 0, 100, estimated=True) in after


def test_a_peer_without_echoes_is_believed_by_the_clock() -> None:
    playlist = Playlist(pace=Pace(), bytes_per_ms=8, echoes=False)
    playlist.audio(audio(0, 100, take=5, last=True), 0)
    playlist.due(0)
    assert playlist.wants_beat
    assert Marked("a", 0, 100, last=True) in playlist.due(5_000)
    assert not playlist.wants_beat


def test_what_was_forgotten_is_bounded() -> None:
    playlist = Playlist(pace=Pace(), bytes_per_ms=8)
    now = 0
    for number in range(1_000):
        message = audio(0, 20, take=5, last=True, reply=f"r{number}")
        assert playlist.audio(message, now)
        for act in playlist.due(now):
            if isinstance(act, Write):
                playlist.echoed(act.mark, now)
        now += 20
    assert len(playlist._sentences) <= 257
