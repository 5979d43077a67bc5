"""What the tables say of a call, event by event."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sqlalchemy import Table

from projections import tables
from schema.insight import KeyPoint
from schema.private import Sealed
from tests.support.databases import Database
from tests.support.events import BEGAN_AT, STREAM, Tape, a_whole_call, an_exchange


@pytest.fixture
def tape() -> Tape:
    tape = Tape()
    tape.say("call.started")
    tape.say("profile.used")
    tape.say("stream.opened", after_ms=400)
    return tape


def rows(database: Database, tape: Tape, table: Table) -> list[dict[str, Any]]:
    database.apply(tape.records)
    return database.rows(table)


def a_line(database: Database, tape: Tape, speaker: str = "agent") -> dict[str, Any]:
    (line,) = [row for row in rows(database, tape, tables.lines) if row["speaker"] == speaker]
    return line


def test_a_call_is_keyed_by_its_beginning(database: Database) -> None:
    tape = a_whole_call()
    (call,) = rows(database, tape, tables.calls)

    assert call["life"] == tape.states[tape.call_id].life
    assert (call["channel"], call["from_number"], call["to_number"]) == ("twilio", "+15550100001", "+15550100002")
    assert (call["started_at"], call["reason"], call["complete"]) == (BEGAN_AT, "agent_goodbye", True)
    assert call["duration_ms"] == call["ended_at"] - call["started_at"]
    assert (call["turns"], call["events"], call["void"]) == (2, len(tape.records), 0)
    assert (call["profile_hash"], call["engine"], call["model"]) == ("c0ffee", "rules", "notes")
    assert (call["stt_engine"], call["tts_engine"]) == ("pocketsphinx", "espeak")


def test_a_call_id_that_begins_again_is_another_life(database: Database) -> None:
    tape = a_whole_call(tape=a_whole_call())

    assert [call["events"] for call in rows(database, tape, tables.calls)] == [46, 46]


def test_void_events_are_counted_and_nothing_else(database: Database, tape: Tape) -> None:
    tape.say("call.started")  # a resume
    tape.say("turn.taken", prior="a-zombie's")
    tape.say("call.ended", call_id="never-begun")
    (call,) = rows(database, tape, tables.calls)

    assert (call["events"], call["void"], call["turns"], call["ended_at"]) == (3, 2, 0, None)


def test_a_callers_line_stands_on_the_calls_own_clock(database: Database, tape: Tape) -> None:
    tape.say("transcript.settled", after_ms=5_000, start_ms=2_000, end_ms=3_500)
    line = a_line(database, tape, "caller")

    assert (line["start_ms"], line["end_ms"]) == (2_400, 3_900)  # the stream opened 400 ms into the call
    assert (line["confidence"], line["language"], line["engine"]) == (0.75, "en-US", "pocketsphinx")


def test_typed_text_and_keys_are_lines_too(database: Database, tape: Tape) -> None:
    tape.say("text.typed", after_ms=100, text="buy milk")
    tape.say("dtmf.pressed", after_ms=100, digit="5")

    said = [(row["kind"], row["text"], row["start_ms"]) for row in rows(database, tape, tables.lines)]
    assert said == [("text", "buy milk", 500), ("dtmf", "5", 600)]


def test_a_sentence_never_played_was_not_heard(database: Database, tape: Tape) -> None:
    tape.say("reply.sentence", reply="r")
    tape.say("reply.voiced", reply="r")
    tape.say("playback.cleared", reply="r", heard_ms=0)
    tape.say("reply.finished", reply="r", interrupted=True)
    line = a_line(database, tape)

    assert (line["heard_text"], line["start_ms"], line["end_ms"]) == ("", None, None)


def test_an_interrupted_sentence_is_cut_to_the_words_that_were_heard(database: Database, tape: Tape) -> None:
    tape.say("reply.sentence", reply="r", text="one two three four")
    tape.say("reply.voiced", reply="r", duration_ms=1_800)
    tape.say("playback.started", reply="r", after_ms=100)
    tape.say("playback.cleared", reply="r", heard_ms=800, after_ms=810)
    line = a_line(database, tape)

    assert (line["text"], line["heard_text"]) == ("one two three four", "one two")
    # Written at 500, and 800 ms of it heard by 1310: its first word was heard at 510.
    assert (line["start_ms"], line["end_ms"]) == (510, 1_310)


def test_a_sentence_marked_to_its_end_was_heard_whole_and_stays_so(database: Database, tape: Tape) -> None:
    tape.say("reply.sentence", reply="r", text="one two three four")
    tape.say("reply.voiced", reply="r", duration_ms=1_800)
    tape.say("playback.started", reply="r")
    tape.say("playback.marked", reply="r", heard_ms=1_700, last=True)
    tape.say("playback.cleared", reply="r", heard_ms=900, estimated=True)

    assert a_line(database, tape)["heard_text"] == "one two three four"


def test_a_sentence_goes_on_after_a_false_interruption(database: Database, tape: Tape) -> None:
    tape.say("reply.sentence", reply="r", text="one two three four")
    tape.say("reply.voiced", reply="r", duration_ms=1_800)
    tape.say("playback.started", reply="r", after_ms=100)
    tape.say("playback.cleared", reply="r", heard_ms=800, after_ms=800)
    tape.say("playback.started", reply="r", offset_ms=700, after_ms=1_000)
    tape.say("playback.marked", reply="r", heard_ms=1_800, last=True, after_ms=1_100)
    line = a_line(database, tape)

    assert (line["heard_text"], line["start_ms"], line["end_ms"]) == ("one two three four", 500, 3_400)


def test_a_sentence_cut_before_its_length_was_known_is_cut_by_a_common_pace(database: Database, tape: Tape) -> None:
    tape.say("reply.sentence", reply="r", text="one two three four")
    tape.say("playback.started", reply="r")
    tape.say("playback.cleared", reply="r", heard_ms=600)

    assert a_line(database, tape)["heard_text"] == "one two"


def test_a_reply_given_as_text_alone_was_read(database: Database, tape: Tape) -> None:
    tape.say("reply.sentence", reply="r", text="one two")
    tape.say("reply.finished", reply="r")

    assert a_line(database, tape)["heard_text"] == "one two"


def test_sealed_words_stay_sealed_and_are_never_cut(database: Database, tape: Tape) -> None:
    secret = Sealed(key="k1", sealed=base64.b64encode(b"words").decode())
    tape.say("reply.sentence", reply="r", text=secret)
    tape.say("reply.voiced", reply="r", duration_ms=1_800)
    tape.say("playback.marked", reply="r", heard_ms=800, last=False)
    line = a_line(database, tape)

    assert line["text"] == '{"key":"k1","sealed":"d29yZHM="}'
    assert line["heard_text"] is None


def test_a_turn_names_its_utterances_its_reply_and_its_profile(database: Database, tape: Tape) -> None:
    reply = an_exchange(tape, "buy milk", "I will.")
    (turn,) = rows(database, tape, tables.turns)

    assert (turn["number"], turn["text"], turn["reply"]) == (1, "buy milk", reply.id)
    assert (turn["agent"], turn["profile_hash"]) == ("notes", "c0ffee")
    assert [row["id"] for row in rows(database, tape, tables.lines) if row["speaker"] == "caller"] == turn["utterances"]


def test_a_reply_keeps_the_latency_of_every_stage(database: Database, tape: Tape) -> None:
    reply = an_exchange(tape, "buy milk", "I will.")
    tape.say("reply.finished", reply=reply.id)
    (row,) = rows(database, tape, tables.replies)

    stages = ("endpoint", "stt", "agent_ms", "tts", "first_audio", "heard", "barge_in")
    assert [row[stage] for stage in stages] == [300, 120, 4, 35, 350, 1_800, None]


def test_barge_in_counts_from_the_speech_that_caused_it_to_silence(database: Database, tape: Tape) -> None:
    reply = an_exchange(tape, "buy milk", "I will.")
    speech = tape.say("speech.started", after_ms=700)
    tape.say("reply.interrupted", reply=reply.id, cause=speech.id, after_ms=5)
    tape.say("playback.cleared", reply=reply.id, after_ms=12)
    tape.say("playback.cleared", reply=reply.id, sentence=1, after_ms=50)
    (row,) = rows(database, tape, tables.replies)

    assert (row["interrupted"], row["interrupted_why"], row["barge_in"]) == (True, "barge_in", 17)


def test_barge_in_ends_with_the_silence_though_the_log_was_told_late(database: Database, tape: Tape) -> None:
    reply = an_exchange(tape, "buy milk", "I will.")
    speech = tape.say("speech.started", after_ms=700)
    tape.say("reply.interrupted", reply=reply.id, cause=speech.id, after_ms=5)
    at_ms = tape.at - BEGAN_AT - 400 + 12  # the stream opened 400 ms into the call
    tape.say("playback.cleared", reply=reply.id, at_ms=at_ms, after_ms=30_000)
    (row,) = rows(database, tape, tables.replies)

    assert row["barge_in"] == 17


@pytest.mark.parametrize(("at_ms", "expected"), [(700, (500, 1_100)), (0, (5_400, 6_000))])
def test_a_line_stands_where_its_stream_says_or_else_the_log(
    database: Database, tape: Tape, at_ms: int, expected: tuple[int, int]
) -> None:
    """An older ingest says no time of its own."""
    tape.say("reply.sentence", reply="r", text="one two")
    tape.say("playback.started", reply="r", at_ms=at_ms and 100, after_ms=5_000)
    tape.say("playback.marked", reply="r", heard_ms=600, last=True, at_ms=at_ms, after_ms=600)
    line = a_line(database, tape)

    assert (line["start_ms"], line["end_ms"]) == expected


def test_a_false_interruption_is_none_in_the_end(database: Database, tape: Tape) -> None:
    reply = an_exchange(tape, "buy milk", "I will.")
    speech = tape.say("speech.started")
    tape.say("reply.interrupted", reply=reply.id, cause=speech.id)
    tape.say("reply.resumed", reply=reply.id, why="false_barge_in")
    (row,) = rows(database, tape, tables.replies)

    assert (row["interrupted"], row["interrupted_why"], row["generation"]) == (False, "", 2)


@pytest.mark.parametrize("named_by", ["tool.called", "tool.returned"])
def test_a_reply_after_a_tool_belongs_to_the_turn_that_wanted_it(database: Database, tape: Tape, named_by: str) -> None:
    asked = an_exchange(tape, "buy milk", "")
    called = tape.say("tool.called", reply=asked.id)
    returned = tape.say("tool.returned", call=called.id)
    tape.say("reply.started", why="tool", in_answer_to=called.id if named_by == "tool.called" else returned.id)
    first, second = rows(database, tape, tables.replies)

    assert second["turn"] == first["turn"] == rows(database, tape, tables.turns)[0]["id"]


def test_a_tool_is_open_until_it_returns(database: Database, tape: Tape) -> None:
    called = tape.say("tool.called", after_ms=100)
    (tool,) = rows(database, tape, tables.tools)
    assert (tool["name"], tool["arguments"], tool["status"]) == ("save_note", {"text": "buy milk"}, "")

    tape.say("tool.returned", call=called.id, status="unknown", after_ms=50)
    (tool,) = rows(database, tape, tables.tools)
    assert (tool["status"], tool["called_ms"], tool["returned_ms"]) == ("unknown", 500, 550)


def test_streams_are_numbered_as_they_open_and_keep_their_last_measurement(database: Database, tape: Tape) -> None:
    tape.say("stream.measured", frames=250)
    tape.say("stream.measured", frames=500, ping_ms=None)
    tape.say("stream.opened", stream="MZ2", source="MZ2")
    tape.say("stream.superseded", stream=STREAM, by="MZ2")
    tape.say("stream.closed", reason="superseded")
    tape.say("stream.degraded", stream="MZ2", source="MZ2")
    first, second = rows(database, tape, tables.streams)

    assert (first["epoch"], first["superseded_by"], first["close_reason"]) == (1, "MZ2", "superseded")
    assert (second["epoch"], second["degraded"], second["closed_at"]) == (2, 1, None)
    (measured,) = rows(database, tape, tables.measurements)
    assert (measured["frames"], measured["ping_ms"], measured["client"]) == (500, None, {"battery": 0.5})


def test_each_revision_of_a_summary_is_kept_and_said_twice_is_replaced(database: Database, tape: Tape) -> None:
    points = (KeyPoint(text="one", cites=("a",)), KeyPoint(text="two", cites=("b", "c")))
    tape.say("call.summarised", revision=1, key_points=points)
    tape.say("call.summarised", revision=2, summary="better", key_points=points[:1])
    tape.say("call.summarised", revision=2, summary="best", key_points=points[1:])

    assert [row["summary"] for row in rows(database, tape, tables.summaries)][1:] == ["best"]
    kept = [(row["revision"], row["text"], row["cites"]) for row in rows(database, tape, tables.key_points)]
    assert kept == [(1, "one", ["a"]), (1, "two", ["b", "c"]), (2, "two", ["b", "c"])]


def test_work_that_failed_is_on_the_record(database: Database, tape: Tape) -> None:
    tape.say("work.failed", code="timeout")
    (failure,) = rows(database, tape, tables.failures)

    assert (failure["stage"], failure["code"], failure["retryable"]) == ("stt", "timeout", True)


def test_a_sealed_call_keeps_no_speech_moments(database: Database) -> None:
    assert rows(database, a_whole_call(), tables.speech_moments) == []
