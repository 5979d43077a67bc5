"""Who is believed: rules R1 to R3, from the order of the log alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.admit import WISHES, Admission, admit, prior_for
from schema.call import CallAdopted, CallEnded, CallReported, CallSealed, CallStarted, RequestMade
from schema.envelope import AnyEvent, Event, Role, Unknown
from schema.insight import CallSummarised
from schema.stream import DtmfPressed, PlaybackMarked, StreamClosed, StreamOpened, StreamSuperseded

CALL = "CA1"


def started(id: str = "s1") -> CallStarted:
    return CallStarted(id=id, call_id=CALL, source=f"webhook-{id}", channel="twilio")


def adopted(id: str, prior: str, role: Role = "conversation") -> CallAdopted:
    return CallAdopted(id=id, call_id=CALL, role=role, prior=prior, owner=f"{role}:a:1")


def pressed(id: str, sequence: int, source: str = "MZ1") -> DtmfPressed:
    return DtmfPressed(id=id, call_id=CALL, source=source, sequence=sequence, stream=source, digit="1")


def fold(events: list[AnyEvent], state: Admission | None = None) -> tuple[Admission, list[str]]:
    """The state after `events`, and the ids of those that were believed."""
    now, believed = state or Admission(), []
    for event in events:
        after = admit(now, event)
        if after is not None:
            now = after
            believed.append(event.id)
    return now, believed


def live(*events: AnyEvent) -> tuple[Admission, list[str]]:
    return fold([started(), *events])


class TestChain:
    def test_a_roles_first_event_names_the_beginning_of_the_call(self) -> None:
        assert live(adopted("a", "s1"))[1] == ["s1", "a"]

    def test_each_further_one_names_the_last_of_its_own_role(self) -> None:
        assert live(adopted("a", "s1"), adopted("h", "s1", "hearing"), adopted("b", "a"))[1] == ["s1", "a", "h", "b"]

    def test_a_second_answer_to_the_same_moment_is_void(self) -> None:
        assert live(adopted("a", "s1"), adopted("zombie", "s1"))[1] == ["s1", "a"]

    def test_what_follows_a_void_event_is_void_too(self) -> None:
        assert live(adopted("a", "s1"), adopted("z", "s1"), adopted("z2", "z"))[1] == ["s1", "a"]

    def test_an_event_delivered_twice_counts_once(self) -> None:
        assert live(adopted("a", "s1"), adopted("a", "s1"))[1] == ["s1", "a"]

    def test_an_empty_predecessor_is_no_predecessor(self) -> None:
        assert live(adopted("a", ""))[1] == ["s1"]

    def test_prior_for_names_what_the_next_event_has_to(self) -> None:
        state, _ = live(adopted("a", "s1"))
        assert (prior_for(state, "conversation"), prior_for(state, "hearing")) == ("a", "s1")

    def test_an_unknown_event_of_a_worker_keeps_its_place_in_the_chain(self) -> None:
        unknown = Unknown(type="later.invented", id="u", call_id=CALL, raw=b"{}", role="conversation", prior="s1")
        assert live(unknown, adopted("a", "u"))[1] == ["s1", "u", "a"]


class TestSources:
    def test_a_sequence_must_grow_and_may_jump(self) -> None:
        events = [pressed("1", 1), pressed("3", 3), pressed("2", 2), pressed("3", 3)]
        assert live(*events)[1] == ["s1", "1", "3"]

    def test_zero_is_a_sequence(self) -> None:
        once = [RequestMade(id=str(n), call_id=CALL, source="key", sequence=0, kind="say") for n in range(2)]
        assert live(*once)[1] == ["s1", "0"]

    def test_sources_do_not_know_of_each_other(self) -> None:
        assert live(pressed("a", 5), pressed("b", 1, source="MZ2"))[1] == ["s1", "a", "b"]

    def test_an_event_from_nobody_is_void(self) -> None:
        assert live(CallReported(id="r", call_id=CALL, status="completed"))[1] == ["s1"]


class TestBeginningAndEnd:
    def test_before_the_beginning_everything_is_void(self) -> None:
        assert fold([pressed("early", 1), adopted("a", ""), started()])[1] == ["s1"]

    def test_a_second_beginning_of_a_live_call_is_a_resume(self) -> None:
        assert live(started("s2"))[1] == ["s1"]

    def test_a_sealed_call_may_begin_again_and_its_old_owner_is_nobody(self) -> None:
        sealed = CallSealed(id="x", call_id=CALL, role="conversation", prior="s1", complete=True)
        state, believed = live(sealed, started("s2"), adopted("old", "x"), adopted("new", "s2"))
        assert believed == ["s1", "x", "s2", "new"]
        assert state.began == 2

    def test_the_same_beginning_delivered_again_begins_nothing(self) -> None:
        sealed = CallSealed(id="x", call_id=CALL, role="conversation", prior="s1", complete=True)
        assert live(sealed, started())[1] == ["s1", "x"]

    def test_a_resume_delivered_again_after_the_seal_begins_nothing(self) -> None:
        resumed = CallStarted(id="s2", call_id=CALL, source="MZ2", sequence=0, channel="raw")
        opened = StreamOpened(id="o", call_id=CALL, source="MZ2", sequence=1, stream="MZ2", door="raw", mailbox=0)
        sealed = CallSealed(id="x", call_id=CALL, role="conversation", prior="s1", complete=True)
        assert live(resumed, opened, sealed, resumed)[1] == ["s1", "o", "x"]

    def test_a_webhook_asked_again_and_delivered_after_the_seal_begins_nothing(self) -> None:
        began, again = (CallStarted(id=id_, call_id=CALL, source="CA1:voice", channel="twilio") for id_ in ("s1", "s2"))
        sealed = CallSealed(id="x", call_id=CALL, role="conversation", prior="s1", complete=True)
        assert fold([began, again, sealed, again])[1] == ["s1", "x"]

    def test_an_ended_call_still_hears_its_last_words(self) -> None:
        ended = CallEnded(id="e", call_id=CALL, role="conversation", prior="s1", reason="caller_hung_up")
        assert live(ended, pressed("d", 1))[1] == ["s1", "e", "d"]

    @pytest.mark.parametrize(
        ("event", "believed"),
        [
            (CallSummarised(id="l", call_id=CALL, role="summariser", prior="s1", revision=1, summary="s"), True),
            (StreamClosed(id="l", call_id=CALL, source="MZ1", sequence=9, stream="MZ1", reason="stop"), True),
            (
                PlaybackMarked(
                    id="l", call_id=CALL, source="MZ1", sequence=9, stream="MZ1", reply="r", sentence=0, heard_ms=1
                ),
                True,
            ),
            (pressed("l", 9), False),
            (adopted("l", "x"), False),
            (CallReported(id="l", call_id=CALL, source=CALL, sequence=9, status="completed"), False),
        ],
    )
    def test_after_the_seal_only_the_late_may_speak(self, event: Event, believed: bool) -> None:
        sealed = CallSealed(id="x", call_id=CALL, role="conversation", prior="s1", complete=True)
        assert (live(sealed, event)[1] == ["s1", "x", "l"]) is believed

    def test_a_socket_of_another_user_is_no_stream_of_a_users_call(self) -> None:
        begun = CallStarted(id="s1", call_id=CALL, source="MZ1", sequence=0, channel="raw", user_id="ann")
        opened = [
            StreamOpened(
                id=user, call_id=CALL, source=stream, sequence=1, stream=stream, door="raw", mailbox=0, user_id=user
            )
            for user, stream in (("ann", "MZ1"), ("bob", "MZ2"), ("", "MZ3"))
        ]
        said = [pressed(f"by {stream}", 5, source=stream) for stream in ("MZ1", "MZ2", "MZ3")]
        assert fold([begun, *opened, *said])[1] == ["s1", "ann", "by MZ1"]

    def test_a_socket_of_another_user_wishes_nothing_of_a_users_call(self) -> None:
        begun = CallStarted(id="s1", call_id=CALL, source="MZ1", sequence=0, channel="raw", user_id="ann")
        opened = [
            StreamOpened(
                id=user, call_id=CALL, source=stream, sequence=1, stream=stream, door="raw", mailbox=0, user_id=user
            )
            for user, stream in (("ann", "MZ1"), ("bob", "MZ2"))
        ]
        wished = [
            RequestMade(id=f"by {s}", call_id=CALL, source=s + WISHES, sequence=2, kind="hang_up")
            for s in ("MZ2", "MZ1")
        ]
        assert fold([begun, *opened, *wished])[1] == ["s1", "ann", "by MZ1"]

    def test_a_superseded_stream_only_reports_on_itself(self) -> None:
        opened = [
            StreamOpened(id=s, call_id=CALL, source=s, sequence=0, stream=s, door="twilio", mailbox=0)
            for s in ("MZ1", "MZ2")
        ]
        over = StreamSuperseded(id="o", call_id=CALL, role="conversation", prior="s1", stream="MZ1", by="MZ2")
        closed = StreamClosed(id="c", call_id=CALL, source="MZ1", sequence=3, stream="MZ1", reason="superseded")
        events = [*opened, over, pressed("late", 2), closed, pressed("new", 1, source="MZ2")]
        assert live(*events)[1] == ["s1", "MZ1", "MZ2", "o", "c", "new"]


EVENT = st.one_of(
    st.builds(started, st.sampled_from(["s1", "s2"])),
    st.builds(
        adopted,
        st.sampled_from("abcdef"),
        st.sampled_from(["s1", "s2", *"abcdef"]),
        st.sampled_from(["conversation", "hearing"]),
    ),
    st.builds(pressed, st.uuids().map(str), st.integers(0, 5), st.sampled_from(["MZ1", "MZ2"])),
    st.builds(
        lambda id, prior: CallSealed(id=id, call_id=CALL, role="conversation", prior=prior, complete=True),
        st.sampled_from("xyz"),
        st.sampled_from(["s1", *"abcdef"]),
    ),
)


@given(st.lists(EVENT, max_size=40), st.randoms(use_true_random=False))
def test_repeating_events_anywhere_later_changes_nothing(events: list[AnyEvent], rng: random.Random) -> None:
    """At-least-once delivery: a repeat of an admitted event is void wherever it lands, within one life."""
    state, believed = fold(events)
    if state.began != 1:
        return
    # Ids may be drawn twice: what is repeated is an admitted event itself, not another of its name.
    repeated: list[AnyEvent] = []
    admitted: list[AnyEvent] = []
    now = Admission()
    for event in events:
        repeated.append(event)
        after = admit(now, event)
        if after is not None:
            now = after
            admitted.append(event)
            repeated += rng.sample(admitted, k=min(len(admitted), 2))
    assert len(believed) != len(set(believed)) or fold(repeated)[0] == state


@given(st.lists(EVENT, max_size=40))
def test_what_is_void_leaves_no_trace(events: list[AnyEvent]) -> None:
    state, now = Admission(), Admission()
    believed = []
    for event in events:
        after = admit(now, event)
        if after is not None:
            now = after
            believed.append(event)
    for event in believed:
        following = admit(state, event)
        assert following is not None
        state = following
    assert state == now


@given(st.lists(EVENT, max_size=40))
def test_each_role_is_one_unbroken_chain(events: list[AnyEvent]) -> None:
    state, last = Admission(), {}
    for event in events:
        after = admit(state, event)
        if after is None:
            continue
        if isinstance(event, CallStarted):
            last = {}
        elif event.role:
            assert event.prior == last.get(event.role, after.life)
            last[event.role] = event.id
        state = after
