"""What chaos calls lost, doubled or otherwise: a real call, compared with itself after something was done to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from calltape.chaos.cases import Case
from calltape.chaos.compare import compare
from calltape.chaos.outcome import Outcome, Trial, as_markdown
from calltape.chaos.run import judged
from calltape.chaos.told import Told, Utterance, utterances
from clients.report import CallReport, Observation, Seen, Turn
from eventlog.port import Record
from migrations.run import upgrade_on
from schema.media import MediaReceived, MediaSpoken
from tests.support.databases import Database, opened
from tests.unit.chaos_call import SAID, a_real_call, changed, place_of, placed, told

HEARING = Case("hearing", "mid-utterance")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with opened(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('chaos')}/calls.sqlite") as database:
        database.write(upgrade_on)
        yield database


@pytest.fixture(scope="module")
def undisturbed(database: Database) -> Told:
    return told(database, a_real_call())


def without(kind: str, which: int) -> list[Record]:
    records = list(a_real_call())
    del records[place_of(records, kind, which)]
    return records


def note(undisturbed: Told, disturbed: Told) -> str:
    return compare(undisturbed, disturbed, cuts_the_line=False).note


def shown_without(one: Told, said: str) -> Told:
    lines = [line for line in one.shown["transcript"] if line["said"] != said]
    return replace(one, shown=one.shown | {"transcript": lines})


def test_the_same_call_is_no_other(undisturbed: Told) -> None:
    assert compare(undisturbed, undisturbed, cuts_the_line=False).none
    assert compare(undisturbed, undisturbed, cuts_the_line=True).none


def test_a_line_that_is_gone_is_lost(undisturbed: Told) -> None:
    found = compare(undisturbed, shown_without(undisturbed, "yes that is right"), cuts_the_line=False)
    assert "caller: 'yes that is right'" in found.lost


def test_the_order_between_caller_and_agent_counts(undisturbed: Told) -> None:
    lines = list(undisturbed.shown["transcript"])
    place = next(number for number, line in enumerate(lines) if line["said"] == "yes that is right")
    lines[place - 1], lines[place] = lines[place], lines[place - 1]
    other = replace(undisturbed, shown=undisturbed.shown | {"transcript": lines})
    assert "another order" in note(undisturbed, other)


def test_a_line_lies_where_the_caller_said_it(undisturbed: Told) -> None:
    said = [replace(SAID[0], start_ms=SAID[0].start_ms - 101), *SAID[1:]]
    assert note(undisturbed, replace(undisturbed, said=said)) == f"{SAID[0].text!r} lies 101 ms from where it was said"
    said = [replace(SAID[0], start_ms=SAID[0].start_ms - 100), *SAID[1:]]
    assert note(undisturbed, replace(undisturbed, said=said)) == ""


def test_a_reply_that_was_not_heard_to_its_end_is_another(undisturbed: Told) -> None:
    turns = [dict(turn) for turn in undisturbed.shown["turns"]]
    turns[0]["reply_heard"] = "I will remind you"
    assert "other turns" in note(undisturbed, replace(undisturbed, shown=undisturbed.shown | {"turns": turns}))


@pytest.mark.parametrize(("key", "value"), [("summary", "Nothing."), ("reason", "failed"), ("complete", False)])
def test_another_result_is_told(undisturbed: Told, key: str, value: object) -> None:
    assert key in note(undisturbed, replace(undisturbed, shown=undisturbed.shown | {key: value}))


@pytest.mark.parametrize("key", ["actions", "key_points"])
def test_results_that_cite_other_words_are_others(undisturbed: Told, key: str) -> None:
    results = json.loads(json.dumps(undisturbed.shown[key]))
    results[0]["cites"].reverse()
    other = replace(undisturbed, shown=undisturbed.shown | {key: results})
    assert f"other {key.replace('_', ' ')}" in note(undisturbed, other)


def test_an_event_without_its_row_is_lost(undisturbed: Told, database: Database) -> None:
    """The tables are those of a log that lacks it."""
    records = without("transcript.settled", 2)
    other = replace(told(database, records), events=undisturbed.events)
    assert any(lost.startswith("no row of line") for lost in compare(undisturbed, other, cuts_the_line=False).lost)


@pytest.mark.parametrize("kind", ["call.summarised", "recording.saved"])
def test_what_was_not_made_is_lost(undisturbed: Told, kind: str) -> None:
    place = place_of(undisturbed.events, kind, 1)
    events = [record for number, record in enumerate(undisturbed.events) if number != place]
    found = compare(undisturbed, replace(undisturbed, events=events), cuts_the_line=False)
    assert f"0 {kind}" in found.lost


def test_a_turn_that_is_answered_twice_is_doubled(undisturbed: Told, database: Database) -> None:
    records = a_real_call()
    turn = json.loads(records[place_of(records, "reply.started", 2)].value)["in_answer_to"]
    answers = changed(records, place_of(records, "reply.started", 4), in_answer_to=turn)
    found = compare(undisturbed, told(database, answers), cuts_the_line=False)
    assert f"answer {turn} 2 times" in found.doubled


def test_a_call_that_has_two_rows_is_doubled(undisturbed: Told) -> None:
    found = compare(undisturbed, replace(undisturbed, lives=2), cuts_the_line=False)
    assert found.doubled == ["the call has 2 rows"]


def test_what_was_saved_is_an_action_item(undisturbed: Told) -> None:
    assert undisturbed.details is not None
    other = replace(undisturbed, details=replace(undisturbed.details, actions=()))
    assert "action 'pay the rent', which was saved" in note(undisturbed, other)


def test_frames_are_numbered_without_a_hole_to_the_last_that_the_door_knows(undisturbed: Told) -> None:
    closed = a_real_call()[place_of(a_real_call(), "stream.closed", 1)]
    end = json.loads(closed.value)
    frames = [
        MediaReceived(call_id=end["call_id"], stream=end["stream"], sequence=number, ms=20 * number, payload=b"")
        for number in range(1, end["last_sequence"] + 1)
    ]
    events = list(a_real_call())
    assert note(undisturbed, replace(undisturbed, events=events, media=frames)) == ""
    for missing in (frames[1:], frames[:-1], [*frames[:7], *frames[8:]]):
        assert "1 frames of" in note(undisturbed, replace(undisturbed, events=events, media=missing))


def test_sound_that_goes_out_twice_is_doubled(undisturbed: Told) -> None:
    frames = [
        MediaSpoken(
            call_id="CA1", stream="MZ1", sequence=number, ms=0, payload=bytes(160), reply="r", sentence=0, offset_ms=at
        )
        for number, at in enumerate((0, 20, 20), 1)
    ]
    assert "20 ms of sentence 0 twice" in note(undisturbed, replace(undisturbed, media=frames))


# A line that was cut.


def test_after_a_cut_the_history_is_what_it_was(undisturbed: Told) -> None:
    cut = replace(undisturbed, said=[*SAID[:3], replace(SAID[3], whole=False)])
    assert compare(undisturbed, cut, cuts_the_line=True).none
    other = shown_without(cut, "Hello, this is your note taker.")
    assert "another history" in compare(undisturbed, other, cuts_the_line=True).note


def test_only_the_phrase_that_was_cut_may_be_missing(undisturbed: Told) -> None:
    cut = replace(undisturbed, said=[*SAID[:3], replace(SAID[3], whole=False)])
    assert compare(undisturbed, shown_without(cut, SAID[3].text), cuts_the_line=True).none
    found = compare(undisturbed, shown_without(cut, SAID[2].text), cuts_the_line=True)
    assert f"caller: {SAID[2].text!r}" in found.lost


def test_a_phrase_is_whole_if_a_socket_was_there_from_its_beginning_to_its_end() -> None:
    report = CallReport("CA1", duration_ms=20_000)
    report.turns = [Turn(text, begin, begin + 1000, False) for text, begin in (("a", 500), ("b", 4500), ("c", 5200))]
    report.turns += [Turn("d", 9000, 9999, False)]
    moments = ((Seen.STREAM_OPENED, 100), (Seen.STREAM_CLOSED, 5000), (Seen.STREAM_OPENED, 6000))
    found = utterances(report, [Observation(kind, at_ms) for kind, at_ms in moments])
    assert found == [
        Utterance("a", 1, 400, 1400),
        Utterance("b", 1, 4400, 5400, whole=False),
        Utterance("c", 1, 5100, 6100, whole=False),
        Utterance("d", 2, 3000, 3999),
    ]


# The verdict.


def test_a_case_whose_victim_never_died_is_not_ok(undisturbed: Told) -> None:
    outcome = judged(HEARING, undisturbed, placed(undisturbed, missed="the moment never came"))
    assert (outcome.ok, outcome.is_intact, outcome.note) == (False, True, "the moment never came")
    assert judged(HEARING, undisturbed, placed(undisturbed)).ok


def test_a_caller_who_missed_something_is_not_ok_unless_the_line_ended(undisturbed: Told) -> None:
    waited = placed(undisturbed, failures=["step 3: waited for reply"])
    assert not judged(HEARING, undisturbed, waited).ok
    assert judged(Case("supervisor", "mid-reply"), undisturbed, waited).ok


def test_a_call_goes_on_at_a_second_socket_if_and_only_if_its_first_went(undisturbed: Told) -> None:
    assert not judged(Case("ingest", "mid-reply"), undisturbed, placed(undisturbed)).ok
    assert not judged(HEARING, undisturbed, placed(undisturbed, streams=2)).ok
    assert judged(Case("ingest", "call ended"), undisturbed, placed(undisturbed)).ok


def test_the_table_says_the_command_the_machine_and_every_case() -> None:
    outcomes = [
        Outcome(HEARING, ok=True, quiet_ms=820, usual_ms=700),
        Outcome(Case("postgres", "mid-utterance"), note="a | b"),
    ]
    lines = list(as_markdown(Trial("calltape chaos", 2, 0.25, 17.4), outcomes))
    assert lines[0].startswith("`calltape chaos`: 1 of 2 cases ok, 2 calls; in the undisturbed call")
    assert lines[0].endswith(" for 700 ms at most; 17 minutes, 2 cores, load 0.2 before it began.")
    assert (
        lines[4]
        == "| hearing, mid-utterance | ok | 120 | its successor, which hears what was said meanwhile | 0 | 0 |  |"
    )
    assert lines[5].startswith("| postgres, mid-utterance | NOT OK | 0 |") and lines[5].endswith("| a / b |")
