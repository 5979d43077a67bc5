"""When chaos strikes: each moment is found in the events of a real call, and who dies too late has not died in it."""

from __future__ import annotations

import pytest

from calltape.chaos.calling import missed
from calltape.chaos.cases import CASES, KILLED, MOMENTS, Case, Lookout
from schema.registry import decode
from tests.unit.chaos_call import a_real_call, place_of

# Moment: the event it begins with and the one it ends with, each with which of its kind that is in the call.
SHOWS = {
    "mid-utterance": (("transcript.revised", 1), ("transcript.settled", 1)),
    "turn taken": (("turn.taken", 1), ("playback.started", 3)),
    "mid-reply": (("playback.marked", 5), ("reply.finished", 2)),
    "reply interrupted": (("reply.interrupted", 1), ("turn.taken", 4)),
    "tool open": (("tool.called", 1), ("tool.returned", 1)),
    "call ended": (("call.ended", 1), ("call.sealed", 1)),
    "during summary": (("call.sealed", 1), ("call.summarised", 1)),
    "during recording": (("call.sealed", 1), ("recording.saved", 1)),
}


def test_every_moment_is_known_here() -> None:
    assert SHOWS.keys() == MOMENTS.keys()
    assert {case.moment for case in CASES} <= MOMENTS.keys()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_is_seen_once_and_at_its_event(moment: str) -> None:
    records = a_real_call()
    lookout = Lookout(moment)
    seen = [number for number, record in enumerate(records) if lookout.sees(decode(record.value))]
    assert seen == [place_of(records, *SHOWS[moment][0])]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_lasts_to_its_last_event(moment: str) -> None:
    records = a_real_call()
    lookout = Lookout(moment)
    ends = []
    for number, record in enumerate(records):
        event = decode(record.value)
        if lookout.ends(event):
            ends.append(number)
        lookout.sees(event)
    assert ends[0] == place_of(records, *SHOWS[moment][1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_dies_after_the_moment_has_not_died_in_it(case: Case) -> None:
    records = a_real_call()
    begins, ends = (records[place_of(records, *which)].at for which in SHOWS[case.moment])
    assert missed(case, records, begins) == ""
    assert missed(case, records, ends) == ""
    assert missed(case, records, ends + 1) == "the moment had passed"


def test_a_moment_that_nobody_saw_never_came() -> None:
    assert missed(CASES[0], a_real_call(), None) == "the moment never came"


def test_a_moment_that_the_call_did_not_reach_the_end_of_lasts_to_the_end_of_the_call() -> None:
    records = a_real_call()
    until = place_of(records, "tool.returned", 1)
    assert missed(Case("hearing", "tool open"), records[:until], records[-1].at) == ""


def test_whoever_takes_part_in_a_call_dies_at_every_moment_of_it() -> None:
    moments = [moment for moment in MOMENTS if moment != "during recording"]
    for role in ("hearing", "conversation", "ingest"):
        assert list(KILLED[role]) == moments
    assert len({case.name for case in CASES}) == len(CASES)
