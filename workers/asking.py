"""Asks again when the line went: what the agent had asked, or that the caller say it again in the profile's words."""

from __future__ import annotations

from collections.abc import AsyncIterator

from workers.agents import Conversation, Said
from workers.engines.port import MadeBy
from workers.profiles import Profile, profile_hash
from workers.wording import say


class AsksAgain:
    """Implements `workers.agents.Agent`. No engine is asked: a line that was just lost has cost time enough.

    `question` is what the caller has not answered; empty: they were cut off in mid-sentence.
    """

    def __init__(self, profile: Profile, question: str = "") -> None:
        self._words = say(question or profile.texts.cut_off)
        self._made_by = MadeBy(engine="profile", model=profile.name, settings=profile_hash(profile))

    def made_by(self) -> MadeBy:
        return self._made_by

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        for said in self._words:
            yield said
