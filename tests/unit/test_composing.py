"""What an agent says becomes drafts; what is on the log already is not said again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from schema.envelope import Event, type_of
from tests.support.runtimes import on_virtual_time
from workers.agents import CallTool, Conversation, HandOver, HangUp, Said, Say
from workers.composing import AGENT_TIMEOUT_S, Composer
from workers.engines.port import EngineError, MadeBy
from workers.talk import Reply, Sentence


class Script:
    """Says these; an exception is raised, a number of seconds waited."""

    def __init__(self, *steps: Said | Exception | float) -> None:
        self.steps = steps

    def made_by(self) -> MadeBy:
        return MadeBy("script", "script", "")

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield step


def composed(
    *steps: Said | Exception | float, said: Sequence[str] = (), tools: int = 0, stop: bool = False, last_word: str = ""
) -> list[Any]:
    async def story() -> list[Event]:
        emitted: list[Event] = []
        ids = count(1)
        sentences = tuple(Sentence(f"s{n}", n, text, 0) for n, text in enumerate(said))
        composer = Composer(
            Script(*steps),
            Conversation("turn", (), datetime(2026, 1, 1, tzinfo=UTC)),
            Reply("r", 0, "turn", "t", "MZ1", generation=2, sentences=sentences, tools=tools, agent="notes"),
            call_id="CA1",
            hands_over_to=lambda agent: agent != "nobody",
            fallback="Please say that again.",
            new_id=lambda: f"id{next(ids)}",
            emit=emitted.append,
            last_word=last_word,
        )
        if stop:
            await asyncio.sleep(0.5)
            composer.stop()
        await asyncio.sleep(AGENT_TIMEOUT_S + 1)
        return emitted

    return on_virtual_time(story())


NEVER = EngineError("refused", "never", retryable=False)


def names(events: Sequence[Event]) -> list[str]:
    return [type_of(event) for event in events]


def test_sentences_come_one_by_one_and_then_the_reply_is_composed() -> None:
    events = composed(Say("One."), Say("Two."))
    assert names(events) == ["reply.sentence", "reply.sentence", "reply.composed"]
    assert [(e.index, e.text, e.generation) for e in events[:2]] == [(0, "One.", 2), (1, "Two.", 2)]
    assert (events[2].sentences, events[2].hang_up) == (2, "")


def test_a_goodbye_is_in_the_composition() -> None:
    assert composed(Say("Bye."), HangUp("agent_goodbye"))[-1].hang_up == "agent_goodbye"


def test_empty_sentences_are_none() -> None:
    events = composed(Say(" "), Say("One."), Say(""))
    assert [(e.index, e.text) for e in events if type_of(e) == "reply.sentence"] == [(0, "One.")]
    assert events[-1].sentences == 1


def test_what_is_on_the_log_is_not_said_again() -> None:
    events = composed(Say("One."), Say("Two."), Say("Three."), said=["One.", "Two."])
    assert [(e.index, e.text) for e in events if type_of(e) == "reply.sentence"] == [(2, "Three.")]
    assert events[-1].sentences == 3


def test_an_agent_that_says_less_the_second_time_takes_nothing_back() -> None:
    events = composed(Say("One."), said=["One.", "Two."])
    assert names(events) == ["reply.composed"] and events[0].sentences == 2


def test_a_tool_that_was_called_is_not_called_again() -> None:
    tool = CallTool("save", {"what": "milk"}, repeatable=True)
    assert names(composed(tool)) == ["tool.called", "reply.composed"]
    assert names(composed(tool, tools=1)) == ["reply.composed"]


def test_a_handover_names_both_agents_and_the_reply_that_said_it() -> None:
    changed = composed(HandOver("billing"))[0]
    assert (changed.agent, changed.previous, changed.cause) == ("billing", "notes", "r")


def test_a_handover_to_nobody_is_a_failure_and_what_was_said_stays() -> None:
    events = composed(Say("One moment."), HandOver("nobody"))
    assert names(events) == ["reply.sentence", "work.failed", "reply.composed"]
    assert (events[1].code, events[1].retryable) == ("unknown_agent", False)


@pytest.mark.parametrize(
    ("failure", "code", "retryable"),
    [
        (EngineError("overloaded", "later", retryable=True), "overloaded", True),
        (KeyError("slot"), "agent_broke", False),
        (3600.0, "agent_timeout", True),
    ],
)
def test_a_caller_is_told_something_when_the_agent_fails(
    failure: Exception | float, code: str, retryable: bool
) -> None:
    events = composed(failure)
    assert names(events) == ["work.failed", "reply.sentence", "reply.composed"]
    assert (events[0].stage, events[0].code, events[0].retryable) == ("agent", code, retryable)
    assert events[1].text == "Please say that again."
    assert events[2].sentences == 1


def test_an_agent_that_fails_in_the_middle_keeps_what_it_said() -> None:
    events = composed(Say("One."), EngineError("overloaded", "later", retryable=True))
    assert names(events) == ["reply.sentence", "work.failed", "reply.composed"]
    assert events[-1].sentences == 1


def test_a_stopped_composer_says_nothing_more() -> None:
    assert names(composed(Say("One."), 1.0, Say("Two."), stop=True)) == ["reply.sentence"]


def test_the_last_prompt_hangs_up_even_if_the_agent_does_not() -> None:
    assert composed(Say("I can wait."), last_word="silence")[-1].hang_up == "silence"
    assert composed(Say("Bye."), HangUp("agent_goodbye"), last_word="silence")[-1].hang_up == "agent_goodbye"
    assert composed(NEVER, last_word="silence")[-1].hang_up == "silence"
