"""Twilio's dialect against everything: nothing breaks it, and all it says is exactly what the carrier accepts."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.gaps import LONGEST_GAP_MS
from clients.strict import Clear, Mark, Media, judge
from ingest.dialects.base import Began, Digit, Ended, Frame, Ignored, MarkEchoed, Repeated, Said, Violation
from ingest.dialects.twilio import State, TwilioDialect
from tests.support.dialects import shapes

START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": "1",
    "streamSid": "MZ1",
    "start": {
        "accountSid": "AC1",
        "streamSid": "MZ1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"agent": "notes"},
    },
}
VALID: list[dict[str, Any]] = [
    {"event": "connected", "protocol": "Call", "version": "1.0.0"},
    START,
    {
        "event": "media",
        "sequenceNumber": "4",
        "streamSid": "MZ1",
        "media": {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": "//8="},
    },
    {
        "event": "dtmf",
        "streamSid": "MZ1",
        "sequenceNumber": "5",
        "dtmf": {"track": "inbound_track", "digit": "1"},
    },
    {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "my label"}},
    {"event": "stop", "sequenceNumber": "5", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}},
]
SAID = (Began, Frame, Repeated, Digit, MarkEchoed, Ended, Ignored, Violation)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> str | bytes:
    """A valid message with one place replaced, removed or added to; or its text cut or flipped somewhere."""
    message = copy.deepcopy(draw(st.sampled_from(VALID)))
    place = draw(st.sampled_from([path for path in _places(message) if path]))
    owner: Any = message
    for key in place[:-1]:
        owner = owner[key]
    change = draw(st.sampled_from(["replace", "remove", "extra", "cut", "nothing"]))
    if change == "replace":
        owner[place[-1]] = draw(shapes)
    elif change == "remove":
        del owner[place[-1]]
    elif change == "extra":
        message[draw(st.text(max_size=8))] = draw(shapes)
    text = json.dumps(message, ensure_ascii=draw(st.booleans()))
    if change == "cut":
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=2)) + text[at + draw(st.integers(0, 2)) :]
    return text.encode("utf-8", "surrogatepass") if draw(st.integers(0, 9)) == 0 else text


anything = mutated() | st.text() | st.binary() | shapes.map(json.dumps)


def _checked(dialect: TwilioDialect, frame: str | bytes) -> tuple[Said, ...]:
    before = dialect.state
    said = dialect.receive(frame, 0)
    assert all(isinstance(one, SAID) for one in said)
    order = list(State)
    assert order.index(dialect.state) >= order.index(before)
    if before is State.STOPPED:
        assert all(isinstance(one, Ignored | Violation) for one in said)
    return said


@given(st.lists(anything, max_size=30), st.booleans(), st.booleans())
def test_nothing_that_comes_breaks_it_and_all_it_says_fits_64_bits(
    received: list[str | bytes], dev: bool, begun: bool
) -> None:
    dialect = TwilioDialect(dev=dev)
    if begun:
        assert isinstance(dialect.receive(json.dumps(START), 0)[0], Began)
    last_ms = 0
    lost = 0
    for frame in received:
        for said in _checked(dialect, frame):
            if isinstance(said, Frame):
                assert said.payload
                assert last_ms <= said.ms < 1 << 53
                last_ms = said.ms
                lost += said.lost
                assert said.lost >= 0 and lost < 1 << 53
            elif isinstance(said, Violation):
                assert said.close_code in (1002, 1008)


@given(st.lists(st.binary() | st.text(max_size=5), min_size=20, max_size=25))
def test_twenty_messages_in_a_row_that_make_no_sense_are_the_end(frames: list[str | bytes]) -> None:
    dialect = TwilioDialect()
    said = [one for frame in frames for one in dialect.receive(frame, 0)]
    first = next(index for index, one in enumerate(said) if isinstance(one, Violation))
    assert first == 20
    assert all(isinstance(one, Ignored) for one in said[:first])


def test_one_that_makes_sense_forgives_nineteen_that_did_not() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    for _ in range(3):
        assert [type(dialect.receive(b"", 0)[0]) for _ in range(19)] == [Ignored] * 19
        dialect.receive(json.dumps(VALID[4]), 0)
    assert dialect.state is State.OPEN


@given(
    st.binary(min_size=1, max_size=2_000), st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))
)
def test_what_it_says_is_read_back_as_it_was_meant(payload: bytes, mark: str, sid: str) -> None:
    dialect = TwilioDialect(dev=True)
    dialect.receive(json.dumps({"event": "start", "streamSid": sid, "start": {"streamSid": sid}}), 0)
    assert judge(dialect.audio(payload), sid) == Media(payload)
    assert judge(dialect.mark(mark), sid) == Mark(mark)
    assert judge(dialect.clear(), sid) == Clear()


# At most as far from the beginning as a gap is believed.
@given(st.binary(min_size=1), st.integers(1, LONGEST_GAP_MS // 20), st.booleans())
def test_counters_are_text_or_numbers(payload: bytes, chunk: int, as_text: bool) -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    body = {
        "payload": base64.b64encode(payload).decode(),
        "chunk": str(chunk) if as_text else chunk,
        "timestamp": str(chunk * 20) if as_text else chunk * 20,
    }
    frame = json.dumps({"event": "media", "streamSid": "MZ1", "sequenceNumber": chunk, "media": body})
    assert dialect.receive(frame, 0) == (Frame(payload, chunk * 20),)


def _dtmf(sequence: int) -> str:
    return json.dumps({"event": "dtmf", "streamSid": "MZ1", "sequenceNumber": sequence, "dtmf": {"digit": "7"}})


def test_a_leap_of_the_message_counter_does_not_silence_the_keys() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    dialect.receive(_dtmf(10**15), 0)
    assert dialect.receive(_dtmf(3), 0) == (Digit("7"),)
    assert dialect.receive(_dtmf(3), 0) == (Repeated(),)


def test_a_frame_without_audio_is_not_missed() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    lost = []
    for chunk, payload in ((1, "//8="), (2, ""), (3, "//8=")):
        body = {"payload": payload, "chunk": chunk, "timestamp": chunk * 20}
        frame = json.dumps({"event": "media", "streamSid": "MZ1", "sequenceNumber": chunk + 1, "media": body})
        lost += [said.lost for said in dialect.receive(frame, 0) if isinstance(said, Frame)]
    assert lost == [0, 0]


@pytest.mark.parametrize("payload", ["%%%", "//8", "_-8=", "/ /8=", "é"])
def test_base64_that_is_not_is_skipped(payload: str) -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    message = {**VALID[2], "media": {**VALID[2]["media"], "payload": payload}}
    assert dialect.receive(json.dumps(message), 0) == (Ignored("malformed"),)


@pytest.mark.parametrize(
    "wire",
    [{"encoding": "audio/opus"}, {"sampleRate": 16000}, {"channels": 2}, {"sampleRate": "8 kHz"}],
    ids=["opus", "16 kHz", "stereo", "no number"],
)
def test_another_format_is_refused(wire: dict[str, Any]) -> None:
    start = {**START, "start": {**START["start"], "mediaFormat": {**START["start"]["mediaFormat"], **wire}}}
    said = TwilioDialect().receive(json.dumps(start), 0)
    assert [one.kind for one in said if isinstance(one, Violation)] == ["unsupported_format"]


def test_the_same_start_again_is_ignored_whatever_else_it_carries() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    again = {**START, "sequenceNumber": "9", "start": {**START["start"], "customParameters": {}}}
    assert dialect.receive(json.dumps(again), 0) == (Ignored("repeated_start"),)


@pytest.mark.parametrize("message", [m for m in VALID if m["event"] in ("media", "dtmf", "mark", "stop")])
def test_another_streams_messages_are_not_ours(message: dict[str, Any]) -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    assert dialect.receive(json.dumps({**message, "streamSid": "MZ2"}), 0) == (Ignored("other_stream"),)
    assert dialect.state is State.OPEN
