"""The six stories the protocol was written for: each must hold in any order of steps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from calltape.simulation.run import quiet, run_seed
from calltape.simulation.stories import STORIES
from calltape.simulation.tape import Tape
from schema import call, speech, stream, turn
from schema.envelope import Event

SEEDS = range(8)


def _tapes(name: str) -> list[Tape]:
    story = STORIES[name]
    tapes = []
    for seed in SEEDS:
        with quiet():
            run = run_seed(seed, plan=story.plan, script=story.script)
        assert run.violations == (), f"seed {seed} of story {name}"
        assert run.outcome is not None
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
