"""A connection beside a call's socket: told of everything but the sound, heard in everything but the sound."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from aiohttp import WSMessage, WSMsgType

from ingest.companion_feed import CallFollower
from ingest.desk import Desk
from ingest.dialects import base
from ingest.dialects.socketio import SocketioDialect
from ingest.dialects.socketio_messages import AUDIO, read_event
from ingest.ending import RESTART_MS
from ingest.gauge import Bucket
from ingest.screen_feed import Ended, Overflowed
from ingest.sending import Sender
from ingest.socketio_pipe import Pipe
from ingest.tokens import Bearer, Due, Term
from schema.call import CallEnded, RequestMade
from schema.envelope import AnyEvent
from schema.stream import TextTyped
from schema.topics import partition_of

_log = structlog.get_logger(__name__)
DOOR = "companion"  # as it is counted
CLOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Companionship:
    """Who accompanies what. `source` is the connection's own name on the log."""

    call_id: str
    source: str
    bearer: Bearer
    term: Term


class Companion:
    """`run` once, after the follower has read the past."""

    def __init__(
        self,
        desk: Desk,
        pipe: Pipe,
        sender: Sender,
        dialect: SocketioDialect,
        follower: CallFollower,
        whose: Companionship,
    ) -> None:
        """The dialect has been given the start, and is this companion's alone."""
        self._desk = desk
        self._pipe = pipe
        self._dialect = dialect
        self._follower = follower
        self._whose = whose
        self._partition = partition_of(whose.call_id, desk.partitions)
        self._sequence = 0
        self._sender = sender
        self._tally = desk.tally.door(DOOR)
        limits = desk.config.limits
        self._limits = limits
        self._bucket = Bucket(limits, desk.clock())

    async def run(self, told: list[AnyEvent]) -> WSMessage | None:
        """Until the call or the connection ends: None; or until the peer does what takes a stream: that message.

        `told`: the call so far. The client is told what follows; whose turn it is, at once.
        """
        for event in told:
            self._dialect.send(event)
        self._tally.connections += 1
        self._tally.active += 1
        mouth = self._dialect.mouth
        self._put(mouth.ready(is_companion=True), mouth.status(mouth.turn))
        tasks = [asyncio.create_task(each) for each in (self._sender.run(), self._tell())]
        try:
            message = await self._listen()
            if self._sender.closing:
                await asyncio.wait(tasks[:1], timeout=CLOSE_S)
            return message
        finally:
            self._tally.active -= 1
            self._follower.close()
            for task in tasks:
                task.cancel()
            for broken in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(broken, Exception):
                    _log.error("a companion broke", call_id=self._whose.call_id, exc_info=broken)

    def shut(self, code: int, reason: str) -> None:
        self._sender.close(code, reason)

    def restart(self) -> None:
        """The server is leaving."""
        self._warn("SERVER_RESTARTING", "the server restarts; connect again", RESTART_MS)
        self.shut(1012, "the server restarts; connect again")

    def look(self, now: int) -> None:
        """A few times a second."""
        sender, limits = self._sender, self._limits
        if sender.unsent_bytes > limits.unsent_bytes or sender.stalled_ms(now) >= limits.stalled_ms:
            self._count("slow_peer")
            sender.cut_off(1013)
            return
        due = self._whose.term.due(self._desk.now())
        if due is Due.TELL:
            self._warn("AUTH_EXPIRED", "the token has expired: connect again with a new one", 0)
        elif due is Due.CLOSE:
            self.shut(4401, "the token has expired")

    # ------------------------------------------------------------------ the log's side

    async def _tell(self) -> None:
        while True:
            await self._follower.news.wait()
            try:
                events = self._follower.take()
            except Overflowed:
                self.shut(1013, "too slow for this call")
                return
            except Ended:
                self.restart()
                return
            for event in events:
                self._put(*self._dialect.send(event))
                if isinstance(event, CallEnded):
                    self.shut(1000, "ended")
                    return

    # ------------------------------------------------------------------ the peer's side

    async def _listen(self) -> WSMessage | None:
        while True:
            message = await self._pipe.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return None
            now = self._desk.clock()
            self._tally.received += 1
            if self._sender.closing:
                continue
            if not self._bucket.take(now):
                self._too_fast(now)
            elif _is_audio(message.data):
                return message
            else:
                said = self._dialect.receive(message.data, now)
                if not self._follower.standing.stream and any(isinstance(one, base.Typed) for one in said):
                    return message  # nobody else can hear it answered
                self._heed(said)
            if self._desk.tape.full:
                await self._desk.tape.room()

    def _heed(self, said: tuple[base.Said, ...]) -> None:
        for one in said:
            match one:
                case base.Typed(text):
                    self._type(text)
                case base.Wished(kind):
                    self._wish(kind)
                case base.Problem(code, text, kind):
                    self._count(kind)
                    self._warn(code, text)
                case base.Ignored(kind):
                    self._count(kind)
                case base.Violation(code, kind, reason):
                    self._count(kind)
                    self.shut(code, reason)
                case _:
                    pass  # what is measured or played of a stream is the stream's own to say

    def _type(self, text: str) -> None:
        """Words on the call's stream; the source is the connection, which makes it another voice (R2)."""
        self._sequence += 1
        typed = TextTyped(
            id=self._desk.new_id(),
            call_id=self._whose.call_id,
            tenant_id=self._whose.bearer.tenant,
            source=self._whose.source,
            sequence=self._sequence,
            stream=self._follower.standing.stream,
            text=text,
        )
        self._desk.tape.say(typed, self._partition)

    def _wish(self, kind: str) -> None:
        self._sequence += 1
        wish = RequestMade(
            id=self._desk.new_id(),
            call_id=self._whose.call_id,
            tenant_id=self._whose.bearer.tenant,
            source=self._whose.source,
            sequence=self._sequence,
            kind=kind,  # type: ignore[arg-type]  # one of the dialect's, which are all among these
            by=self._whose.bearer.subject,
        )
        self._desk.tape.say(wish, self._partition)

    def _too_fast(self, now: int) -> None:
        self._count("over_rate")
        if self._bucket.over_ms(now) >= self._limits.over_rate_ms:
            self.shut(1008, f"more than {self._limits.frames_a_second} messages a second")

    def _warn(self, code: str, text: str, retry_after_ms: int | None = None) -> None:
        self._put(*self._dialect.problem(code, text, retry_after_ms))

    def _put(self, *frames: base.Wire) -> None:
        for frame in frames:
            self._tally.sent += 1
            self._sender.put(frame)

    def _count(self, kind: str) -> None:
        self._desk.tally.bad_input[DOOR, kind] += 1


def _is_audio(frame: base.Wire) -> bool:
    event = read_event(frame) if isinstance(frame, str) else None
    return isinstance(frame, bytes) or (event is not None and event[0] == AUDIO)
