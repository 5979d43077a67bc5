"""Stories with their faults written down: each must hold in any order of steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from calltape.simulation.run import quiet, run_seed
from calltape.simulation.stories import STORIES
from calltape.simulation.tape import Tape
from schema import call, failure, speech, stream, turn
from schema.envelope import Event, type_of
from schema.registry import decode

SEEDS = range(4)


@cache
def _tapes(name: str) -> list[Tape]:
    story = STORIES[name]
    tapes = []
    for seed in SEEDS:
        with quiet():
            run = run_seed(seed, plan=story.plan, script=story.script)
        assert run.violations == (), f"seed {seed} of story {name}"
        tapes.append(Tape(run.outcome))
    return tapes


def _all(tape: Tape, *types: type[Event]) -> Sequence[Event]:
    return [one.event for one in tape.of(*types) if isinstance(one.event, Event)]


def _end(tape: Tape) -> str:
    (ended,) = _all(tape, call.CallEnded)
    assert isinstance(ended, call.CallEnded)
    return ended.reason


@pytest.mark.parametrize("name", sorted(STORIES))
def test_the_story_holds(name: str) -> None:
    assert _tapes(name)


def test_a_an_interrupted_answer_is_cut_and_the_agent_says_goodbye() -> None:
    for tape in _tapes("a"):
        assert _all(tape, turn.ReplyInterrupted)
        assert _end(tape) == "agent_goodbye"


def test_b_what_was_on_the_log_when_conversation_died_is_said_by_the_next_owner() -> None:
    for tape in _tapes("b"):
        owners = {event.owner for event in _all(tape, call.CallAdopted) if isinstance(event, call.CallAdopted)}
        assert len([owner for owner in owners if owner.startswith("conversation")]) >= 2
        assert _end(tape) == "agent_goodbye"


def test_c_a_zombie_says_nothing_that_is_believed() -> None:
    for tape in _tapes("c"):
        owners = [event for event in _all(tape, call.CallAdopted) if event.role == "conversation"]
        assert len(owners) >= 2
        assert _end(tape) == "agent_goodbye"


def test_d_a_call_outlives_the_process_that_held_its_socket() -> None:
    for tape in _tapes("d"):
        assert len(_all(tape, stream.StreamOpened)) >= 2
        assert _all(tape, stream.StreamLost)
        assert _end(tape) == "agent_goodbye"


def test_e_a_word_cut_by_the_hang_up_is_in_the_transcript() -> None:
    for tape in _tapes("e"):
        assert _end(tape) == "caller_hung_up"
        kinds = [type(one.event) for one in tape.admitted]
        heard, sealed = kinds.index(speech.StreamHeard), kinds.index(call.CallSealed)
        assert heard < sealed
        (seal,) = _all(tape, call.CallSealed)
        assert isinstance(seal, call.CallSealed) and seal.complete


def test_f_a_line_that_sends_nothing_gets_prompts_and_an_end() -> None:
    for tape in _tapes("f"):
        prompts = [
            event
            for event in _all(tape, turn.ReplyStarted)
            if isinstance(event, turn.ReplyStarted) and event.why == "prompt"
        ]
        assert len(prompts) == 3
        assert _end(tape) == "silence"


def _positions(tape: Tape, kind: type[Event]) -> list[int]:
    return [one.position for one in tape.of(kind)]


def _adoptions(tape: Tape, role: str) -> list[int]:
    return [one.position for one in tape.of(call.CallAdopted) if one.event.role == role]


def test_g_what_a_zombie_says_after_its_successor_spoke_is_void() -> None:
    for tape in _tapes("g"):
        later = _adoptions(tape, "conversation")[1]
        zombie, successor = (
            {one.event.id.rpartition("-")[0] for one in tape.of(turn.ReplySentence) if (one.position < later) is early}
            for early in (True, False)
        )
        assert successor and not zombie & successor
        assert _end(tape) == "agent_goodbye"


def test_h_words_are_heard_once_by_two_who_cut_them_differently() -> None:
    by_two = 0  # what was settled and not read back may all be heard by the next one
    for tape in _tapes("h"):
        heard_by: dict[str, set[str]] = {}
        for event in _all(tape, speech.TranscriptSettled):
            assert isinstance(event, speech.TranscriptSettled)
            heard_by.setdefault(event.stream, set()).add(event.id.rpartition("-")[0])
        by_two += max(map(len, heard_by.values())) >= 2
        assert _end(tape) == "agent_goodbye"
    assert by_two >= 2


def test_i_a_lost_clear_is_sent_by_the_next_owner() -> None:
    were_sounding = 0
    for tape in _tapes("i"):
        (first, *_) = _positions(tape, turn.ReplyInterrupted)
        adopted = _adoptions(tape, "conversation")
        assert len(adopted) == 2 and adopted[0] < first < adopted[1]
        cleared = _positions(tape, stream.PlaybackCleared)
        assert all(position > adopted[1] for position in cleared)
        were_sounding += bool(cleared)
    assert were_sounding


def test_j_a_door_that_is_back_plays_nothing_meant_for_its_old_streams() -> None:
    for tape in _tapes("j"):
        opened = [event for event in _all(tape, stream.StreamOpened) if isinstance(event, stream.StreamOpened)]
        assert len(opened) >= 2
        assert len({event.mailbox for event in opened}) == 1
        assert _end(tape) == "agent_goodbye"


def test_k_no_call_ends_for_a_silence_of_the_log() -> None:
    for tape in _tapes("k"):
        assert not _all(tape, stream.StreamLost)
        assert len(tape.lives()) == 2
        for life in tape.lives().values():
            (end,) = [one.event for one in life if isinstance(one.event, call.CallEnded)]
            assert isinstance(end, call.CallEnded)
            assert end.reason in ("agent_goodbye", "caller_hung_up", "request", "transferred", "silence")


def test_l_a_transaction_cut_in_two_is_applied_once() -> None:
    for tape in _tapes("l"):
        assert tape.outcome.happened["cut in two"] >= 2


def test_m_a_transfer_is_done_though_its_owner_died() -> None:
    for tape in _tapes("m"):
        assert len(_adoptions(tape, "conversation")) == 2
        # The first owner died knowing the carrier's answer, and could tell nobody.
        assert tape.outcome.transferred["call"] == ("+15550000007",) * 2
        assert _end(tape) == "transferred"


def test_n_the_carrier_hangs_up_though_the_owner_died() -> None:
    for tape in _tapes("n"):
        assert len(_adoptions(tape, "conversation")) == 2
        assert tape.outcome.hung_up["call"] >= 1
        assert _end(tape) == "request"


def test_r_a_transfer_that_was_refused_is_asked_for_again() -> None:
    for tape in _tapes("r"):
        assert len(_adoptions(tape, "conversation")) == 2
        assert tape.outcome.happened["refused"] == 1
        assert tape.outcome.transferred["call"] == ("+15550000007",)
        assert not _all(tape, failure.WorkFailed)
        assert _end(tape) == "transferred"


def test_s_a_transfer_the_carrier_never_takes_leaves_the_caller_with_the_agent() -> None:
    for tape in _tapes("s"):
        assert not tape.outcome.transferred and not _all(tape, call.CallTransferred)
        (failed,) = _all(tape, failure.WorkFailed)
        (wish,) = _all(tape, call.RequestMade)
        assert isinstance(failed, failure.WorkFailed)
        assert (failed.stage, failed.code, failed.cause) == ("transfer", "carrier_refused", wish.id)
        (*_, last) = _positions(tape, turn.TurnTaken)
        assert last > _positions(tape, failure.WorkFailed)[0]
        assert _end(tape) == "agent_goodbye"


def test_t_a_hang_up_that_was_refused_is_asked_for_again() -> None:
    for tape in _tapes("t"):
        assert len(_adoptions(tape, "conversation")) == 2
        assert tape.outcome.happened["refused"] == 1
        assert tape.outcome.hung_up["call"] >= 1
        assert _end(tape) == "request"


def _deeds(tape: Tape, source: str, *, admitted: bool) -> Counter[str]:
    """What a socket's peer did besides hearing and closing."""
    believed = {one.position for one in tape.admitted}
    said = (decode(one.value) for one in tape.outcome.events if (one.position in believed) is admitted)
    deeds = (stream.DtmfPressed, stream.TextTyped, stream.TurnReleased)
    return Counter(type_of(event) for event in said if event.source.startswith(source) and isinstance(event, deeds))


