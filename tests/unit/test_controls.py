"""Control characters in what callers type: gone from what comes in, seen in what is printed."""

from __future__ import annotations

import json
import unicodedata

import pytest

from calltape.terminal import emit, say, table
from ingest.dialects.app import read_session, read_text
from ingest.screen_tail import heard
from ingest.web.transcript import TimedFold, readable
from schema.controls import visible, without_controls
from tests.support.events import CALL, Tape

STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eabc\u2066\u200f\x7f\x00"
EVERY_CONTROL = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc"]
BIDI = [*"\u061c\u200e\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("hello", "hello"),
        ("  two\twords\r\nand more ", "two words  and more"),
        (STEERING, "]0;owned[2J31mabc"),
        ("\x1b\u202e", ""),
        ("שלום \N{WAVING HAND SIGN}\N{ZERO WIDTH JOINER}", "שלום \N{WAVING HAND SIGN}\N{ZERO WIDTH JOINER}"),
        (5, ""),
        (None, ""),
    ],
)
def test_what_is_typed_is_read_without_control_characters(typed: object, read: str) -> None:
    assert read_text(typed) == read


def test_no_control_character_is_left() -> None:
    assert set(without_controls("".join([*EVERY_CONTROL, *BIDI]))) == {" "}
    assert visible("".join([*EVERY_CONTROL, *BIDI])).translate({10: None, 9: None}).isprintable()


@pytest.mark.parametrize(
    ("value", "named"),
    [(None, ""), ("", ""), (" s1 ", "s1"), ("s\x001", "s\x001"), (5, None), (True, None), ({}, None)],
)
def test_a_session_is_named_by_text_as_it_is(value: object, named: str | None) -> None:
    assert read_session(value) == named


def test_what_is_printed_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"line\n{STEERING}")
    table(("text",), [(STEERING,)])
    emit({"text": STEERING})
    printed = capsys.readouterr().out
    assert "\\u001b]0;owned\\u0007" in printed and "\\u202eabc" in printed
    assert not set(printed) & {*EVERY_CONTROL, *BIDI} - {"\n"}
    assert json.loads(printed[printed.index("{") :]) == {"text": STEERING}


def test_a_transcript_of_an_old_log_steers_no_terminal() -> None:
    tape, fold = Tape(CALL), TimedFold(CALL, lambda tenant, user: True)
    tape.say("call.started")
    tape.say("stream.opened")
    tape.say("text.typed", text=STEERING)
    for record in tape.records:
        item = heard(record)
        assert item is not None
        fold.follow(item)
    text = readable(fold)
    assert "\\u001b]0;owned\\u0007" in text
    assert not set(text) & {*EVERY_CONTROL, *BIDI} - {"\n"}
