"""A conversation with the rule agent is a function of what was said."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.agents import (
    AgentSaid,
    CallerSaid,
    CallTool,
    Conversation,
    HandOver,
    HangUp,
    HistoryItem,
    Said,
    Say,
    ToolReturned,
)
from workers.profiles import Intent, decode_profile, load_profile, profile_body, profile_hash
from workers.rules import RuleAgent

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
NOTES = load_profile("notes")
AGENT = RuleAgent(NOTES)


class Phone:
    """Keeps the history as the conversation worker does; tools come back as told."""

    def __init__(self, agent: RuleAgent = AGENT, tool_status: str = "ok") -> None:
        self.agent, self.tool_status = agent, tool_status
        self.history: list[HistoryItem] = []
        self.done: list[Said] = []

    def ask(self, cause: str = "turn", prompts: int = 0, instruction: str = "") -> str:
        conversation = Conversation(cause, tuple(self.history), NOW, prompts=prompts, instruction=instruction)
        self.done = list(self.agent.answer(conversation))
        text = " ".join(said.text for said in self.done if isinstance(said, Say))
        if text:
            self.history.append(AgentSaid(text, text, cause))
        return text

    def say(self, text: str, kind: str = "speech") -> str:
        self.history.append(CallerSaid(text, kind))
        return self.ask()

    def run_tool(self) -> str:
        (call,) = [said for said in self.done if isinstance(said, CallTool)]
        result = {"saved": call.arguments["title"]} if self.tool_status == "ok" else {}
        self.history.append(ToolReturned(call.name, call.arguments, self.tool_status, result))
        return self.ask("tool")

    def interrupt_after(self, words: int) -> None:
        last = self.history.pop()
        assert isinstance(last, AgentSaid)
        self.history.append(AgentSaid(last.text, " ".join(last.text.split()[:words]), last.cause))


def test_a_reminder_is_confirmed_then_saved_then_reported() -> None:
    phone = Phone()
    assert phone.say("Remind me to call my dentist tomorrow at nine.") == (
        "I will remind you to call your dentist, tomorrow at nine. Is that right?"
    )
    assert phone.say("yes") == ""
    assert phone.done == [
        CallTool(
            "save_item",
            {"kind": "reminder", "title": "call my dentist", "due": "2026-11-22T09:00", "due_said": "tomorrow at nine"},
            repeatable=True,
        )
    ]
    assert phone.run_tool() == "Done. I will remind you, tomorrow at nine."


def test_what_is_missing_is_asked_for_one_thing_at_a_time() -> None:
    phone = Phone()
    assert phone.say("schedule a meeting") == "Who is the meeting with?"
    assert phone.say("the team") == "When should the meeting be?"
    assert phone.say("on friday at ten") == "A meeting with the team, on Friday at ten. Is that right?"


def test_a_correction_keeps_what_was_right() -> None:
    phone = Phone()
    phone.say("schedule a meeting with the team on friday")
    assert phone.say("no make it on monday") == "A meeting with the team, on Monday. Is that right?"


def test_a_no_drops_it() -> None:
    phone = Phone()
    phone.say("send an email to anna")
    assert phone.say("no").startswith("All right, I forget that.")
    assert phone.say("yes") == NOTES.texts.nothing_to_confirm
    assert phone.done == [Say("There is nothing open right now."), Say("What can I do for you?")]


def test_a_new_wish_replaces_the_open_one() -> None:
    phone = Phone()
    phone.say("send an email to anna")
    phone.say("make a note to buy milk")
    assert isinstance(phone.done[0], CallTool)
    assert phone.done[0].arguments == {"kind": "note", "title": "buy milk"}


@pytest.mark.parametrize(("status", "text"), [("failed", NOTES.texts.failed), ("unknown", NOTES.texts.unknown)])
def test_a_tool_that_did_not_work_is_admitted(status: str, text: str) -> None:
    phone = Phone(tool_status=status)
    phone.say("make a note to buy milk")
    assert phone.run_tool() == text
    assert phone.say("what do i have so far") == "You have nothing so far."


def test_it_tells_what_was_saved_in_this_call() -> None:
    phone = Phone()
    phone.say("make a note to buy milk")
    phone.run_tool()
    assert phone.say("what do i have so far") == "You have one thing so far. A note, buy milk."
    for task in ("walk the dog", "take my medicine", "charge my phone"):
        phone.say(f"make a note to {task}")
        phone.run_tool()
    phone.say("what do i have so far")
    assert len(phone.done) == 4
    assert phone.done[0] == Say("You have 4 things so far.")
    assert phone.done[-1] == Say("And 2 more.")


def test_unknown_words_are_not_caught_and_help_grows() -> None:
    phone = Phone()
    replies = [phone.say("the weather is lovely") for _ in range(4)]
    assert replies[0] == "I did not catch that."
    assert all(reply.startswith("I did not catch that.") for reply in replies)
    assert len(set(replies)) == 3
    phone.say("hello")
    assert phone.say("") == "I did not catch that."


def test_an_unknown_word_does_not_lose_the_open_question() -> None:
    phone = Phone()
    phone.say("schedule a meeting with the team")
    assert phone.say("gibberish") == "I did not catch that. When should the meeting be?"
    assert "on Friday" in phone.say("on friday")


def test_a_bare_answer_to_no_question_is_not_caught() -> None:
    assert Phone().say("tomorrow at nine").startswith("I did not catch that")


@pytest.mark.parametrize(
    ("key", "start"), [("0", "I keep your notes"), ("9", "Goodbye"), ("7", "I did not catch that")]
)
def test_keys_are_words(key: str, start: str) -> None:
    assert Phone().say(key, kind="dtmf").startswith(start)


def test_one_and_two_are_yes_and_no() -> None:
    phone = Phone()
    phone.say("send an email to anna")
    phone.say("1", kind="dtmf")
    assert isinstance(phone.done[0], CallTool)
    phone = Phone()
    phone.say("send an email to anna")
    assert phone.say("2", kind="dtmf").startswith("All right")


def test_a_digit_that_was_spoken_is_no_key() -> None:
    assert Phone().say("9").startswith("I did not catch that")


def test_an_interrupted_reply_goes_on_where_it_was_not_heard() -> None:
    phone = Phone()
    whole = phone.say("help")
    assert len(whole.split()) > 30, "long enough to be interrupted"
    phone.interrupt_after(8)
    rest = phone.say("please go on")
    assert rest == whole.removeprefix("I keep your notes while you talk. ")


def test_who_interrupts_is_answered() -> None:
    phone = Phone()
    phone.say("help")
    phone.interrupt_after(3)
    phone.say("make a note to buy milk")
    assert isinstance(phone.done[0], CallTool)


def test_a_reply_that_was_heard_is_repeated_whole() -> None:
    phone = Phone()
    greeting = phone.ask("greeting")
    assert greeting == NOTES.greeting
    assert phone.say("say that again") == greeting


def test_goodbye_hangs_up() -> None:
    phone = Phone()
    phone.say("goodbye")
    assert phone.done == [Say("Goodbye."), HangUp("agent_goodbye")]


def test_silence_is_asked_about_then_ends_the_call() -> None:
    phone = Phone()
    asked = [phone.ask("prompt", prompts=n) for n in (1, 2, 3)]
    assert asked == list(NOTES.silence.texts)
    phone.ask("prompt", prompts=4)
    assert phone.done[-1] == HangUp("silence")


def test_silence_brings_the_open_question_back() -> None:
    phone = Phone()
    phone.say("schedule a meeting with the team")
    assert phone.ask("prompt", prompts=1) == "Are you still there? When should the meeting be?"


def test_a_request_is_spoken_as_it_is() -> None:
    assert Phone().ask("request", instruction="Please hold the line. A colleague is coming.") == (
        "Please hold the line. A colleague is coming."
    )


def test_another_agent_takes_over() -> None:
    intent = Intent(name="human", kind="hand_over", patterns=("a person please",), say=("One moment.",), agent="desk")
    profile = msgspec.structs.replace(NOTES, intents=(*NOTES.intents, intent), hand_over=("desk",))
    phone = Phone(RuleAgent(decode_profile(profile_body(profile))))
    phone.say("a person please")
    assert phone.done == [Say("One moment."), HandOver("desk")]


def test_moments_are_meant_in_the_profiles_time_zone() -> None:
    phone = Phone(RuleAgent(msgspec.structs.replace(NOTES, timezone="Asia/Tokyo")))
    phone.say("make a note to buy milk tonight")
    assert isinstance(phone.done[0], CallTool)
    assert phone.done[0].arguments["due"] == "2026-11-21T20:00"


def test_it_says_who_it_is() -> None:
    assert AGENT.made_by().settings == profile_hash(NOTES)


async def test_the_port_streams_the_same_answer() -> None:
    conversation = Conversation("turn", (CallerSaid("help"),), NOW)
    assert tuple([said async for said in AGENT.reply(conversation)]) == AGENT.answer(conversation)


UTTERANCES = st.sampled_from(
    ["yes", "no", "tomorrow at nine", "schedule a meeting", "make a note", "to buy milk", "my boss", "never mind",
     "what do i have so far", "repeat that", "help", "hello", "remind me to walk the dog", "the project", ""]
)  # fmt: skip
ITEMS = st.one_of(
    st.builds(CallerSaid, UTTERANCES | st.text(max_size=30), st.sampled_from(["speech", "text", "dtmf"])),
    st.builds(AgentSaid, st.text(max_size=40), st.text(max_size=40), st.just("turn")),
    st.builds(
        ToolReturned, st.just("save_item"), st.just({"title": "x"}), st.sampled_from(["ok", "failed", "unknown"])
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ITEMS, max_size=12), UTTERANCES | st.text(), st.sampled_from(["speech", "text", "dtmf"]))
def test_any_turn_after_any_history_is_answered(history: list[HistoryItem], text: str, kind: str) -> None:
    conversation = Conversation("turn", (*history, CallerSaid(text, kind)), NOW)
    answer = AGENT.answer(conversation)
    spoken = [said for said in answer if isinstance(said, Say)]
    assert answer
    assert answer == AGENT.answer(conversation)
    assert all(said.text.strip() for said in spoken)


@settings(max_examples=100, deadline=None)
@given(st.lists(ITEMS, max_size=8))
def test_silence_never_becomes_an_intent(history: list[HistoryItem]) -> None:
    answer = AGENT.answer(Conversation("turn", (*history, CallerSaid("")), NOW))
    assert answer[0] == Say("I did not catch that.")
    assert all(isinstance(said, Say) for said in answer)