def test_o_what_a_frozen_door_says_of_a_superseded_stream_is_void() -> None:
    kinds = Counter[str]()
    for tape in _tapes("o"):
        (superseded,) = _all(tape, stream.StreamSuperseded)
        assert isinstance(superseded, stream.StreamSuperseded)
        kinds += _deeds(tape, superseded.stream, admitted=False)
        assert _end(tape) == "agent_goodbye"
    assert kinds.keys() == {"dtmf.pressed", "text.typed", "turn.released"}


def test_p_a_stranger_changes_nothing_in_a_users_call() -> None:
    tried = 0
    for tape in _tapes("p"):
        tried += _deeds(tape, "call.eve", admitted=False).total()
        assert not _deeds(tape, "call.eve", admitted=True)
        opened = [event for event in _all(tape, stream.StreamOpened) if isinstance(event, stream.StreamOpened)]
        assert {event.user_id for event in opened} == {"mia"}
        assert _end(tape) == "agent_goodbye"
    assert tried


def test_q_whoever_sleeps_until_the_seal_may_only_say_what_became_of_its_stream() -> None:
    late_words = 0
    for tape in _tapes("q"):
        (seal,) = _positions(tape, call.CallSealed)
        believed = [one.event for one in tape.admitted if one.position > seal]
        assert {type_of(event) for event in believed if not event.role} >= {"stream.measured", "stream.closed"}
        assert {type_of(event) for event in believed if event.role == "hearing"} <= {"stream.heard"}
        said = [decode(one.value) for one in tape.outcome.events if one.position > seal]
        late_words += sum(event.role == "hearing" for event in said) > 1
        (sealed,) = _all(tape, call.CallSealed)
        assert isinstance(sealed, call.CallSealed) and not sealed.complete
    assert late_words
