"""Conversation's process on a log in memory: owners come and go, and the call goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from eventlog.memory import MemoryLog
from eventlog.port import Entry, LogUnavailable, Placed
from schema import topics
from schema.call import CallAdopted, RequestMade
from schema.envelope import type_of
from schema.outbox import OutboxAudio
from schema.topics import partition_of
from tests.support.runtimes import CallAtDoor, EchoAgent, World, fields, now, on_virtual_time, sentences
from workers.agents import Conversation, Said, Say
from workers.profiles import Profile, ProfileError, SilencePrompts
from workers.talk import Wait

CALL = "CA1"


def each_sentence_once(events: Sequence[object]) -> bool:
    return all(count == 1 for count in Counter(sentences(events)).values())  # type: ignore[arg-type]


def test_a_whole_call_is_the_list_of_its_events() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await call.says("bye bye")
        await world.until_said(CALL, "call.sealed")
        names = [type_of(e) for e in await world.events(CALL) if e.role == "conversation"]
        assert names[:3] == ["call.adopted", "profile.used", "reply.started"]
        assert names[3:] == [
            *["reply.sentence", "reply.sentence", "reply.composed"],
            *["reply.voiced", "reply.voiced", "reply.finished"],
            *["turn.taken", "reply.started", "reply.sentence", "reply.composed", "reply.voiced", "reply.finished"],
            *["call.ended", "call.sealed"],
        ]
        assert world.hung_up == [CALL]
        assert len(world.voice.asked) == 3, "each sentence is voiced once"
        await world.close()

    on_virtual_time(story())


def test_what_is_heard_is_every_sentence_from_its_beginning_to_its_end() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        heard: Counter[int] = Counter()
        for _, sentence, begin_ms, end_ms in call.played:
            heard[sentence] += end_ms - begin_ms
        assert heard == {0: len("Hello there.") * 50, 1: len("How are you today?") * 50}
        await world.close()

    on_virtual_time(story())


def test_a_caller_who_interrupts_is_answered_and_the_cut_is_on_the_log() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "playback.started")
        await asyncio.sleep(0.3)
        await call.says("stop please")
        await world.until_said(CALL, "reply.finished", 2)
        events = await world.events(CALL)
        assert fields(events, "reply.finished", "interrupted") == [True, False]
        assert fields(events, "playback.cleared", "heard_ms")[0] >= 300
        assert world.agent.asked[-1].history[0].heard == "Hello"  # type: ignore[union-attr]
        await world.close()

    on_virtual_time(story())


def test_a_caller_who_says_nothing_is_asked_and_then_left() -> None:
    async def story() -> None:
        world = World()
        world.profile = Profile(name="toy", greeting="Hello.", silence=SilencePrompts(after_ms=3000))
        world.hire("a")
        await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "call.sealed")
        events = await world.events(CALL)
        assert fields(events, "reply.started", "why") == ["greeting", "prompt", "prompt", "prompt"]
        assert fields(events, "call.ended", "reason") == ["silence"]
        await world.close()

    on_virtual_time(story())


class Patient(EchoAgent):
    """Never hangs up."""

    def _said(self, conversation: Conversation) -> Sequence[Said]:
        return [Say("I can wait.")]


def test_an_agent_that_never_hangs_up_does_not_keep_a_silent_call_for_ever() -> None:
    async def story() -> None:
        world = World()
        world.profile = Profile(name="toy", greeting="Hello.", silence=SilencePrompts(after_ms=2000, max=2))
        world.agent = Patient()
        world.hire("a")
        await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "call.sealed")
        events = await world.events(CALL)
        assert fields(events, "reply.started", "why") == ["greeting", "prompt", "prompt", "prompt"]
        assert fields(events, "call.ended", "reason") == ["silence"]
        await world.close()

    on_virtual_time(story())


class Notebook:
    """A tool that takes its time and remembers who asked."""

    name = "save"
    description = "Writes something down."
    parameters: Mapping[str, Any] = {}

    def __init__(self, seconds: float = 0.5) -> None:
        self.seconds = seconds
        self.keys: list[str] = []

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        self.keys.append(key)
        await asyncio.sleep(self.seconds)
        return {"saved": arguments["text"]}


def test_a_tool_runs_once_and_is_spoken_about() -> None:
    async def story() -> None:
        world = World()
        notebook = Notebook()
        world.tools["save"] = notebook
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await call.says("save milk")
        await world.until_said(CALL, "reply.finished", 3)
        events = await world.events(CALL)
        assert fields(events, "reply.started", "why") == ["greeting", "turn", "tool"]
        assert notebook.keys == fields(events, "tool.called", "id")
        await world.close()

    on_virtual_time(story())


def test_a_tool_open_at_a_takeover_is_repeated_only_if_it_may_be() -> None:
    async def story(repeatable: bool) -> tuple[int, list[str]]:
        world = World()
        notebook = Notebook(seconds=3)
        world.tools["save"] = notebook
        world.agent.repeatable = repeatable
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await call.says("save milk")
        await world.until_said(CALL, "tool.called")
        await asyncio.sleep(0.1)
        await world.fire("a")
        world.hire("b")
        await world.until_said(CALL, "tool.returned")
        events = await world.events(CALL)
        await world.close()
        assert len(set(notebook.keys)) == 1
        return len(notebook.keys), fields(events, "tool.returned", "status")

    assert on_virtual_time(story(repeatable=True)) == (2, ["ok"])
    assert on_virtual_time(story(repeatable=False)) == (1, ["unknown"])


# Takeover


def test_a_killed_owner_is_followed_and_no_sentence_is_said_twice() -> None:
    async def story() -> None:
        world = World()
        world.agent = EchoAgent(think_s=0.2)
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.sentence")
        await world.fire("a")
        world.hire("b")
        await world.until_said(CALL, "reply.finished")
        events = await world.events(CALL)
        assert each_sentence_once(events)
        assert fields(events, "reply.resumed", "why") == ["takeover"]
        assert fields(events, "reply.resumed", "after_index") == [0]
        assert fields(events, "reply.sentence", "text") == ["Hello there.", "How are you today?"]
        spans = sorted((sentence, begin, end) for _, sentence, begin, end in call.played)
        for (one, _, end), (other, begin, _) in pairwise(spans):
            assert one != other or begin >= end - 20, f"words were heard twice: {spans}"
        await world.close()

    on_virtual_time(story())


def test_a_zombie_owner_falls_silent_when_it_reads_its_successor() -> None:
    async def story() -> None:
        world = World()
        world.agent = EchoAgent(think_s=0.1)
        zombie = world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.sentence")
        world.log.kill("conversation:a")
        world.hire("b")
        await world.until_said(CALL, "call.adopted", 2)
        await call.says("one more thing")
        await world.until_said(CALL, "turn.taken")
        await world.until_said(CALL, "reply.finished", 2)
        events = await world.events(CALL)
        after = [e.id for e in events if e.role == "conversation"]
        adopted = fields(events, "call.adopted", "id")[1]
        assert all(id_.startswith("b-") for id_ in after[after.index(adopted) :])
        assert not zombie.calls.cases[CALL].owned
        assert each_sentence_once(events)
        await world.close()

    on_virtual_time(story())


def test_a_second_process_gets_its_share_and_its_calls_go_on() -> None:
    async def story() -> None:
        world = World()
        first = world.hire("a")
        doors = [await CallAtDoor(world, f"CA{number}").start() for number in range(8)]
        for door in doors:
            await world.until_said(door.call_id, "reply.finished")
        second = world.hire("b")

        async def shared() -> bool:
            return len(first.calls.live) == len(second.calls.live) == topics.PARTITIONS // 2

        await world.until(shared, 20)
        for door in doors:
            await door.says("bye")
        for door in doors:
            await world.until_said(door.call_id, "call.sealed")
            assert each_sentence_once(await world.events(door.call_id))
        owners = {
            owner for door in doors for owner in fields(await world.events(door.call_id), "call.adopted", "owner")
        }
        assert owners == {"conversation:a:1", "conversation:b:1"}
        await world.close()

    on_virtual_time(story())


def test_a_call_whose_adopter_does_nothing_is_adopted_again() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        ghost = CallAdopted(id="ghost", call_id=CALL, owner="conversation:ghost:1")
        await world.say_as(ghost, "conversation")
        await asyncio.sleep(0.1)
        await call.says("are you there")
        await asyncio.sleep(20)
        assert fields(await world.events(CALL), "call.adopted", "owner")[-1] == "conversation:ghost:1"
        await world.until_said(CALL, "turn.taken", seconds=20)
        assert fields(await world.events(CALL), "call.adopted", "owner")[-1] == "conversation:a:1"
        await world.close()

    on_virtual_time(story())


def test_a_call_whose_adopter_rings_no_timer_is_adopted_again() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await world.say_as(CallAdopted(id="ghost", call_id=CALL, owner="conversation:ghost:1"), "conversation")
        await world.until_said(CALL, "call.sealed", seconds=200)
        await world.close()

    on_virtual_time(story())


# A log that is not always there


class LossyLog(MemoryLog):
    """Loses some appends of events after saying they arrived, and doubles others."""

    def __init__(self, *, lose: frozenset[int] = frozenset(), double: bool = False) -> None:
        super().__init__(now=now)
        self.lose = lose
        self.double = double
        self.appends = 0

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if topic != topics.EVENTS.name or not any(b'"role":"conversation"' in entry.value for entry in entries):
            return await super().append(topic, entries)
        self.appends += 1
        if self.appends in self.lose:
            return []
        if self.double:
            await super().append(topic, entries)
        return await super().append(topic, entries)


def test_lost_appends_are_repeated() -> None:
    async def story() -> None:
        world = World()
        world.log = LossyLog(lose=frozenset({1, 3, 4, 6}))
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await call.says("bye")
        await world.until_said(CALL, "call.sealed")
        assert each_sentence_once(await world.events(CALL))
        await world.close()

    on_virtual_time(story())


def test_doubled_appends_change_nothing() -> None:
    async def story(double: bool) -> list[str]:
        world = World()
        world.log = LossyLog(double=double)
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await call.says("bye")
        await world.until_said(CALL, "call.sealed")
        names = await world.names(CALL)
        await world.close()
        return names

    assert on_virtual_time(story(double=True)) == on_virtual_time(story(double=False))


def test_a_log_that_is_away_for_a_while_ends_no_call() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.started")
        for task in call._tasks:
            task.cancel()
        world.log.fault = LogUnavailable("away")
        await asyncio.sleep(5)
        world.log.fault = None
        await world.say(RequestMade(id="r", call_id=CALL, kind="hang_up"), "r")
        await world.until_said(CALL, "call.ended")
        assert fields(await world.events(CALL), "call.ended", "reason") == ["request"]
        await world.close()

    on_virtual_time(story())


# Beginnings, checkpoints, profiles


def test_the_checkpoint_is_the_start_of_the_oldest_live_call() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        twins = [name for name in (f"CA{n}" for n in range(200)) if partition_of(name, topics.PARTITIONS) == 5][:3]
        doors = [await CallAtDoor(world, name).start() for name in twins]
        for door in doors:
            await world.until_said(door.call_id, "reply.finished")
        reader = world.log.reader(topics.EVENTS.name, {5: 0})
        starts = {
            r.key: r.position for r in await reader.read(max_records=999, wait_ms=0) if b'"call.started"' in r.value
        }
        for index, door in enumerate(doors[:2]):
            await door.says("bye")
            await world.until_said(door.call_id, "call.sealed")
            await asyncio.sleep(1)
            committed = await world.log.committed("conversation", topics.EVENTS.name)
            assert committed[5] == starts[doors[index + 1].call_id]
        await world.close()

    on_virtual_time(story())


def test_a_call_nobody_can_find_a_profile_for_fails_alone() -> None:
    async def story() -> None:
        world = World()

        def profile_of(name: str) -> Profile:
            if not world.hung_up and not hasattr(profile_of, "called"):
                profile_of.called = True  # type: ignore[attr-defined]
                raise ProfileError("no agent profile of that name")
            return world.profile

        world.profile_of = profile_of
        world.hire("a")
        await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "call.sealed")
        assert fields(await world.events(CALL), "call.ended", "reason") == ["failed"]
        await CallAtDoor(world, "CA2").start()
        await world.until_said("CA2", "reply.finished")
        await world.close()

    on_virtual_time(story())


def test_a_socket_of_a_call_that_never_began_is_told_so() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        await asyncio.sleep(1)
        door = await CallAtDoor(world, CALL).open()
        await asyncio.sleep(1)
        assert door.closed
        await world.close()

    on_virtual_time(story())


def test_timers_ring_only_for_who_has_read_to_the_end() -> None:
    async def story() -> None:
        world = World()
        runtime = world.hire("a")
        door = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        case = runtime.calls.cases[CALL]
        partition = case.partition
        case.waits = (Wait("grace", now() - 1),)
        before = await world.names(CALL)

        class Behind:
            def positions(self) -> Mapping[int, int]:
                return {partition: 0}

        await runtime._ring(Behind())  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        assert [name for name in await world.names(CALL) if name == "timer.rang"] == before.count("timer.rang") * [
            "timer.rang"
        ]
        await door.hang_up()
        await world.close()

    on_virtual_time(story())


def test_an_agent_that_breaks_still_says_something() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        world.agent.broken = True
        await call.says("hello")
        await world.until_said(CALL, "reply.finished", 2)
        events = await world.events(CALL)
        assert fields(events, "work.failed", "stage") == ["agent"]
        assert fields(events, "reply.sentence", "text")[-1] == world.profile.fallback
        await world.close()

    on_virtual_time(story())


def test_a_voice_that_breaks_ends_no_call() -> None:
    async def story() -> None:
        world = World()
        world.voice.error = ValueError("a format nobody knows")
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        events = await world.events(CALL)
        assert fields(events, "reply.voiced", "duration_ms") == [0, 0]
        assert set(fields(events, "work.failed", "stage")) == {"tts"}
        await call.says("bye")
        await world.until_said(CALL, "call.sealed")
        await world.close()

    on_virtual_time(story())


def test_audio_is_never_sent_for_a_reply_that_was_not_read_back() -> None:
    async def story() -> None:
        world = World()
        world.hire("a")
        call = await CallAtDoor(world, CALL).start()
        await world.until_said(CALL, "reply.finished")
        await call.says("hello")
        await world.until_said(CALL, "reply.finished", 2)
        admitted = {event.id for event in await world.events(CALL)}
        for message in await world.outbox():
            if isinstance(message, OutboxAudio):
                assert message.sentence_id in admitted and message.reply in admitted
        await world.close()

    on_virtual_time(story())
