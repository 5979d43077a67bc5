"""Who answers a call: the profiles it used, decoded once, with the agent and the voice of each."""

from __future__ import annotations

from typing import Any

from schema.call import ProfileUsed
from schema.envelope import MadeBy
from workers.agents import Agent, Conversation
from workers.asking import AsksAgain
from workers.callstate import CallState
from workers.desk import Desk
from workers.profiles import Profile, decode_profile, profile_body, profile_hash
from workers.talk import Reply
from workers.voices import in_language


class Cast:
    """All calls of the process share what is decoded here."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._profiles: dict[str, Profile] = {}
        self._agents: dict[str, Agent] = {}
        self._ahead: set[tuple[str, str]] = set()  # (hash, voice) whose phrases are asked for

    def used(self, call_id: str, agent: str) -> ProfileUsed:
        """The event that gives the call to an agent."""
        profile = self._desk.profile_of(agent)
        return ProfileUsed(
            id=self._desk.new_id(), call_id=call_id, hash=profile_hash(profile), body=profile_body(profile)
        )

    def profile(self, state: CallState, reply: Reply | None = None) -> Profile:
        """Of the reply, which its agent ends even if another has the call by now; else of who has the call."""
        key = self._key(state, reply)
        if key not in self._profiles:
            self._profiles[key] = decode_profile(state.profiles.get(key, state.profile_body))
        return self._profiles[key]

    def agent(self, state: CallState, reply: Reply | None = None) -> Agent:
        if reply is not None and reply.asks_again:
            return AsksAgain(self.profile(state, reply), reply.question)
        key = self._key(state, reply)
        if key not in self._agents:
            self._agents[key] = self._desk.agent_of(self.profile(state, reply))
        return self._agents[key]

    def voice(self, state: CallState, reply: Reply) -> Profile:
        """The profile as it sounds in this call, whose language may be another than the profile's."""
        profile = self.profile(state, reply)
        spoken = in_language(profile, state.talk.language, self._desk.tts.capabilities.voices)
        key = (self._key(state, reply), spoken.voice.name)
        if key not in self._ahead:
            self._ahead.add(key)
            self._desk.ahead(profile.phrases_ahead, spoken)
        return spoken

    def made_by(self, state: CallState) -> MadeBy | None:
        """Who composes a reply that begins now."""
        if not state.profile_hash:
            return None
        by: Any = self.agent(state).made_by()
        return MadeBy(by.engine, by.model, by.settings)

    def hands_over_to(self, state: CallState, reply: Reply, agent: str) -> bool:
        """Whether the agent of this reply may, and there is such an agent."""
        return agent in self.profile(state, reply).hand_over and self._desk.agent_exists(agent)

    def _key(self, state: CallState, reply: Reply | None) -> str:
        return reply.profile if reply is not None and reply.profile in state.profiles else state.profile_hash


def conversation_of(state: CallState, reply: Reply) -> Conversation:
    """What the agent of this reply is asked with."""
    talk = state.talk
    return Conversation(
        cause=reply.why,
        history=talk.history,
        started_at=talk.started,
        language=talk.language,
        prompts=talk.prompts,
        instruction=talk.instruction,
        agent=reply.agent,
    )
