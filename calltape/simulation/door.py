"""A process of ingest as it ships, behind sockets and webhooks that carry values instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from calltape.simulation import socket
from calltape.simulation.faulty_log import LogPort
from calltape.simulation.process import Process
from calltape.simulation.socket import Socket
from calltape.simulation.websocket import Transport, WebSocket
from eventlog.port import LogUnavailable, Reader
from ingest import beat, outbox
from ingest.admission import Admitted
from ingest.config import IngestConfig
from ingest.deeds import Deed, put_down
from ingest.desk import Desk
from ingest.dialects import base
from ingest.dialects.base import Began
from ingest.dialects.twilio import TwilioDialect
from ingest.ending import RESTART
from ingest.session import Session
from ingest.tally import Tally
from ingest.tape import Tape
from schema.call import CallReported, CallStarted, RequestMade
from schema.envelope import Event
from schema.topics import EVENTS, partition_of

AGENT = "toy"
DRAIN_S = 10.0
LOOK_S = 0.1
START_AGAIN_S = 0.5


class Door:
    """One ingest process: all its streams share a tape and a mailbox."""

    def __init__(
        self, process: Process, log: LogPort, *, instance: str, now: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self.process = process
        self._leaving = asyncio.Event()
        self._config = IngestConfig(instance=instance)
        self._log = log
        self._now = now
        self._new_id = new_id
        self._desk: Desk | None = None
        self._arrived: asyncio.Queue[Socket] = asyncio.Queue(100)

    @property
    def is_open(self) -> bool:
        return self._desk is not None and not self._leaving.is_set()

    def connect(self, wire: Socket) -> None:
        """A caller's socket arrives."""
        ws = WebSocket(wire)
        wire.at_door = lambda message: self._take_early(ws, message)
        self._arrived.put_nowait(wire)
        wire.ws = ws

    def leave(self) -> None:
        """SIGTERM."""
        self._leaving.set()

    async def run(self) -> None:
        """Until it is cancelled or killed, or was asked to leave and has left."""
        desk, mailbox = await self._start()
        async with desk.tape:
            self._desk = desk
            with suppress(_Left):
                await self._work(desk, mailbox)

    async def _start(self) -> tuple[Desk, Reader]:
        while True:
            try:
                return await self._prepare()
            except LogUnavailable:
                await asyncio.sleep(START_AGAIN_S)  # it ends, and its supervisor starts it again

    async def _prepare(self) -> tuple[Desk, Reader]:
        config, log = self._config, self._log
        tape = Tape(log, clock=self._now, tally=Tally(), tick_ms=config.tick_ms)
        desk = Desk(
            config=config,
            log=log,
            tape=tape,
            tally=Tally(),
            now=self._now,
            clock=self._now,
            new_id=self._new_id,
            partitions=await log.partitions(EVENTS.name),
        )
        return desk, await outbox.open_mailbox(desk)

    async def _work(self, desk: Desk, mailbox: Reader) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in (outbox.deliver(desk, mailbox), beat.pace(desk), beat.look_after(desk)):
                    tasks.create_task(part)
                tasks.create_task(self._leave_when_asked(desk))
                while True:
                    wire = await self._arrived.get()
                    tasks.create_task(self._serve(desk, wire))
        except* _Left:
            raise _Left from None

    async def _serve(self, desk: Desk, wire: Socket) -> None:
        ws: WebSocket = wire.ws
        transport = cast("asyncio.Transport", Transport(wire, ws))

        def admit(began: Began) -> Admitted:
            return Admitted(began.call_id, agent=AGENT, user_id=wire.user_id, starts_call=wire.begins)

        session = Session(desk, cast("Any", ws), transport, TwilioDialect(), admit)
        wire.at_door = lambda message: self._take(desk, session, ws, message)
        await session.run()
        ws.lose()

    async def _leave_when_asked(self, desk: Desk) -> None:
        """As `ingest.app.Ingest.drain` does: each socket goes when nobody speaks, at the latest after a while."""
        await self._leaving.wait()
        until = self._now() + DRAIN_S * 1000
        desk.is_leaving = True
        while desk.sockets or not self._arrived.empty():
            now = self._now()
            for session in tuple(desk.sockets):
                if now >= until or session.is_quiet(now):
                    session.shut(*RESTART)
            await asyncio.sleep(LOOK_S)
            if now >= until + 5000:
                break
        raise _Left

    # What comes from outside

    def _take_early(self, ws: WebSocket, message: socket.Message) -> None:
        if isinstance(message, socket.Text | socket.Close):
            ws.arrive(message)

    def _take(self, desk: Desk, session: Session, ws: WebSocket, message: socket.Message) -> None:
        """Twilio's words go to the session; the few an app would say come beside it."""
        line = session.line
        match message:
            case socket.Text() | socket.Close():
                ws.arrive(message)
            case socket.Typed() | socket.Released() | socket.Interrupted():
                # A session that is closing reads nothing any more.
                if line is not None and session.stream in desk.sessions and not session.sender.closing:
                    put_down(desk, line, _deed(message), user_id="")
            case socket.Wish(id_, kind, text, to):
                call_id = line.call_id if line is not None else ""
                if call_id:
                    wished = RequestMade(
                        id=self._new_id(), call_id=call_id, source=id_, kind=kind, by="somebody", text=text, to=to
                    )
                    desk.tape.say(wished, partition_of(call_id, desk.partitions))

    async def ring(self, call_id: str, user_id: str = "") -> bool:
        """The carrier's voice webhook: it tells who is calling, and is answered when that is on the log."""
        return await self._hook(
            CallStarted(
                id=self._new_id(),
                call_id=call_id,
                channel="twilio",
                agent=AGENT,
                user_id=user_id,
                source=f"{call_id}:voice",
            )
        )

    async def report(self, call_id: str, status: str, sequence: int) -> bool:
        """The carrier's status callback."""
        return await self._hook(
            CallReported(id=self._new_id(), call_id=call_id, source=call_id, sequence=sequence, status=status)
        )

    async def _hook(self, event: Event) -> bool:
        desk = self._desk
        if desk is None:
            return False
        try:
            async with asyncio.timeout(self._config.limits.webhook_ms / 1000):
                await desk.tape.tell(event, partition_of(event.call_id, desk.partitions))
        except TimeoutError:
            return False
        return True


def _deed(message: socket.Typed | socket.Released | socket.Interrupted) -> Deed:
    match message:
        case socket.Typed(text):
            return base.Typed(text)
        case socket.Released():
            return base.Released()
    return base.Wished("interrupt")


class _Left(Exception):
    """The process has closed its doors and may end."""
