"""What `calltape show --json` says of a turn that several replies answer."""

from __future__ import annotations

from typing import Any

from projections.as_of import as_of
from projections.queries import call_details
from projections.show import show_json
from schema.turn import Latency
from tests.support.events import Tape

ASKED = Latency(endpoint=300, stt=120)
TOLD = Latency(endpoint=300, stt=120, agent=4, tts=35, first_audio=350, heard=1_800)
LATER = Latency(agent=90, tts=40, heard=2_000)


async def test_a_turn_answered_through_a_tool_shows_the_wait_until_something_sounded() -> None:
    turn = await turn_of(ASKED, TOLD)
    assert turn["latency_ms"] == {**stages(TOLD), "barge_in": None}


async def test_the_reply_that_sounded_first_is_the_turns() -> None:
    turn = await turn_of(TOLD, LATER)
    assert turn["latency_ms"] == {**stages(TOLD), "barge_in": None}


async def test_an_answer_begun_and_never_heard_is_not_mixed_with_the_one_that_was() -> None:
    turn = await turn_of(Latency(endpoint=300, stt=120, agent=7), TOLD)
    assert turn["latency_ms"]["agent"] == TOLD.agent


async def test_a_log_from_before_a_tools_reply_told_the_wait_shows_what_it_has() -> None:
    turn = await turn_of(ASKED, LATER)
    assert [turn["latency_ms"][stage] for stage in ("endpoint", "agent", "first_audio")] == [300, 90, None]


async def test_typed_words_were_heard_by_no_engine() -> None:
    tape = Tape()
    tape.say("call.started")
    typed = tape.say("text.typed")
    tape.say("turn.taken", utterances=(typed.id,), kind="text")
    assert (await first_turn(tape))["engines"] == {"stt": None, "agent": None, "tts": None}


async def turn_of(first: Latency, second: Latency) -> dict[str, Any]:
    """A turn whose reply calls a tool, and the reply that speaks of what came back."""
    tape = Tape()
    tape.say("call.started")
    turn = tape.say("turn.taken")
    asking = tape.say("reply.started", in_answer_to=turn.id)
    tool = tape.say("tool.called", reply=asking.id)
    tape.say("reply.finished", reply=asking.id, latency=first)
    returned = tape.say("tool.returned", call=tool.id)
    telling = tape.say("reply.started", why="tool", in_answer_to=returned.id)
    tape.say("reply.finished", reply=telling.id, latency=second)
    return await first_turn(tape)


async def first_turn(tape: Tape) -> dict[str, Any]:
    async with as_of(tape.records, len(tape.records)) as engine:
        turn: dict[str, Any] = show_json(await call_details(engine, tape.call_id))["turns"][0]
    return turn


def stages(latency: Latency) -> dict[str, int | None]:
    return {name: getattr(latency, name) for name in Latency.__struct_fields__}
