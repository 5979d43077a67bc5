"""Whose turn an app shows and who is said to speak: the facts of a call, and the status after each."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.dialects.app import Track
from schema.call import CallEnded, CallStarted
from schema.envelope import Event
from schema.stream import PlaybackStarted
from schema.turn import (
    AgentChanged,
    ReplyFinished,
    ReplyInterrupted,
    ReplySentence,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TurnTaken,
)


def started(reply: str, why: Any = "turn", agent: str = "hero/triage") -> ReplyStarted:
    return ReplyStarted(id=reply, call_id="c", why=why, agent=agent)


def says(reply: str) -> ReplySentence:
    return ReplySentence(id=f"{reply}-0", call_id="c", reply=reply, index=0, text="Yes.")


def plays(reply: str) -> PlaybackStarted:
    return PlaybackStarted(id="p", call_id="c", stream="s", reply=reply, sentence=0)


def over(reply: str, *, interrupted: bool = False) -> ReplyFinished:
    return ReplyFinished(id="f", call_id="c", reply=reply, interrupted=interrupted)


CALL = CallStarted(id="c0", call_id="c", channel="mobile", agent="hero")
TURN = TurnTaken(id="t", call_id="c", utterances=(), text="x")
CALLS = ToolCalled(id="tool", call_id="c", reply="r1", name="save_item")
RETURNS = ToolReturned(id="back", call_id="c", call="tool", status="ok")
HANDS_OVER = AgentChanged(id="h", call_id="c", agent="hero/estimate")
CUT = ReplyInterrupted(id="i", call_id="c", reply="r1")
END = CallEnded(id="e", call_id="c", reason="request")

STORIES: dict[str, tuple[tuple[Event, ...], list[str]]] = {
    "a greeting": (
        (CALL, started("r0", "greeting"), says("r0"), plays("r0"), over("r0")),
        ["speaking triage", "listening triage"],
    ),
    "an answer": (
        (TURN, started("r1"), says("r1"), plays("r1"), over("r1")),
        ["processing", "speaking triage", "listening triage"],
    ),
    "a tool that returns after its wordless reply": (
        (TURN, started("r1"), CALLS, over("r1"), RETURNS, started("r2", "tool"), says("r2"), plays("r2"), over("r2")),
        ["processing", "speaking triage", "listening triage"],
    ),
    "a tool that returns before its wordless reply is over": (
        (TURN, started("r1"), CALLS, RETURNS, over("r1"), started("r2", "tool"), says("r2"), plays("r2"), over("r2")),
        ["processing", "speaking triage", "listening triage"],
    ),
    "a tool after words": (
        (TURN, started("r1"), says("r1"), CALLS, plays("r1"), over("r1"), RETURNS, started("r2", "tool"), plays("r2")),
        ["processing", "speaking triage", "listening triage", "speaking triage"],
    ),
    "a tool whose reply the caller cut": (
        (TURN, started("r1"), CALLS, CUT, over("r1", interrupted=True), RETURNS, started("r2", "tool"), plays("r2")),
        ["processing", "listening triage", "speaking triage"],
    ),
    "a wordless reply without a tool": ((TURN, started("r1"), over("r1")), ["processing", "listening triage"]),
    "a wordless hand-over": (
        (TURN, started("r1"), HANDS_OVER, over("r1"), started("r2", "handover", "hero/estimate"), plays("r2")),
        ["processing", "speaking estimate"],
    ),
    "a hand-over whose last words are spoken by who hands over": (
        (
            *(TURN, started("r1"), says("r1"), HANDS_OVER, plays("r1"), over("r1")),
            *(started("r2", "handover", "hero/estimate"), plays("r2"), over("r2")),
        ),
        ["processing", "speaking triage", "listening estimate", "speaking estimate", "listening estimate"],
    ),
    "a tool of an earlier turn is no answer to come": (
        (TURN, started("r1"), CALLS, RETURNS, over("r1"), TURN, started("r2"), over("r2")),
        ["processing", "listening triage"],
    ),
    "an end while a tool is open": ((TURN, started("r1"), CALLS, END, over("r1")), ["processing", "complete triage"]),
}


@pytest.mark.parametrize("name", sorted(STORIES))
def test_the_status_follows_the_turns_and_names_who_speaks(name: str) -> None:
    facts, statuses = STORIES[name]
    track, told = Track(), []
    for fact in facts:
        status = track.fact(fact)
        if status is not None:
            told.append(f"{status.value} {track.agent_name}".strip())
    assert told == statuses


def test_who_speaks_from_the_profile_that_the_call_began_with() -> None:
    track = Track()
    track.fact(CALL)
    assert track.agent_name == "hero"
    track.fact(started("r0", "greeting"))
    assert track.agent_name == "triage"
