"""Whose profile, agent and voice a reply has, as the log tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from eventlog.memory import MemoryLog
from schema.call import CallStarted
from tests.support.runtimes import FlatVoice, now, on_virtual_time
from tests.support.workers import CALL, CallModel
from workers.appender import Appender
from workers.cast import Cast, conversation_of
from workers.desk import Desk
from workers.engines.port import TextToSpeechCapabilities
from workers.outbound import Outbound
from workers.profiles import Profile
from workers.rules import RuleAgent

FRONT: dict[str, Any] = {
    "name": "front",
    "greeting": "Hello.",
    "hand_over": ["sales"],
    "phrases_ahead": ["One moment."],
}


class ManyVoices(FlatVoice):
    capabilities = TextToSpeechCapabilities("many", streaming=True, voices=("en-us", "de"))


class Scene:
    """A cast, and what it asked for ahead."""

    def __init__(self) -> None:
        self.ahead: list[tuple[tuple[str, ...], str]] = []
        self.there = {"sales"}
        desk = Desk(
            profile_of=lambda name: Profile(name=name or "front", greeting="Hello."),
            agent_of=RuleAgent,
            tts=ManyVoices(),
            tools={},
            outbound=Outbound(Appender(MemoryLog(now=now))),
            now=now,
            new_id=lambda: "id",
            agent_exists=lambda name: name in self.there,
            ahead=self._ahead,
        )
        self.cast = Cast(desk)

    def _ahead(self, texts: Sequence[str], spoken: Profile) -> None:
        self.ahead.append((tuple(texts), spoken.voice.name))


def speaking(language: str = "") -> CallModel:
    """The front desk answers in a call of that language."""
    call = CallModel(FRONT)
    call.say(CallStarted(id=call.new_id(), call_id=CALL, channel="raw", language=language), source="app")
    call.adopt()
    call.decide()
    call.open("MZ1")
    call.decide()
    return call


def test_a_calls_language_picks_the_voice_and_what_is_said_often_is_made_in_it_once() -> None:
    async def story() -> None:
        scene, call = Scene(), speaking("de-DE")
        for _ in range(2):
            assert scene.cast.voice(call.state, call.reply).voice.name == "de"
        assert scene.ahead == [(("One moment.",), "de")]
        english = speaking()
        assert scene.cast.voice(english.state, english.reply).voice.name == "en-us"
        assert len(scene.ahead) == 2

    on_virtual_time(story())


def test_only_an_agent_that_is_named_and_there_is_handed_over_to() -> None:
    async def story() -> None:
        scene, call = Scene(), speaking()
        assert scene.cast.hands_over_to(call.state, call.reply, "sales")
        assert not scene.cast.hands_over_to(call.state, call.reply, "repairs")
        scene.there.clear()
        assert not scene.cast.hands_over_to(call.state, call.reply, "sales")

    on_virtual_time(story())


def test_a_reply_keeps_its_profile_when_another_has_the_call() -> None:
    async def story() -> None:
        scene, call = Scene(), speaking()
        call.agent_says("One moment.", composed=False)
        call.hand_over("sales")
        call.state = replace(
            call.state,
            profile_hash="other",
            profile_body={"name": "sales", "greeting": "What?"},
            profiles={**call.state.profiles, "other": {"name": "sales", "greeting": "What?"}},
        )
        assert scene.cast.profile(call.state, call.reply).name == "front"
        assert scene.cast.profile(call.state).name == "sales"
        assert conversation_of(call.state, call.reply).agent == "front"
        by = scene.cast.made_by(call.state)
        assert by is not None and by.model == "sales"

    on_virtual_time(story())
