"""What conversation works with: the ports it is given, and the tasks it runs for one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.agents import Agent
from workers.composing import Composer
from workers.engines.port import TextToSpeech
from workers.life import LifeRules
from workers.outbound import Outbound
from workers.profiles import Profile
from workers.speaking import Speaker
from workers.tools.port import Tool


@dataclass(slots=True)
class Work:
    """The tasks one owner runs for one call; all of it may be lost at any moment."""

    speaker: Speaker
    composer: Composer | None = None
    voiced: set[tuple[str, int]] = field(default_factory=set)  # (sentence id, take) given to the speaker
    tools: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    requests: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # to the carrier


@dataclass(frozen=True, slots=True)
class Desk:
    """What wiring gives conversation to work with."""

    profile_of: Callable[[str], Profile]  # by name, for calls that begin
    agent_of: Callable[[Profile], Agent]
    tts: TextToSpeech
    tools: Mapping[str, Tool]
    outbound: Outbound
    now: Callable[[], int]  # ms, the log's clock
    new_id: Callable[[], str]
    # To the carrier; both return when it has taken the request, raise CarrierError, and are harmless when repeated.
    hang_up: Callable[[str], Awaitable[None]] | None = None  # call_id
    transfer: Callable[[str, str], Awaitable[None]] | None = None  # call_id, number
    life_rules: LifeRules = LifeRules()
    agent_exists: Callable[[str], bool] = lambda name: True  # whether a call may be handed over to it
    ahead: Callable[[Sequence[str], Profile], None] = lambda texts, spoken: None  # will be said, in this voice
