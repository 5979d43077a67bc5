"""Asks a caller who was cut off to say it again: the profile's words, whatever engine answers otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator

from workers.agents import Conversation, Said
from workers.engines.port import MadeBy
from workers.profiles import Profile, profile_hash
from workers.wording import say


class AsksAgain:
    """Implements `workers.agents.Agent`. No engine is asked: a line that was just lost has cost time enough."""

    def __init__(self, profile: Profile) -> None:
        self._words = say(profile.texts.cut_off)
        self._made_by = MadeBy(engine="profile", model=profile.name, settings=profile_hash(profile))

    def made_by(self) -> MadeBy:
        return self._made_by

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        for said in self._words:
            yield said
