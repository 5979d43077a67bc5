"""The workers as they ship, on engines that cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zero import PROFILE, ZeroAgent, ZeroSpeechToText, ZeroVoice

from calltape import world
from eventlog.port import Log
from workers.appender import Appender
from workers.conversation import ConversationRole, Desk
from workers.earconfig import VoiceDetector
from workers.hearing import HearingDesk, HearingRole
from workers.listening import HearingRuntime
from workers.outbound import Outbound
from workers.runtime import Runtime


def hearing(
    log: Log, identity: dict[str, Any], detector: Callable[[], VoiceDetector], kind: Any = HearingRuntime
) -> Runtime[Any]:
    """`kind`: the runtime's class, for who wants to watch one at work."""
    desk = HearingDesk(ZeroSpeechToText(), lambda rate: detector(), world.new_id)
    made: Runtime[Any] = kind(log, HearingRole(desk), **identity)
    return made


def conversation(log: Log, identity: dict[str, Any], voice: ZeroVoice, kind: Any = Runtime) -> Runtime[Any]:
    appender = Appender(log)
    desk = Desk(
        profile_of=lambda name: PROFILE,
        agent_of=ZeroAgent,
        tts=voice,
        tools={},
        outbound=Outbound(appender),
        now=world.now_ms,
        new_id=world.new_id,
    )
    role = ConversationRole(desk)
    made: Runtime[Any] = kind(log, role, appender=appender, **identity)
    role.pump = made.calls.pump
    return made
