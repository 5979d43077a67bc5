"""How a client names its session on each door; what can be no name begins nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ingest.dialects.app import BAD_SESSION
from ingest.dialects.app_dialect import State
from ingest.dialects.base import Answer, Began, Ignored, Problem
from ingest.dialects.call_control import CallControlDialect
from ingest.dialects.mobile import MobileDialect
from ingest.dialects.raw import RawDialect
from ingest.dialects.socketio import SocketioDialect
from tests.support.dialects import NOW_MS, SITES, coded
from tests.support.transcripts import sound

NOW: dict[str, Any] = {"now": lambda: NOW_MS, "new_session": lambda: "made-here"}
NO_NAMES = [5, True, False, 1.5, {}, {"id": "s1"}, [], ["s1"]]


def raw(**query: str) -> RawDialect:
    return RawDialect(tenant="acme", query=query, site_of=SITES.get, **NOW)


def mobile(kind: str, **fields: Any) -> Callable[[object], tuple[Any, str]]:
    return lambda name: (MobileDialect(**NOW), json.dumps({"type": kind, "session_id": name, **fields}))


STARTS: dict[str, Callable[[object], tuple[Any, str]]] = {
    "mobile": mobile("start_session", audio_format="opus"),
    "mobile by audio": mobile("audio_input", audio_data=coded(sound("opus", 20)), is_final=True),
    "mobile by words": mobile("text", text="hello"),
    "call": lambda name: (
        CallControlDialect(tenant="acme", **NOW),
        json.dumps({"type": "start_call", "call_id": name}),
    ),
    "raw": lambda name: (raw(), json.dumps({"type": "voice_start", "metadata": {"sessionId": name}})),
    "socketio": lambda name: (
        SocketioDialect(tenant="acme", site_of=SITES.get, **NOW),
        json.dumps(["voice:start", {"sessionId": name}]),
    ),
}


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
@pytest.mark.parametrize("door", STARTS)
def test_what_is_no_text_names_no_session(door: str, name: object) -> None:
    dialect, frame = STARTS[door](name)
    assert dialect.receive(frame, 0) == BAD_SESSION
    assert dialect.state is State.FRESH


@pytest.mark.parametrize("name", [None, ""])
@pytest.mark.parametrize("door", ["mobile", "call", "raw", "socketio"])
def test_who_names_none_gets_a_new_one(door: str, name: object) -> None:
    dialect, frame = STARTS[door](name)
    began = next(said for said in dialect.receive(frame, 0) if isinstance(said, Began))
    assert began.session == "made-here"


def test_an_app_that_has_begun_is_not_ended_by_a_message_of_no_session() -> None:
    dialect, start = STARTS["mobile"]("s1")
    dialect.receive(start, 0)
    assert dialect.receive(json.dumps({"type": "text", "session_id": 5, "text": "a"}), 0) == (Ignored("malformed"),)


@pytest.mark.parametrize("name", ["../../x", "a b", "x" * 65, "acme~s1", "s1\n", "é"])
def test_a_raw_client_is_not_ready_in_a_session_there_cannot_be(name: str) -> None:
    said = raw(sessionId=name).greet()
    assert said == BAD_SESSION
    assert isinstance(said[0], Problem) and said[0].code == "SESSION_INVALID"


@pytest.mark.parametrize("query", [{}, {"sessionId": ""}, {"sessionId": "s_1-A"}])
def test_a_raw_client_is_ready_in_its_session_or_a_new_one(query: dict[str, str]) -> None:
    (answer,) = raw(**query).greet()
    assert isinstance(answer, Answer)
    (frame,) = answer.frames
    assert json.loads(frame)["metadata"]["sessionId"] == (query.get("sessionId") or "made-here")
