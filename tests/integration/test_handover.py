"""A call handed from agent to agent on a log in memory: who speaks, in which voice, and what hearing listens for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from eventlog.memory import MemoryLog
from eventlog.port import Entry, Placed
from schema import topics
from schema.admit import Admission, admit
from schema.call import ProfileUsed
from schema.envelope import AnyEvent, type_of
from schema.registry import decode
from schema.topics import partition_of
from schema.turn import AgentChanged, ReplyStarted, ToolCalled
from tests.integration.test_runtime_hearing import Line, settled_places
from tests.support.hearing import FRAME_MS, QUIET, ReadingEngine, spoken
from tests.support.runtimes import CallAtDoor, World, fields, now, on_virtual_time, sentences
from workers import callstate
from workers.callstate import CallState
from workers.engines.port import HearingRequest, MadeBy
from workers.profiles import Profile, Voice, load_family, profile_body, profile_hash
from workers.rules import RuleAgent
from workers.tools.registry import tools_by_name

CALL = "CA1"
VOICES = {"hero/triage": "en-us", "hero/estimate": "en-gb", "hero/scheduling": "en-us+f3"}
FAMILY = {
    name: msgspec.structs.replace(profile, voice=Voice(VOICES.get(name, "en-us")))
    for name, profile in load_family("hero").items()
}


class Office(World):
    """The hero family answers, each agent in its own voice."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        super().__init__()
        self.log = log or self.log
        self.profile_of = lambda name: FAMILY[name or "hero/triage"]
        self.agent_of = RuleAgent
        self.tools = dict(tools_by_name())


async def replied(office: Office, call: CallAtDoor, text: str, replies: int) -> list[AnyEvent]:
    """What is on the log when this was said and so many replies are over."""
    await call.says(text)
    await office.until_said(CALL, "reply.finished", replies)
    return await office.events(CALL)


def voice_of(office: Office) -> dict[str, str]:
    """Sentence -> the voice that spoke it."""
    return {request.text: request.voice for request in office.voice.asked}


def test_two_hand_overs_in_one_call() -> None:
    async def story() -> None:
        office = Office()
        office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        await replied(office, call, "I need an estimate for a new roof", 3)
        await replied(office, call, "twelve main street", 4)
        await replied(office, call, "yes", 6)
        events = await replied(office, call, "i need an appointment tomorrow at nine", 8)
        assert fields(events, "agent.changed", "agent") == ["hero/estimate", "hero/scheduling"]
        assert fields(events, "agent.changed", "previous") == ["hero/triage", "hero/estimate"]
        used = [profile_hash(FAMILY[name]) for name in ("hero/triage", "hero/estimate", "hero/scheduling")]
        assert fields(events, "profile.used", "hash") == used
        assert fields(events, "reply.started", "why") == [
            *["greeting", "turn", "handover", "turn", "turn", "tool", "turn", "handover"]
        ]
        agents = fields(events, "reply.started", "agent")
        assert agents == ["hero/triage"] * 2 + ["hero/estimate"] * 5 + ["hero/scheduling"]
        assert fields(events, "reply.started", "prompt_hash") == [profile_hash(FAMILY[name]) for name in agents]
        assert [e.arguments["kind"] for e in events if isinstance(e, ToolCalled)] == ["estimate"]
        await office.close()

    on_virtual_time(story())


def test_who_hands_over_is_heard_to_its_end_in_its_own_voice() -> None:
    async def story() -> None:
        office = Office()
        office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        events = await replied(office, call, "I need an estimate for a new roof", 3)
        voices = voice_of(office)
        assert voices["I'll connect you with estimates."] == "en-us"
        assert voices["I'll create that estimate for you."] == "en-gb"
        assert fields(events, "reply.finished", "interrupted") == [False, False, False]
        names = [type_of(event) for event in events if event.role == "conversation"]
        first = names.index("agent.changed")
        assert names[first : first + 3] == ["agent.changed", "reply.composed", "profile.used"], "one append"
        await office.close()

    on_virtual_time(story())


