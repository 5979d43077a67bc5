"""The doors of one process: opens them, lets calls in, and closes them without cutting anybody short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from socket import socket
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web

from eventlog.port import Log
from ingest import beat, outbox
from ingest.app_doors import APP_DOORS, OTHER_DOORS, SOCKETIO
from ingest.apps import Apps
from ingest.config import IngestConfig
from ingest.desk import Desk
from ingest.ending import RESTART
from ingest.entrance import Entrance
from ingest.numbers import Numbers, Owner
from ingest.parts import Parts
from ingest.screen_feed import FirstPosition, OldestLive
from ingest.screens import Screens
from ingest.session import Session
from ingest.tally import Tally
from ingest.tape import Tape
from ingest.token_keys import Keys
from ingest.tokens import Tokens
from ingest.twilio_door import TwilioDoor
from ingest.web import devtoken, leaving, pages
from ingest.web.cors import Cors
from ingest.web.health import Health
from ingest.web.problems import problems
from ingest.web.turns import Turns
from ingest.web.twiml import STREAM_PATH
from ingest.web.webhooks import ReadModel
from schema.topics import EVENTS

if TYPE_CHECKING:
    from ingest.socketio_door import SocketioDoor

TWILIO = "twilio"
QUIET_LOOK_S = 0.1
BACKLOG = 1024


class NoDoor(Exception):
    """The server would stand there with no door open; the message says which secret opens one."""


@dataclass(frozen=True, slots=True)
class Door:
    """`why` it stays shut, and what would open it; empty: it opens."""

    name: str
    paths: tuple[str, ...]
    why: str = ""

    @property
    def is_open(self) -> bool:
        return not self.why


def doors(config: IngestConfig) -> tuple[Door, ...]:
    """Every door this version has, open or shut."""
    needed = {"CALLTAPE_TWILIO_AUTH_TOKEN": config.twilio.auth_token, "CALLTAPE_PUBLIC_URL": config.public_url}
    missing = [name for name, value in needed.items() if not value and not config.dev]
    has_tokens = config.tokens.secret or config.tokens.jwks
    lacks = "" if has_tokens else "set CALLTAPE_JWT_SECRET or CALLTAPE_JWT_JWKS"
    return (
        Door(TWILIO, ("/twilio/voice", f"{STREAM_PATH}/…"), f"set {' and '.join(missing)}" if missing else ""),
        *(Door(door.name, (door.path,), lacks) for door in APP_DOORS),
        *(Door(door.name, (door.path,), lacks or door.lacks) for door in OTHER_DOORS),
        Door("callscreen", ("/ws/callscreen/…", "/api/calls/…/events", "/api/calls/…/transcript"), lacks),
    )


class Ingest:
    """`async with`: inside it the log is being written; `start` opens the port."""

    def __init__(
        self,
        config: IngestConfig,
        log: Log,
        *,
        now: Callable[[], int],
        clock: Callable[[], int],
        new_id: Callable[[], str],
        numbers: Numbers | None = None,
        read_model: ReadModel | None = None,
        first_position: FirstPosition | None = None,
        oldest_live: OldestLive | None = None,
    ) -> None:
        self.tally = Tally()
        self._config = config
        self._log = log
        self._now = now
        self._clock = clock
        self._new_id = new_id
        self._numbers = numbers or Numbers(Owner(agent=config.agent))
        self._read_model = read_model
        self._stack = AsyncExitStack()
        self._parts: Parts
        self._desk: Desk | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.BaseSite | None = None
        self._draining = False
        self._is_relieved = False
        self._keys: Keys | None = None
        self._way_in: Entrance | None = None
        self._screens: Screens | None = None
        self._socketio: SocketioDoor | None = None
        self._first_position = first_position
        self._oldest_live = oldest_live

    @property
    def failed(self) -> asyncio.Future[BaseException]:
        """Done when a part of it broke: the process had better end."""
        return self._parts.failed

    def open_doors(self) -> tuple[Door, ...]:
        return doors(self._config)

    async def __aenter__(self) -> Self:
        try:
            return await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _begin(self) -> Self:
        config = self._config
        tape = Tape(
            self._log,
            clock=self._clock,
            tally=self.tally,
            tick_ms=config.tick_ms,
            media_buffer_bytes=config.media_buffer_bytes,
            facts_buffer=config.facts_buffer,
        )
        self._desk = Desk(
            config=config,
            log=self._log,
            tape=tape,
            tally=self.tally,
            now=self._now,
            clock=self._clock,
            new_id=self._new_id,
            partitions=await self._log.partitions(EVENTS.name),
        )
        if config.tokens.secret or config.tokens.jwks:
            self._keys = await self._stack.enter_async_context(Keys(config.tokens, clock=self._clock))
            self._way_in = self._entrance(self._desk)
            self._screens = await self._stack.enter_async_context(self._new_screens(self._desk, self._way_in))
            if not SOCKETIO.lacks:
                from ingest.socketio_door import SocketioDoor

                door = SocketioDoor(self._desk, self._way_in, self._screens.room)
                self._socketio = await self._stack.enter_async_context(door)
        mailbox = await outbox.open_mailbox(self._desk)
        self._stack.push_async_callback(mailbox.close)
        await self._stack.enter_async_context(tape)
        self._parts = Parts()
        self._parts.run("the reader of the mailbox", outbox.deliver(self._desk, mailbox))
        self._parts.run("the pacing of audio", beat.pace(self._desk))
        self._parts.run("the care for sockets", beat.look_after(self._desk))
        for task in tape.tasks:
            self._parts.watch(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sockets first, then what moves them, then the tape, which puts down their last words."""
        self._draining = True
        self._shut_beside()
        self._shut_all(lambda _session: True)
        if self._socketio is not None:
            await self._socketio.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._parts.stop()
        await self._stack.aclose()

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, listening: socket | None = None) -> int:
        """Listen, at a socket that listens already if one is given; returns the port. Raises NoDoor."""
        if self._config.dev and not _is_loopback(host):
            raise NoDoor(f"development mode lets anybody in and listens on loopback only, not on {host}")
        if not any(door.is_open for door in self.open_doors()):
            raise NoDoor("no door can open: " + "; ".join(f"{door.name}: {door.why}" for door in self.open_doors()))
        self._runner = web.AppRunner(self.build_app(), access_log=None, shutdown_timeout=3.0)
        await self._runner.setup()
        at_socket = web.SockSite(self._runner, listening, backlog=BACKLOG) if listening is not None else None
        self._site = at_socket or web.TCPSite(self._runner, host, port, backlog=BACKLOG)
        await self._site.start()
        return int(self._runner.addresses[0][1])

    async def drain(self, *, is_relieved: bool = False) -> None:
        """Take no call, and let each one go when nobody speaks or owes an answer, at the latest after `drain_ms`.

        The port stays open: the carrier, which asks what to do next, is told to ask again in a moment. Unless this
        process is relieved: then another one accepts at the same socket, and callers find it there at once.
        """
        if is_relieved and self._site is not None:
            await self._site.stop()
            self._is_relieved = True
        self._draining = True
        self._shut_beside()
        desk = self._living()
        desk.is_leaving = True
        deadline = self._clock() + self._config.drain_ms
        while desk.sockets:
            now = self._clock()
            self._shut_all(lambda session, now=now: now >= deadline or session.is_quiet(now))  # type: ignore[misc]
            await asyncio.sleep(QUIET_LOOK_S)
            if now >= deadline + 5_000:
                return

    def build_app(self) -> web.Application:
        desk = self._living()
        app = web.Application(client_max_size=self._config.limits.frame_bytes, middlewares=[problems])
        leaving.install(app, lambda: self._draining)
        app.add_routes(Health(desk, is_draining=self._is_draining).routes())
        opened = {door.name for door in self.open_doors() if door.is_open}
        if TWILIO in opened:
            carrier = TwilioDoor(
                desk, numbers=self._numbers, read_model=self._read_model, is_draining=self._is_draining
            )
            app.add_routes(carrier.routes())
        if self._way_in is not None and self._screens is not None:
            Cors(self._way_in.origins).install(app)
            app.add_routes(Apps(desk, self._way_in, APP_DOORS).routes())
            app.add_routes(self._screens.routes())
            app.add_routes(pages.routes())
            Turns(desk, self._way_in).install(app)
            if self._socketio is not None:
                app.add_routes(self._socketio.routes())
        if self._config.dev and self._config.tokens.secret:
            app.add_routes(devtoken.routes(self._config.tokens, now=self._now))
        return app

    def _entrance(self, desk: Desk) -> Entrance:
        assert self._keys is not None, "the keys are read before a door opens"
        tokens = Tokens(self._config.tokens, self._keys, now=self._now)
        return Entrance(self._config, tokens, self.tally, is_full=self._is_full, is_draining=self._is_draining)

    def _is_full(self) -> bool:
        """Sockets, screens and companions have the server's room together."""
        watching = self._screens.open if self._screens is not None else 0
        beside = self._socketio.beside if self._socketio is not None else 0
        return len(self._living().sockets) + watching + beside >= self._config.limits.connections

    def _new_screens(self, desk: Desk, entrance: Entrance) -> Screens:
        return Screens(
            self._config,
            self._log,
            entrance,
            self.tally,
            partitions=desk.partitions,
            now=self._now,
            clock=self._clock,
            first_position=self._first_position,
            oldest_live=self._oldest_live,
        )

    def _shut_beside(self) -> None:
        """Who has no session."""
        if self._screens is not None:
            self._screens.shut()
        if self._socketio is not None:
            self._socketio.shut()

    def _is_draining(self) -> bool:
        """Whether callers are sent away. What still comes to one who is relieved came before its successor."""
        return self._draining and not self._is_relieved

    def _shut_all(self, is_time: Callable[[Session], bool]) -> None:
        if self._desk is not None:
            for session in tuple(self._desk.sockets):
                if is_time(session):
                    session.shut(*RESTART)

    def _living(self) -> Desk:
        if self._desk is None:
            raise RuntimeError("Ingest is used inside `async with`")
        return self._desk


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
