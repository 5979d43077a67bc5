"""The shipped family of agents: each understands what it can hear, and hands over what is another's."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from workers import patterns
from workers.agents import AgentSaid, CallerSaid, CallTool, Conversation, HandedOver, HandOver, HistoryItem, Said, Say
from workers.agents import ToolReturned as Returned
from workers.grammar import Grammar
from workers.profiles import load_family, load_profile
from workers.rules import RuleAgent
from workers.tools.items import SaveItem
from workers.tools.registry import tools_named

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
FAMILY = load_family("hero")
AGENTS = {name: RuleAgent(profile) for name, profile in FAMILY.items()}
SEED_PHRASES = (
    "How can I help you today?",
    "Let me check that for you.",
    "I'll create that estimate for you.",
    "What's the address for this job?",
)


class Switchboard:
    """One call of the family: keeps the history as conversation does, and changes agents as they say."""

    def __init__(self) -> None:
        self.agent = "hero/triage"
        self.history: list[HistoryItem] = []
        self.saved: list[dict[str, str]] = []
        self.tools: list[CallTool] = []

    def say(self, text: str) -> str:
        self.history.append(CallerSaid(text))
        return self._ask("turn")

    def _ask(self, cause: str) -> str:
        said = AGENTS[self.agent].answer(Conversation(cause, tuple(self.history), NOW, agent=self.agent))
        return self._follow(said, cause)

    def _follow(self, said: tuple[Said, ...], cause: str) -> str:
        text = " ".join(one.text for one in said if isinstance(one, Say))
        if text:
            self.history.append(AgentSaid(text, text, cause))
        for one in said:
            if isinstance(one, HandOver):
                assert one.agent in FAMILY[self.agent].hand_over
                self.history.append(HandedOver(one.agent, self.agent))
                self.agent = one.agent
                text += " | " + self._ask("handover")
            if isinstance(one, CallTool):
                self.tools.append(one)
                self.history.append(Returned(one.name, one.arguments, "ok", {"saved": one.arguments["title"]}))
                text += " | " + self._ask("tool")
        return text.strip(" |")


def test_the_family_is_triage_first_and_the_seeds_four() -> None:
    assert list(FAMILY) == ["hero/triage", "hero/contact", "hero/estimate", "hero/job", "hero/scheduling"]
    assert load_profile("hero").name == "hero/triage"
    for name, profile in FAMILY.items():
        assert set(profile.hand_over) == set(FAMILY) - {name}
        assert profile.instructions


def test_the_common_phrases_are_said_ahead_and_by_somebody() -> None:
    for profile in FAMILY.values():
        assert set(SEED_PHRASES) <= set(profile.phrases_ahead)
    said = {text for profile in FAMILY.values() for text in _texts(profile)}
    assert [phrase for phrase in SEED_PHRASES if not any(phrase in text for text in said)] == []


def _texts(profile: object) -> list[str]:
    found = [profile.greeting]  # type: ignore[attr-defined]
    for intent in profile.intents:  # type: ignore[attr-defined]
        found += [*intent.say, *intent.required.values(), intent.tool.say if intent.tool else ""]
    return found


def test_an_estimate_goes_from_the_front_desk_to_the_tool_without_a_word_asked_twice() -> None:
    call = Switchboard()
    assert call.say("I need an estimate for a new roof") == (
        "I'll connect you with estimates. | I'll create that estimate for you. What's the address for this job?"
    )
    assert call.agent == "hero/estimate"
    assert call.say("It's 12 Main Street") == "An estimate for a new roof at twelve main street. Is that right?"
    assert call.say("yes") == "The estimate is on its way. Is there anything else?"
    (tool,) = call.tools
    assert tool.arguments == {
        "kind": "estimate", "title": "a new roof at twelve main street", "address": "twelve main street"
    }  # fmt: skip


def test_who_only_asks_for_an_agent_is_asked_what_it_wants_to_know() -> None:
    call = Switchboard()
    assert call.say("connect me with scheduling") == "I'll connect you with scheduling. | When should we come?"


def test_a_contact_is_saved_with_its_number() -> None:
    call = Switchboard()
    call.say("create a new contact")
    assert call.say("anna smith") == "What is the phone number?"
    call.say("five five five one two one two")
    call.say("that's right")
    assert call.tools[0].arguments["phone"] == "five five five one two one two"
    assert call.tools[0].arguments["kind"] == "contact"


def test_an_appointment_is_checked_and_has_its_moment() -> None:
    call = Switchboard()
    call.say("schedule an appointment for a new roof tomorrow at nine")
    assert call.say("yes").startswith("Let me check that for you. | You have an appointment for a new roof")
    assert call.tools[0].arguments["due"] == "2026-11-22T09:00"


def test_a_call_goes_from_one_to_another_and_back_and_remembers_what_was_saved() -> None:
    call = Switchboard()
    call.say("open a new job for painting the house at twelve oak avenue")
    call.say("yes")
    assert call.say("something else please") == "All right. | How can I help you today?"
    assert call.agent == "hero/triage"
    call.say("i need an estimate for the roof repair at two college road")
    call.say("yes")
    assert call.say("i would like an appointment next week").startswith("I'll connect you with scheduling.")
    call.say("yes")
    assert [tool.arguments["kind"] for tool in call.tools] == ["job", "estimate", "appointment"]
    assert call.say("what do i have so far").startswith("You have 3 things so far.")


def test_a_yes_to_one_agent_is_none_to_another() -> None:
    call = Switchboard()
    call.say("i need an estimate for a new roof")  # its address is asked for
    call.say("open a new job for a new kitchen at one church street")
    assert call.agent == "hero/job"
    call.say("yes")
    assert [tool.arguments["kind"] for tool in call.tools] == ["job"]
    assert call.say("create an estimate").endswith("What work is it for?"), "what was begun before was dropped"


@pytest.mark.parametrize("name", [*FAMILY, "site"])
def test_every_sentence_it_can_hear_it_understands(name: str) -> None:
    profile = FAMILY.get(name) or load_profile(name)
    grammar, pick = Grammar(profile), random.Random(name).randrange
    for intent, nodes in grammar.intents:
        for node in nodes:
            for _ in range(5):
                words = " ".join(patterns.sample(node, grammar.vocabularies, pick))
                assert any(match.intent.name == intent.name for match in grammar.matches(words)), words


@pytest.mark.parametrize("name", [*FAMILY, "site"])
def test_its_grammar_has_only_words_that_the_offline_recogniser_can_pronounce(name: str) -> None:
    sphinx = pytest.importorskip("workers.engines.pocketsphinx")
    pytest.importorskip("pocketsphinx")
    profile = FAMILY.get(name) or load_profile(name)
    assert sphinx.unknown_words(sphinx.grammar_words(Grammar(profile).jsgf())) == set()


async def test_its_tools_exist_and_take_what_it_gives_them() -> None:
    for profile in FAMILY.values():
        tools_named(profile.tools)
        for intent in profile.intents:
            if intent.tool is not None:
                given = dict.fromkeys(intent.tool.arguments, "x") | {"kind": intent.tool.arguments["kind"]}
                assert await SaveItem().run(given, "key")
