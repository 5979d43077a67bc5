"""Puts the house together: the one place where adapters, clocks, ids and settings meet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import structlog

from calltape import world
from calltape.engines import agent_for, speech_to_text, summariser_for, text_to_speech
from calltape.folders import made_folder
from calltape.kafka import kafka_tuning
from calltape.log_topics import configured_topics
from calltape.metered import Meter, metered
from calltape.profiles import Profiles
from calltape.settings import Settings
from calltape.sites import load_sites
from calltape.terminal import Refused
from eventlog.port import Log
from eventlog.uri import open_log
from workers.appender import Appender
from workers.lifecycle import LifeRules
from workers.profiles import Profile
from workers.runtime import Runtime

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from workers.engines.port import SpeechToText

logger = structlog.get_logger()

ROLES = ("hearing", "conversation", "projector", "summariser", "recorder")


class Runnable(Protocol):
    """A role's process, or an ingest."""

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Role:
    """A named part of the house that runs until it is cancelled."""

    name: str
    work: Runnable


class House:
    """Everything one process runs: `async with House(settings) as house`, then `house.start(names)`."""

    def __init__(self, settings: Settings, *, log: Log | None = None) -> None:
        self.settings = settings
        self.log: Log = log or self._log()
        self.database: AsyncEngine | None = None
        self._is_migrated = False
        self.roles: dict[str, Role] = {}
        self.meters: dict[str, Meter] = {}
        self._stack = AsyncExitStack()
        self._running: list[asyncio.Task[None]] = []
        self._profiles = Profiles(settings.agent)
        self.failed: asyncio.Future[BaseException] | None = None

    async def __aenter__(self) -> Self:
        self.failed = asyncio.get_running_loop().create_future()
        try:
            await self._stack.enter_async_context(self.log)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in reversed(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._stack.aclose()

    def _log(self) -> Log:
        self._make_folder()
        topics, kafka = configured_topics(self.settings), kafka_tuning(self.settings)
        return open_log(self.settings.log_uri, now=world.now_ms, topics=topics, kafka=kafka)

    async def open_database(self) -> AsyncEngine:
        """The read models, migrated to this version. Raises ProjectionUnavailable."""
        if not self._is_migrated:
            from migrations.run import upgrade

            await upgrade(self.settings.database_url)
            self._is_migrated = True
        return self.database_as_it_is()

    def database_as_it_is(self) -> AsyncEngine:
        """The read models, perhaps not made or not reachable yet: for who can do without them."""
        if self.database is None:
            from projections.database import open_database

            self.database = open_database(self.settings.database_url)
            self._stack.push_async_callback(self.database.dispose)
        return self.database

    def _make_folder(self) -> None:
        if not (self.settings.database and self.settings.log):
            made_folder(self.settings.data)

    async def start(self, names: Iterable[str]) -> None:
        """Start these roles. Raises Refused, EngineError, ProfileError before any of them runs."""
        makers: dict[str, Callable[[], Any]] = {
            "hearing": self._hearing,
            "conversation": self._conversation,
            "projector": self._projector,
            "summariser": self._summariser,
            "recorder": self._recorder,
        }
        for name in names:
            if name not in makers:
                raise Refused(f"no role is called {name!r}: there are {', '.join(makers)}")
            self.roles[name] = Role(name, await makers[name]())
        for name in names:
            self.run(self.roles[name])

    def _log_of(self, name: str) -> Log:
        """The log as this role sees it: its use of it is counted."""
        self.meters[name] = Meter()
        return metered(self.log, self.meters[name])

    def run(self, role: Role) -> None:
        """Run one part beside the others; when it breaks, `failed` says so."""
        task = asyncio.get_running_loop().create_task(role.work.run(), name=role.name)
        task.add_done_callback(self._ended)
        self._running.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed is None or self.failed.done():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} stopped by itself")
        logger.error("role broke", role=task.get_name(), exc_info=error)
        self.failed.set_result(error)

    def profile(self, name: str) -> Profile:
        """The profile a call names; a call of an unknown one is answered by the default."""
        return self._profiles.of(name)

    def _identity(self) -> dict[str, Any]:
        return {
            "instance": self.settings.instance,
            "incarnation": world.new_hex()[:12],
            "now": world.now_ms,
            "new_id": world.new_id,
        }

    async def _hearing(self) -> Runnable:
        from audio.vad import VoiceActivity
        from workers.hearing import HearingDesk, HearingRole
        from workers.listening import HearingRuntime

        stt: SpeechToText = speech_to_text(self.settings.stt)
        await stt.start()
        self._stack.push_async_callback(stt.close)
        aggressiveness = self.settings.vad_aggressiveness
        desk = HearingDesk(stt, lambda rate: VoiceActivity(aggressiveness, rate), world.new_id)
        return HearingRuntime(self._log_of("hearing"), HearingRole(desk), **self._identity())

    async def _conversation(self) -> Runnable:
        from workers.conversation import ConversationRole, Desk
        from workers.engines.phrases import Phrases
        from workers.outbound import Outbound
        from workers.tools.registry import tools_by_name, tools_named
        from workers.tools.site import site_tools

        self._profiles.load()
        tools = tools_by_name(site_tools(load_sites(self.settings.sites)))
        tools_named(self.profile("").tools, tools.values())
        tts = Phrases(text_to_speech(self.settings.tts), self.settings.phrase_cache)
        await tts.start()
        self._stack.push_async_callback(tts.close)
        log = self._log_of("conversation")
        appender = Appender(log)
        carrier = self._carrier()
        desk = Desk(
            profile_of=self.profile,
            agent_of=agent_for(self.settings.llm),
            tts=tts,
            tools=tools,
            outbound=Outbound(appender),
            now=world.now_ms,
            new_id=world.new_id,
            hang_up=carrier.hang_up if carrier is not None else None,
            transfer=carrier.transfer if carrier is not None else None,
            life_rules=self._life_rules(),
            agent_exists=self._profiles.exists,
            ahead=lambda texts, spoken: tts.ahead(
                texts, voice=spoken.voice.name, language=spoken.language, rate_wpm=spoken.voice.rate_wpm
            ),
        )
        role = ConversationRole(desk)
        runtime = Runtime(log, role, appender=appender, **self._identity())
        role.pump = runtime.calls.pump
        return runtime

    def _carrier(self) -> Any:
        secret = self.settings.twilio_auth_token.get_secret_value()
        if not (secret and self.settings.twilio_account_sid):
            return None
        from workers.carrier import TwilioCalls

        carrier = TwilioCalls(self.settings.twilio_account_sid, secret, self.settings.twilio_api)
        self._stack.push_async_callback(carrier.close)
        return carrier

    def _life_rules(self) -> LifeRules:
        return LifeRules(
            grace_ms=int(self.settings.grace * 1000),
            idle_ms=int(self.settings.idle * 1000),
            longest_ms=int(self.settings.longest_call * 1000),
        )

    async def _projector(self) -> Runnable:
        from projections.applying import Tables
        from workers.projector import Projector

        tables = Tables(await self.open_database())
        return Projector(self._log_of("projector"), tables, instance=self.settings.instance, now=world.now_ms)

    async def _summariser(self) -> Runnable:
        from workers.summariser import SummariserRole

        engine_of = summariser_for(self.settings.summariser, self.profile(""))
        role = SummariserRole(engine_of, world.new_id)
        runtime = Runtime(self._log_of("summariser"), role, **self._identity())
        role.pump = runtime.calls.pump
        return runtime

    async def _recorder(self) -> Runnable:
        from workers.recorder import RecorderRole

        log = self._log_of("recorder")
        role = RecorderRole(log, self.settings.recordings, world.new_id, ask_consent=self.settings.record == "consent")
        runtime = Runtime(log, role, **self._identity())
        role.pump = runtime.calls.pump
        return runtime