def test_the_new_agent_does_not_wait_for_the_caller() -> None:
    async def story() -> None:
        office = Office()
        office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        events = await replied(office, call, "connect me with scheduling", 3)
        assert fields(events, "turn.taken", "text") == ["connect me with scheduling"]
        assert fields(events, "reply.sentence", "text")[-1] == "When should we come?"
        started = [event for event in events if isinstance(event, ReplyStarted)][-1]
        changed = next(event for event in events if isinstance(event, AgentChanged))
        assert started.in_answer_to == changed.id
        await office.close()

    on_virtual_time(story())


def test_an_agent_that_its_profile_does_not_name_gets_no_call() -> None:
    async def story() -> None:
        office = Office()
        office.profile_of = lambda name: Profile(name="front", greeting="Hello.", hand_over=("hero/job",))
        office.agent_of = lambda profile: RuleAgent(FAMILY["hero/triage"])
        office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        events = await replied(office, call, "I need an estimate", 2)
        assert fields(events, "work.failed", "code") == ["unknown_agent"]
        assert fields(events, "agent.changed", "agent") == []
        events = await replied(office, call, "hello", 3)
        assert fields(events, "reply.started", "agent")[-1] == "front"
        await office.close()

    on_virtual_time(story())


class CutLog(MemoryLog):
    """The last append of an owner arrives up to its `agent.changed`; nothing of it arrives after that."""

    def __init__(self, victim: str) -> None:
        super().__init__(now=now)
        self.victim = f'"id":"{victim}-'.encode()
        self.cut = False

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        kept: list[Entry] = []
        for entry in entries:
            mine = topic == topics.EVENTS.name and self.victim in entry.value
            if not (mine and self.cut):
                kept.append(entry)
            self.cut = self.cut or (mine and b'"agent.changed"' in entry.value)
        return await super().append(topic, kept) if kept else []


def test_an_owner_that_dies_between_the_change_and_the_profile_is_followed() -> None:
    async def story() -> None:
        log = CutLog("a")
        office = Office(log)
        office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        await call.says("I need an estimate for a new roof")
        await office.until_said(CALL, "agent.changed")
        assert log.cut and (await office.names(CALL)).count("profile.used") == 1
        await office.fire("a")
        office.hire("b")
        await office.until_said(CALL, "reply.finished", 3)
        events = await office.events(CALL)
        assert fields(events, "profile.used", "hash") == [
            profile_hash(FAMILY["hero/triage"]),
            profile_hash(FAMILY["hero/estimate"]),
        ]
        assert fields(events, "agent.changed", "agent") == ["hero/estimate"], "said again, believed once"
        assert fields(events, "reply.resumed", "why") == ["takeover"]
        assert all(count == 1 for count in Counter(sentences(events)).values())
        assert fields(events, "reply.started", "why") == ["greeting", "turn", "handover"]
        voices = voice_of(office)
        assert voices["I'll connect you with estimates."] == "en-us", "who follows ends it in its agent's voice"
        assert voices["What's the address for this job?"] == "en-gb"
        events = await replied(office, call, "twelve main street", 4)
        assert fields(events, "reply.sentence", "text")[-2:] == [
            "An estimate for a new roof at twelve main street.",
            "Is that right?",
        ]
        await office.close()

    on_virtual_time(story())


def test_an_owner_that_dies_in_the_new_agents_first_words_is_followed_by_the_same_agent() -> None:
    async def story() -> None:
        office = Office()
        office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        await call.says("I need an estimate for a new roof")
        await office.until_said(CALL, "reply.started", 3)
        await office.fire("a")
        office.hire("b")
        await office.until_said(CALL, "reply.finished", 3)
        events = await office.events(CALL)
        assert all(count == 1 for count in Counter(sentences(events)).values())
        assert fields(events, "reply.started", "agent")[-1] == "hero/estimate"
        events = await replied(office, call, "twelve main street", 4)
        assert "twelve main street" in " ".join(fields(events, "reply.sentence", "text")[-2:])
        await office.close()

    on_virtual_time(story())


