"""A caller is handed from one agent to another and is understood by both: whole calls with the offline engines."""

from __future__ import annotations

from pathlib import Path

from clients.script import Hangup, Say, Step, WaitFor
from schema.envelope import AnyEvent
from schema.turn import AgentChanged, ReplyStarted, ToolCalled
from tests.support.calls import running

GREETED = WaitFor(wait_for="reply", timeout_ms=40_000)
ANSWERED = WaitFor(wait_for="reply", timeout_ms=40_000)
STEPS: tuple[Step, ...] = (
    GREETED,
    Say(say="i need an estimate for a new roof"),
    ANSWERED,  # triage: I'll connect you with estimates
    ANSWERED,  # estimate: what's the address
    Say(say="the address is twelve washington street"),
    ANSWERED,
    Say(say="that's right"),
    ANSWERED,
    Hangup(),
)


async def test_an_estimate_is_asked_for_at_the_front_desk_and_made_by_its_agent(tmp_path: Path) -> None:
    async with running(tmp_path, agent="hero") as world:
        report = await world.call(*STEPS)
        events: list[AnyEvent] = await world.events(report.call_id)
        shown = await world.shown(report.call_id)
    assert report.violations == []
    assert [e.agent for e in events if isinstance(e, AgentChanged)] == ["hero/estimate"]
    assert "handover" in [e.why for e in events if isinstance(e, ReplyStarted)]
    assert {e.agent for e in events if isinstance(e, ReplyStarted)} == {"hero/triage", "hero/estimate"}
    # Only the second agent's grammar has addresses behind "the address is": hearing listens with it.
    (tool,) = [e for e in events if isinstance(e, ToolCalled)]
    assert tool.arguments["kind"] == "estimate" and "washington street" in str(tool.arguments["address"])
    assert [action["kind"] for action in shown["actions"]] == ["estimate"]
