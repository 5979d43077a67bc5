"""Conversation's process, a line that goes in mid-sentence, and a log that takes nothing: on virtual time."""

from __future__ import annotations

import asyncio

from eventlog.memory import MemoryLog
from eventlog.port import LogUnavailable
from schema.call import RequestMade
from schema.speech import SpeechStarted, SpeechStopped, TranscriptSettled
from tests.support.runtimes import CallAtDoor, World, fields, now, on_virtual_time
from workers.agents import CallerSaid
from workers.profiles import Texts

CALL = "CA1"
ASKED_AGAIN = ["Sorry, the line was interrupted.", "Could you say that again?"]


async def cut_off(world: World, text: str) -> CallAtDoor:
    """A greeted caller whose line goes after these words; what hearing made of them; and the caller's next line."""
    first = await CallAtDoor(world, CALL).start()
    await world.until_said(CALL, "reply.finished")
    on = {"call_id": CALL, "stream": first.stream}
    await world.say_as(SpeechStarted(id=world.new_id(), at_ms=0, **on), "hearing")  # type: ignore[arg-type]
    await asyncio.sleep(0.5)
    await first.hang_up("restart")
    settled = TranscriptSettled(id=world.new_id(), text=text, start_ms=0, end_ms=500, through_ms=500, **on)  # type: ignore[arg-type]
    await world.say_as(settled, "hearing")
    await world.say_as(SpeechStopped(id=world.new_id(), voiced_ms=500, **on), "hearing")  # type: ignore[arg-type]
    return await CallAtDoor(world, CALL, "MZ2").open()


def test_the_profile_s_words_ask_a_caller_who_was_cut_off_and_no_engine_is_asked() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        second = await cut_off(world, "remind me to")
        await world.until_said(CALL, "reply.finished", 2)
        events = await world.events(CALL)
        assert fields(events, "reply.sentence", "text")[-2:] == ASKED_AGAIN
        assert [conversation.cause for conversation in world.agent.asked] == ["greeting"]
        await second.says("remind me to buy milk")
        await world.until_said(CALL, "reply.finished", 3)
        heard = [item for item in world.agent.asked[-1].history if isinstance(item, CallerSaid)]
        assert [(item.text, item.cut_off) for item in heard] == [
            ("remind me to", True),
            ("remind me to buy milk", False),
        ]
        await world.close()

    on_virtual_time(story())


def test_who_takes_over_in_the_middle_of_asking_says_no_word_of_it_twice() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        await cut_off(world, "")
        await world.until_said(CALL, "playback.started", 3)
        await world.fire("a")
        world.hire("b")
        await world.until_said(CALL, "reply.finished", 2)
        assert fields(await world.events(CALL), "reply.sentence", "text")[-2:] == ASKED_AGAIN
        await world.close()

    on_virtual_time(story())


def test_a_caller_who_owes_an_answer_hears_the_question_again_and_the_agent_is_asked_once() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        first = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await first.says("remind me")
        await world.until_said(CALL, "reply.finished", 2)
        await first.hang_up("restart")
        second = await CallAtDoor(world, CALL, "MZ2").open()
        await world.until_said(CALL, "reply.finished", 3)
        assert fields(await world.events(CALL), "reply.sentence", "text")[-2:] == 2 * ["What else is there?"]
        assert [conversation.cause for conversation in world.agent.asked] == ["greeting", "turn"]
        await second.says("nothing")
        await world.until_said(CALL, "reply.finished", 4)
        assert [conversation.cause for conversation in world.agent.asked] == ["greeting", "turn", "turn"]
        await world.close()

    on_virtual_time(story())


class Full(MemoryLog):
    """Can be read, and takes nothing while it is full."""

    is_full = False

    async def healthy(self) -> None:
        if self.is_full:
            raise LogUnavailable("it takes nothing")
        await super().healthy()


def test_nobody_is_given_up_while_the_log_takes_nothing() -> None:
    """The doors measure every stream, but their word cannot reach a log that is full: their silence says nothing."""

    async def story() -> None:
        world = World()
        world.log = log = Full(now=now)
        world.hire("a")
        await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        pause = RequestMade(id=world.new_id(), call_id=CALL, kind="pause")
        await world.say(pause, "somebody")  # else the prompts' own playback would speak for the doors
        log.is_full = True
        await asyncio.sleep(40)
        assert fields(await world.events(CALL), "stream.lost", "stream") == []
        log.is_full = False
        await world.until_said(CALL, "stream.lost")
        await world.close()

    on_virtual_time(story())


def test_the_words_are_the_profile_s() -> None:
    assert Texts().cut_off == " ".join(ASKED_AGAIN)
