"""What the server sends is judged as the carrier judges it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.strict import BINARY_FRAME, INVALID_MESSAGE, Clear, Mark, Media, Violation, judge

SID = "MZ1"
MEDIA = {"event": "media", "streamSid": SID, "media": {"payload": "/38="}}
MARK = {"event": "mark", "streamSid": SID, "mark": {"name": "m-17"}}
CLEAR = {"event": "clear", "streamSid": SID}


def judged(message: Any) -> object:
    return judge(json.dumps(message), SID)


def test_the_three_documented_messages_are_understood() -> None:
    assert judged(MEDIA) == Media(b"\xff\x7f")
    assert judged(MARK) == Mark("m-17")
    assert judged(CLEAR) == Clear()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({**MEDIA, "timestamp": 1}, "media has extra ['timestamp']"),
        ({**MEDIA, "media": {"payload": "/38=", "track": "outbound"}}, "media has extra ['track']"),
        ({**MEDIA, "media": {"payload": "no base64!"}}, "not base64"),
        ({**MEDIA, "media": {"payload": "abc"}}, "not base64"),
        ({**MEDIA, "media": {"payload": 5}}, "must be a string"),
        ({**MEDIA, "media": "/38="}, "media must be an object"),
        ({"event": "media", "media": {"payload": ""}}, "lacks ['streamSid']"),
        ({**MARK, "mark": {}}, "mark lacks ['name']"),
        ({**MARK, "mark": {"name": 3}}, "must be a string"),
        ({**CLEAR, "streamSid": "MZ2"}, "is not this stream's"),
        ({"event": "transcript", "streamSid": SID}, "unknown event 'transcript'"),
        ({"event": ["clear"], "streamSid": SID}, "unknown event"),
        ([CLEAR], "expected a JSON object"),
    ],
)
def test_anything_else_is_a_violation_that_says_what_was_wrong(message: Any, why: str) -> None:
    violation = judged(message)
    assert isinstance(violation, Violation)
    assert violation.code == INVALID_MESSAGE
    assert why in violation.text


def test_binary_frames_have_their_own_warning() -> None:
    violation = judge(b"{}", SID)
    assert isinstance(violation, Violation)
    assert violation.code == BINARY_FRAME


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_no_frame_whatever_breaks_the_judge(frame: str | bytes) -> None:
    assert isinstance(judge(frame, SID), Violation)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(st.fixed_dictionaries({"event": st.sampled_from(["media", "mark", "clear"]), "streamSid": JSON, "media": JSON}))
def test_no_message_whatever_breaks_the_judge(message: dict[str, Any]) -> None:
    assert isinstance(judged(message), Violation)
