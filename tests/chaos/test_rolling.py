"""Every process is replaced while people talk: real processes, real sockets, one call after the other compared."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from calltape.chaos.compare import Told, compare
from clients.report import Seen
from clients.script import Hangup, Say, Script, WaitFor
from schema.envelope import type_of
from schema.stream import StreamClosed
from schema.turn import ReplyStarted, TurnTaken
from tests.support.crowd import Crowd, Visit, believed, crowd, new_visit, until_seen, was_cut
from tests.support.processes import eventually

pytestmark = pytest.mark.long

CALLERS = 10
CHILDREN = ("ingest", "hearing:1", "conversation:1", "projector:1", "summariser:1", "recorder:1")
SCRIPT = Script(
    steps=(
        WaitFor(wait_for="reply"),
        Say(say="remind me to pay the rent on monday"),
        WaitFor(wait_for="reply"),
        Say(say="yes that is right"),
        WaitFor(wait_for="reply"),
        Say(say="that is all thank you"),
        WaitFor(wait_for="hangup", required=False, timeout_ms=20_000),
        Hangup(),
    )
)
QUESTION = "what can you do"
ASKED_AGAIN = ["Sorry, the line was interrupted.", "Could you say that again?"]


async def told(house: Crowd, visit: Visit) -> Told:
    shown = await house.finished(visit.call_id)
    assert visit.report is not None
    return Told(shown, visit.report.heard, visit.report.caller, await house.media(visit.call_id))


async def test_all_roles_are_replaced_under_ten_live_calls(tmp_path: Path) -> None:
    async with crowd(tmp_path) as house:
        undisturbed = await told(house, await house.visit(SCRIPT))
        visits = [new_visit() for _ in range(CALLERS)]
        async with asyncio.TaskGroup() as tasks:
            for visit in visits:
                tasks.create_task(house.visit(SCRIPT, visit))
            await until_seen(visits, lambda visit: visit.has_seen(Seen.AGENT_STARTED))
            await house.renew()
        assert [len(house.starts(child)) for child in CHILDREN] == [2] * len(CHILDREN)
        for visit in visits:
            assert visit.report is not None and visit.report.ok, visit.report
            events = believed(await house.events(visit.call_id))
            difference = compare(undisturbed, await told(house, visit), cuts_the_line=was_cut(events))
            assert difference.none, (visit.call_id, difference.note)
            replies = [event.in_answer_to for event in events if isinstance(event, ReplyStarted)]
            assert len(replies) == len(set(replies)), "nothing is answered twice"
    assert [len(visit.gaps_ms) for visit in visits] == [1] * CALLERS, "each caller was handed over once"


async def test_a_caller_whose_line_goes_in_mid_sentence_is_asked_to_say_it_again(tmp_path: Path) -> None:
    steps = (WaitFor(wait_for="reply"), Say(say=QUESTION), WaitFor(wait_for="reply"), Say(say=QUESTION))
    script = Script(steps=(*steps, WaitFor(wait_for="reply"), Hangup()))
    async with crowd(tmp_path, drain_s=0.1) as house:
        visit = new_visit()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(house.visit(script, visit))

            async def is_speaking() -> bool:
                return any(type_of(event) == "speech.started" for event in await house.events(visit.call_id))

            await eventually(is_speaking)
            # No time for a quiet moment: as when one member is stopped in a hurry.
            os.kill(house.starts("ingest")[-1], signal.SIGTERM)
        shown = await house.finished(visit.call_id)
        events = believed(await house.events(visit.call_id))
    assert was_cut(events)
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["restart", "stop"]
    said = [line["said"] for line in shown["transcript"] if line["speaker"] == "agent"]
    assert said[2:4] == ASKED_AGAIN
    assert len(said) > 4, "and what is said again is answered"
    assert [event.text for event in events if isinstance(event, TurnTaken)][-1] == QUESTION
