"""The doors of one process: opens them, lets calls in, and closes them without cutting anybody short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from eventlog.port import Log
from ingest import beat, outbox
from ingest.admission import SIGNATURE, Claim, Refused, Signatures, StreamTokens, TwilioStarts, client_address
from ingest.config import IngestConfig
from ingest.desk import Desk
from ingest.dialects.twilio import TwilioDialect
from ingest.numbers import Numbers, Owner
from ingest.session import Session
from ingest.tally import Tally
from ingest.tape import Tape
from ingest.web.health import Health
from ingest.web.twiml import STREAM_PATH
from ingest.web.webhooks import ReadModel, Webhooks
from schema.topics import EVENTS

_log = structlog.get_logger(__name__)
QUIET_LOOK_S = 0.1


class NoDoor(Exception):
    """The server would stand there with no door open; the message says which secret opens one."""


@dataclass(frozen=True, slots=True)
class Door:
    name: str
    path: str
    is_open: bool
    why: str = ""


def doors(config: IngestConfig) -> tuple[Door, ...]:
    """Every door, and what is missing where one is shut."""
    missing = [
        name
        for name, value in (("TWILIO_AUTH_TOKEN", config.twilio.auth_token), ("PUBLIC_URL", config.public_url))
        if not value
    ]
    is_open = config.dev or not missing
    why = "" if is_open else f"set {' and '.join(missing)}"
    return (
        Door("twilio", f"{STREAM_PATH}/{{token}}", is_open, why),
        Door("twilio webhooks", "/twilio/voice", is_open, why),
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
        self._tasks: list[asyncio.Task[None]] = []
        self._desk: Desk | None = None
        self._runner: web.AppRunner | None = None
        self._draining = False
        # Only a process that verifies no carrier invents a secret: its tokens are its own.
        self._tokens = StreamTokens(
            config.twilio.auth_token or new_id(),
            now=now,
            new_nonce=new_id,
            valid_ms=config.limits.token_ms,
        )
        self._signatures = Signatures(config.twilio, config.public_url)

    def open_doors(self) -> tuple[Door, ...]:
        return doors(self._config)

    async def __aenter__(self) -> Self:
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
        mailbox = await outbox.open_mailbox(self._desk)
        self._stack.push_async_callback(mailbox.close)
        await self._stack.enter_async_context(tape)
        for running in (outbox.deliver(self._desk, mailbox), beat.pace(self._desk), beat.look_after(self._desk)):
            task = asyncio.create_task(running)
            task.add_done_callback(_tell_of_failure)
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sockets first, then what moves them, then the tape, which puts down their last words."""
        self._draining = True
        self._shut_all(lambda _session: True)
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port. Raises NoDoor."""
        if self._config.dev and not _is_loopback(host):
            raise NoDoor(f"development mode lets anybody in and listens on loopback only, not on {host}")
        if not any(door.is_open for door in self.open_doors()):
            raise NoDoor("no door can open: " + "; ".join(f"{door.name}: {door.why}" for door in self.open_doors()))
        self._runner = web.AppRunner(self.build_app(), access_log=None, shutdown_timeout=3.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def drain(self) -> None:
        """Take no call, and let each one go when nobody speaks, at the latest after `drain_ms`.

        The port stays open: the carrier, which asks what to do next, is told to ask again in a moment.
        """
        self._draining = True
        desk = self._living()
        deadline = self._clock() + self._config.drain_ms
        while desk.sockets:
            now = self._clock()
            self._shut_all(lambda session, now=now: now >= deadline or session.is_quiet(now))  # type: ignore[misc]
            await asyncio.sleep(QUIET_LOOK_S)
            if now >= deadline + 5_000:
                return

    def build_app(self) -> web.Application:
        desk = self._living()
        app = web.Application(client_max_size=self._config.limits.frame_bytes)
        app.add_routes(Health(desk, is_draining=lambda: self._draining).routes())
        if self.open_doors()[0].is_open:
            hooks = Webhooks(
                desk,
                signatures=self._signatures,
                tokens=self._tokens,
                numbers=self._numbers,
                read_model=self._read_model,
                is_draining=lambda: self._draining,
            )
            app.add_routes(hooks.routes())
            app.add_routes(
                [web.get(STREAM_PATH, self._media_stream), web.get(STREAM_PATH + "/{token}", self._media_stream)]
            )
            app.add_routes([web.get(STREAM_PATH + "/{token}/", self._media_stream)])
        return app

    async def _media_stream(self, request: web.Request) -> web.StreamResponse:
        claim = self._let_in(request)
        limits = self._config.limits
        ws = web.WebSocketResponse(compress=False, heartbeat=None, max_msg_size=limits.frame_bytes, timeout=3.0)
        await ws.prepare(request)
        admit = TwilioStarts(
            self._tokens,
            claim=claim,
            signed=SIGNATURE in request.headers,
            dev=self._config.dev,
            agent=self._config.agent,
            new_id=self._new_id,
        )
        dialect = TwilioDialect(dev=self._config.dev, bad_in_a_row=limits.bad_in_a_row)
        await Session(self._living(), ws, request.transport, dialect, admit).run()
        return ws

    def _let_in(self, request: web.Request) -> Claim | None:
        """Before the upgrade: signature, room, token, in this order, so that a stranger spends no token."""
        unsigned = self._config.dev and SIGNATURE not in request.headers
        if not unsigned and not self._signatures.handshake(request.raw_path, request.headers):
            raise self._refusal(request, web.HTTPForbidden(), "forged_signature")
        retry = {"Retry-After": "5"}
        if self._draining:
            raise self._refusal(request, web.HTTPTooManyRequests(headers=retry), "draining")
        if len(self._living().sockets) >= self._config.limits.connections:
            raise self._refusal(request, web.HTTPTooManyRequests(headers=retry), "full")
        token = request.match_info.get("token", "")
        if not token or (self._config.dev and "." not in token):
            return None  # it may come as a parameter of `start`; the seed's wscat line has any word in its place
        spent = self._tokens.spend(token)
        if isinstance(spent, Refused):
            raise self._refusal(request, web.HTTPForbidden(), spent.kind)
        return spent

    def _refusal(self, request: web.Request, answer: web.HTTPException, why: str) -> web.HTTPException:
        self.tally.refused["twilio", str(answer.status), why] += 1
        address = client_address(
            request.remote or "", request.headers.get("X-Forwarded-For", ""), self._config.trusted_proxies
        )
        _log.warning("refused at the door", door="twilio", status=answer.status, why=why, address=address)
        return answer

    def _shut_all(self, is_time: Callable[[Session], bool]) -> None:
        if self._desk is not None:
            for session in tuple(self._desk.sockets):
                if is_time(session):
                    session.shut("restart", "the server restarts; connect again")

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


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.critical("a part of ingest failed", error=repr(task.exception()), part=task.get_coro().__qualname__)  # type: ignore[union-attr]