async def folded_again(office: Office) -> CallState:
    """The call as a process that reads its log from the beginning has it."""
    reader = office.log.reader(topics.EVENTS.name, {partition_of(CALL, topics.PARTITIONS): 0})
    state, admission = callstate.fresh(office.runtimes["a"].role.fresh().life.rules), Admission()
    for record in await reader.read(max_records=10_000, wait_ms=0):
        event = decode(record.value)
        if record.key == CALL and (admitted := admit(admission, event)) is not None:
            admission = admitted
            state = callstate.fold(state, event, record.position, record.at)
    await reader.close()
    return state


def test_a_replay_of_the_log_is_the_same_call() -> None:
    async def story() -> None:
        office = Office()
        runtime = office.hire("a")
        call = await CallAtDoor(office, CALL).start()
        await office.until_said(CALL, "reply.finished")
        await replied(office, call, "I need an estimate for a new roof", 3)
        await replied(office, call, "something else please", 5)
        again = await folded_again(office)
        live = runtime.calls.cases[CALL].state
        assert again == live
        assert set(again.profiles) == {profile_hash(FAMILY[name]) for name in ("hero/triage", "hero/estimate")}
        assert again.talk.agent == "hero/triage"
        await office.close()

    on_virtual_time(story())


# Hearing


class NamedEngine(ReadingEngine):
    """Says with which profile's phrases it was opened."""

    def made_by(self, request: HearingRequest) -> MadeBy:
        return MadeBy("reading", "reading", " ".join(request.phrases))


async def hand_over(line: Line, phrase: str) -> None:
    profile = Profile(name=phrase, greeting="Hello.", phrases=(phrase,))
    used = ProfileUsed(id=line.new_id(), call_id=CALL, hash=phrase, body=profile_body(profile))
    await line.say_as(used, "conversation")


def test_what_is_not_settled_at_a_hand_over_is_heard_once_and_in_the_new_grammar() -> None:
    async def story(after: int) -> tuple[list[str], list[str]]:
        line = Line()
        line.engine = NamedEngine()
        line.listen("a")
        await line.call(profile=False)
        await hand_over(line, "old")
        sent = 0
        for word in range(1, 7):
            for pcm in (spoken(word), QUIET):
                for _ in range(18):
                    await line.send(pcm, 1)
                    sent += 1
                    if sent == after:
                        await hand_over(line, "new")
        await line.close_stream()
        await line.until_said(CALL, "stream.heard")
        events = await line.events(CALL)
        places = settled_places(events)
        assert all(start >= through for (_, through), (start, _) in pairwise(places))
        assert fields(events, "stream.heard", "through_ms") == [line.frames * FRAME_MS]
        await line.close()
        settled = fields(events, "transcript.settled", "made_by")
        return " ".join(await line.texts()).split(), [by.settings for by in settled]

    for after in (3, 10, 20, 34, 37, 40, 55, 90, 130):
        words, made_by = on_virtual_time(story(after))
        assert words == ["w1", "w2", "w3", "w4", "w5", "w6"], f"handed over after {after} frames"
        assert made_by[-1] == "new" and made_by == sorted(made_by, reverse=True), made_by
        # 36 frames a word: a word that was still open at the hand-over is the new profile's.
        assert made_by.count("old") == min(after // 36 + (after % 36 > 33), 6) or after % 36 > 30


def test_the_same_profile_again_opens_nothing() -> None:
    async def story() -> int:
        opened: list[HearingRequest] = []

        class Counting(ReadingEngine):
            def open(self, request: HearingRequest, emit: object) -> object:  # type: ignore[override]
                opened.append(request)
                return super().open(request, emit)  # type: ignore[arg-type]

        line = Line()
        line.engine = Counting()
        line.listen("a")
        await line.call(profile=False)
        await hand_over(line, "one")
        await line.send(spoken(1), 10)
        await hand_over(line, "one")
        await line.send(QUIET, 30)
        await asyncio.sleep(0.1)
        assert await line.texts() == ["w1"]
        await line.close()
        return len(opened)

    assert on_virtual_time(story()) == 1
