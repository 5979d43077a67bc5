"""What the caller hears, whatever the log and the peer do: each millisecond once, no zombie, no claim unproven."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.config import Pace
from ingest.measure import TELEPHONE, Measure, Packets
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

    measure: Measure = TELEPHONE
    playlist: Playlist = field(init=False)
    now: int = 0
    position: int = 10
    take: int = 0
    silent: set[str] = field(default_factory=set)
    welcome: set[int] = field(default_factory=set)  # last bytes of messages that were taken
    packets: set[bytes] = field(default_factory=set)  # payloads that were taken
    written: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    furthest: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    begun: set[tuple[str, int]] = field(default_factory=set)
    finished: set[tuple[str, int]] = field(default_factory=set)
    out: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.playlist = Playlist(pace=Pace(), measure=self.measure)

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
        if taken:
            self.packets.add(message.payload)
        if message.take < self.take or message.reply in self.silent:
            assert not taken
        if taken:
            self.welcome.update(message.payload[-1:])
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
        if self.measure.cuts:
            assert set(act.payload) <= self.welcome, "what was dropped is never heard"
        else:
            assert act.payload in self.packets, "packets are written whole, and one at a time"
        span = range(act.offset_ms, act.offset_ms + self.measure.ms_of(act.payload))
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


# Packets: as long as they say, and never cut

FRAMES = {20: b"\x48", 40: b"\x49", 60: b"\x58"}  # first bytes of SILK at 16 kHz: 20 ms, twice 20 ms, 60 ms


def packet(offset_ms: int, length_ms: int = 20, *, take: int = 99, fill: int = 1, **given: Any) -> OutboxAudio:
    payload = FRAMES[length_ms] + fill.to_bytes(4, "big")
    return msgspec.structs.replace(audio(offset_ms, 0, take=take, **given), payload=payload)


packet_operations = st.one_of(
    st.tuples(
        st.just("packet"),
        replies,
        st.integers(0, 1),
        st.integers(0, 12),
        st.sampled_from(sorted(FRAMES)),
        st.integers(-4, 1),
        st.booleans(),
    ),
    operations.filter(lambda operation: operation[0] != "audio"),
)


@settings(max_examples=300)
@given(st.lists(packet_operations, max_size=60))
def test_packets_are_said_once_whole_and_in_order(script: list[tuple[Any, ...]]) -> None:
    witness = Witness(measure=Packets())
    witness.fact(adopted(), 1)
    pace = Pace()
    for number, operation in enumerate(script):
        match operation:
            case ("packet", reply, index, place, length, behind, last):
                take = max(0, witness.position + behind)
                given_ = {"take": take, "fill": number, "last": last, "reply": reply, "index": index}
                witness.audio(packet(place * STEP_MS, length, **given_))
            case _:
                _do(witness, number, operation)
        assert witness.playlist.ahead_ms(witness.now) <= pace.lead_ms + max(FRAMES)
    witness.see(witness.playlist.lost(witness.now))
    assert witness.playlist.due(witness.now + 10_000) == []


def test_packets_go_out_one_by_one_a_short_lead_ahead_each_with_its_mark() -> None:
    playlist = Playlist(pace=Pace(lead_ms=200), measure=Packets())
    for number in range(50):
        playlist.audio(packet(number * 20, fill=number, last=number == 49), 0)
    acts = playlist.due(0)
    for echoed, now in enumerate(range(20, 1_020, 20)):
        writes = [act for act in acts if isinstance(act, Write)]
        acts += playlist.echoed(writes[echoed].mark, now) or []
        acts += playlist.due(now)
        assert playlist.ahead_ms(now) <= 220
    writes = [act for act in acts if isinstance(act, Write)]
    assert [act.offset_ms for act in writes] == list(range(0, 1_000, 20))
    assert len({act.payload for act in writes}) == len({act.mark for act in writes}) == 50
    assert Marked("a", 0, 1_000, last=True) in acts


def test_a_packet_that_reaches_over_what_was_received_is_dropped() -> None:
    playlist = Playlist(pace=Pace(), measure=Packets())
    assert playlist.audio(packet(0, 60), 0)
    assert not playlist.audio(packet(40, 40, fill=2), 0)
    assert playlist.audio(packet(80, 20, fill=3), 0)
    assert [act.offset_ms for act in playlist.due(0) if isinstance(act, Write)] == [0, 80]


def test_what_is_no_packet_is_dropped() -> None:
    playlist = Playlist(pace=Pace(), measure=Packets())
    assert not playlist.audio(msgspec.structs.replace(packet(0), payload=b"\xff"), 0)


def test_an_interrupted_sentence_goes_on_with_the_packet_that_was_cut() -> None:
    playlist = Playlist(pace=Pace(), measure=Packets())
    for number in range(20):
        playlist.audio(packet(number * 20, fill=number, last=number == 19), 0)
    marks = [act.mark for act in playlist.due(0) if isinstance(act, Write)]
    playlist.echoed(marks[0], 20)
    assert playlist.fact(101, interrupted("a"), 47) == [Clear(), Cleared("a", 0, 47, estimated=True)]
    playlist.fact(102, resumed("a"), 100)
    for number in range(2, 20):
        playlist.audio(packet(number * 20, take=102, fill=number, last=number == 19), 100)
    writes = [act for act in playlist.due(100) if isinstance(act, Write)]
    assert [act.offset_ms for act in writes] == list(range(40, 400, 20))


# When it was heard


def _played() -> Playlist:
    """All of what came so far was played by 400."""
    playlist = Playlist(pace=Pace(), measure=TELEPHONE)
    playlist.audio(audio(0, 380, take=5, last=False), 0)
    for mark in [act.mark for act in playlist.due(0) if isinstance(act, Write)]:
        playlist.echoed(mark, 400)
    return playlist


def test_a_sentence_that_ran_dry_is_cut_where_it_fell_silent() -> None:
    (cleared,) = _played().fact(9, interrupted("a"), 30_000) or []
    assert cleared == Cleared("a", 0, 380, estimated=False, ago_ms=29_600)


def test_a_sentence_whose_end_is_told_late_ended_when_it_was_heard() -> None:
    playlist = _played()
    playlist.audio(audio(380, 0, take=5, last=True), 30_000)
    assert playlist.due(30_000) == [Marked("a", 0, 380, True, ago_ms=29_600)]


def test_a_sentence_cut_while_it_plays_falls_silent_now() -> None:
    playlist = _played()
    playlist.audio(audio(380, 800, take=5, last=True), 1_000)
    playlist.due(1_000)
    clear, cleared = playlist.fact(9, interrupted("a"), 1_300) or []
    assert (clear, cleared) == (Clear(), Cleared("a", 0, 680, estimated=True, ago_ms=0))


# A peer that echoes nothing


def _silent(length_ms: int = 400) -> Playlist:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE, echoes=False)
    playlist.audio(audio(0, length_ms, take=5, last=True), 0)
    playlist.due(0)
    return playlist


@pytest.mark.parametrize(("now", "heard_ms"), [(0, 0), (90, 0), (250, 150), (480, 380)])
def test_an_interruption_is_estimated_by_the_clock(now: int, heard_ms: int) -> None:
    acts = _silent().fact(9, interrupted("a"), now)
    assert acts == [Clear(), Cleared("a", 0, heard_ms, estimated=heard_ms > 0)]


def test_what_a_lost_socket_had_played_is_estimated_too() -> None:
    assert _silent().lost(300) == [Cleared("a", 0, 200, estimated=True)]


def test_never_more_than_was_sent_is_believed_heard() -> None:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE, echoes=False)
    playlist.audio(audio(0, 400, take=5), 0)
    acts = [*playlist.due(0), *playlist.due(3_000), *playlist.lost(9_000)]
    written = sum(len(act.payload) // 8 for act in acts if isinstance(act, Write))
    assert acts[-1] == Cleared("a", 0, written, estimated=True)


def test_a_peer_that_echoes_after_all_is_waited_for() -> None:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE, echoes=False)
    playlist.audio(audio(0, 400, take=5, last=True), 0)
    first, *others = [act.mark for act in playlist.due(0) if isinstance(act, Write)]
    playlist.due(200)
    assert playlist.echoed(first, 210) == [], "it was believed before"
    assert playlist.due(5_000) == []
    assert Marked("a", 0, 400, last=True) in [act for mark in others for act in playlist.echoed(mark, 5_000) or []]


@pytest.fixture
def playlist() -> Playlist:
    return Playlist(pace=Pace(), measure=TELEPHONE)


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
    assert not [act for act in after if isinstance(act, Cleared)], "the peer still plays it"


def _starved(*, echoes: bool = True) -> tuple[Playlist, list[str], list[Act]]:
    """2,460 ms of a sentence without its end, another behind it; the marks it went out with, and what starving made."""
    playlist = Playlist(pace=Pace(), measure=TELEPHONE, echoes=echoes)
    playlist.audio(audio(0, 2_460, take=5), 0)
    playlist.audio(audio(0, 100, take=5, index=1, last=True), 0)
    out = [act.mark for act in playlist.due(0) if isinstance(act, Write)]
    early = playlist.due(Pace().starved_ms)
    assert not [act for act in early if isinstance(act, Write | Cleared)], "the peer has enough: the rest may come yet"
    return playlist, out, playlist.due(2_300)


def test_less_than_a_piece_of_a_sentence_whose_rest_never_comes_goes_out_too(playlist: Playlist) -> None:
    playlist.audio(audio(0, 230, take=5), 0)
    playlist.audio(audio(0, 100, take=5, index=1, last=True), 0)
    acts = [act for now in range(0, 3_000, 100) for act in playlist.due(now)]
    written = {index: [act for act in acts if isinstance(act, Write) and act.sentence == index] for index in (0, 1)}
    assert sum(len(act.payload) for act in written[0]) == 230 * 8
    assert sum(len(act.payload) for act in written[1]) == 100 * 8


def test_of_a_sentence_whose_rest_never_comes_counts_what_comes_back() -> None:
    playlist, out, starved = _starved()
    told = [act for name in out for act in playlist.echoed(name, 2_500) or []]
    assert not [act for act in starved if isinstance(act, Cleared)], "the peer still plays it"
    assert told[-1] == Cleared("a", 0, 2_460, estimated=False)


def test_of_a_sentence_whose_rest_never_comes_nothing_counts_that_nobody_proves() -> None:
    playlist, _, _ = _starved()
    assert Cleared("a", 0, 0, estimated=False) in playlist.lost(60_000)


def test_of_a_sentence_whose_rest_never_comes_the_clock_tells_for_a_peer_without_echoes() -> None:
    playlist, _, _ = _starved(echoes=False)
    assert not [act for act in playlist.due(2_500) if isinstance(act, Cleared)]
    assert Cleared("a", 0, 2_460, estimated=True) in playlist.due(2_560)


def test_a_peer_without_echoes_is_believed_by_the_clock() -> None:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE, echoes=False)
    playlist.audio(audio(0, 100, take=5, last=True), 0)
    playlist.due(0)
    assert playlist.wants_beat
    assert playlist.due(100 + 59) == [], "60 ms were sent first, and are played 100 ms late"
    assert playlist.due(100 + 60) == [Marked("a", 0, 60, last=False, estimated=True)]
    assert playlist.due(100 + 100) == [Marked("a", 0, 100, last=True, estimated=True)]
    assert not playlist.wants_beat


def test_a_rest_shorter_than_a_millisecond_before_a_gap_goes_out_too(playlist: Playlist) -> None:
    odd = msgspec.structs.replace(audio(0, 20, take=99), payload=b"1" * 163)  # a millisecond has eight bytes
    for piece in (odd, audio(40, 20, take=99, last=True)):
        playlist.audio(piece, 0)
    written = [act.payload for act in playlist.due(0) if isinstance(act, Write)]
    assert b"".join(written) == b"1" * 163 + bytes([1]) * 160


def test_what_was_forgotten_is_bounded() -> None:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE)
    now = 0
    for number in range(1_000):
        message = audio(0, 20, take=5, last=True, reply=f"r{number}")
        assert playlist.audio(message, now)
        for act in playlist.due(now):
            if isinstance(act, Write):
                playlist.echoed(act.mark, now)
        now += 20
    assert len(playlist._sentences) <= 257
