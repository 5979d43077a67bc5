"""Every process is replaced while people talk: real processes, real sockets, one call after the other compared."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from calltape.chaos.compare import Told, compare
from calltape.keeper import LEAVING
from calltape.local.parts import StandsOn
from clients.report import Seen
from clients.script import Hangup, Say, Script, WaitFor
from schema.envelope import type_of
from schema.stream import StreamClosed
from schema.turn import ReplyStarted, TurnTaken
from scripts import local_kafka, local_postgres
from tests.support.crowd import Crowd, Visit, believed, crowd, new_visit, until_seen, was_cut
from tests.support.needs import require_or_skip
from tests.support.processes import eventually

pytestmark = pytest.mark.long

CALLERS = 10
PATIENCE_MS = 120_000  # a busy machine takes long to start a worker
CHILDREN = ("ingest", "hearing:1", "conversation:1", "projector:1", "summariser:1", "recorder:1")
WISH = "remind me to pay the rent on monday"


def script(wishes: int) -> Script:
    """So many reminders, each confirmed, and a goodbye."""
    texts = [*[WISH, "yes that is right"] * wishes, "that is all thank you"]
    said = [step for text in texts for step in (WaitFor(wait_for="reply", timeout_ms=PATIENCE_MS), Say(say=text))]
    return Script(steps=(*said, WaitFor(wait_for="hangup", required=False, timeout_ms=20_000), Hangup()))


ASKED_AGAIN = ["Sorry, the line was interrupted.", "Could you say that again?"]


async def told(house: Crowd, visit: Visit) -> Told:
    shown = await house.finished(visit.call_id)
    assert visit.report is not None
    return Told(shown, visit.report.heard, visit.report.caller, await house.media(visit.call_id))


def require(ground: StandsOn) -> None:
    """Skips the test where the ground is missing."""
    if ground == "kafka":
        for name, problem in (("kafka", local_kafka.missing()), ("postgres", local_postgres.missing())):
            if problem:
                require_or_skip(name, problem)


# A member of a group on Kafka needs longer to come back, and each call has to outlast the restart of all.
@pytest.mark.parametrize(("ground", "wishes"), [("sqlite", 1), ("kafka", 3)])
async def test_all_roles_are_replaced_under_ten_live_calls(tmp_path: Path, ground: StandsOn, wishes: int) -> None:
    require(ground)
    spoken = script(wishes)
    async with crowd(tmp_path, ground=ground) as house:
        undisturbed = await told(house, await house.visit(spoken))
        visits = [new_visit() for _ in range(CALLERS)]
        async with asyncio.TaskGroup() as tasks:
            for visit in visits:
                tasks.create_task(house.visit(spoken, visit))
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


async def test_a_door_that_is_stopped_from_outside_hands_its_calls_to_a_successor_and_loses_no_word(
    tmp_path: Path,
) -> None:
    async with crowd(tmp_path) as house:
        visits = [new_visit() for _ in range(3)]
        async with asyncio.TaskGroup() as tasks:
            for visit in visits:
                tasks.create_task(house.visit(script(1), visit))
            await until_seen(visits, lambda visit: visit.has_seen(Seen.AGENT_STARTED))
            await house.replace_door()
        assert len(house.starts("ingest")) == 2
        # Its successor is open before it lets anybody go.
        opened, left = house.said_at("calltape listens"), house.said_at("Handing over")
        assert len(opened) == 2 and opened[1] < left[0]
        for visit in visits:
            assert visit.report is not None and visit.report.ok, visit.report
            shown = await house.finished(visit.call_id)
            said = [line["said"] for line in shown["transcript"] if line["speaker"] == "caller"]
            assert said == [step.say for step in script(1).steps if isinstance(step, Say)]
            assert [action["kind"] for action in shown["actions"]] == ["reminder"]
            closed = [event for event in await house.events(visit.call_id) if isinstance(event, StreamClosed)]
            assert len(closed) == 2 and closed[0].reason == "restart", "handed over once"


async def test_a_caller_whose_line_goes_in_mid_sentence_is_asked_to_say_it_again(tmp_path: Path) -> None:
    # Said to its end before the next door can hear any of it: the rest would be an answer.
    steps = (WaitFor(wait_for="reply"), Say(say="remind me to pay"), WaitFor(wait_for="reply"), Say(say=WISH))
    spoken = Script(steps=(*steps, WaitFor(wait_for="reply"), Hangup()))
    async with crowd(tmp_path, drain_s=0.1) as house:
        visit = new_visit()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(house.visit(spoken, visit))

            async def is_speaking() -> bool:
                return any(type_of(event) == "speech.started" for event in await house.events(visit.call_id))

            async def has_been_told() -> bool:
                return bool(house.said_at(LEAVING))

            await eventually(is_speaking)
            # Once more, by who does not wait for a successor: nor is there time for a quiet moment.
            door = house.starts("ingest")[-1]
            os.kill(door, signal.SIGTERM)
            await eventually(has_been_told)
            os.kill(door, signal.SIGTERM)
        shown = await house.finished(visit.call_id)
        events = believed(await house.events(visit.call_id))
    assert was_cut(events)
    assert [event.reason for event in events if isinstance(event, StreamClosed)] == ["restart", "stop"]
    said = [line["said"] for line in shown["transcript"] if line["speaker"] == "agent"]
    assert said[2:4] == ASKED_AGAIN
    assert len(said) > 4, "and what is said again is answered"
    assert [event.text for event in events if isinstance(event, TurnTaken)][-1] == WISH
