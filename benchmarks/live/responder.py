"""Stands where hearing and conversation stand: reads every frame from calls.media, answers into calls.outbox.

No engine, no state of a call beyond its reply: what is measured is the way through the log. `responder.py LOG`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import uvloop
from child import FRAME_MS, PIECE_MS, agent_speaks, call_number, now_ms, parent_is_done, tell

from clients.sound import SILENCE
from eventlog.port import Entry, Log, Reader
from eventlog.sqlite import SqliteLog
from schema.media import MediaReceived
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import encode, pack, unpack_media
from schema.topics import EVENTS, MEDIA, OUTBOX, PARTITIONS, mailbox_of
from schema.turn import ReplyStarted

MAILBOX = mailbox_of("bench")
_REST = SILENCE * ((PIECE_MS - FRAME_MS) * 8)


@dataclass(slots=True)
class _Reply:
    """What a call's agent is saying. `take` 0: its `reply.started` is not on the log yet."""

    id: str
    take: int = 0
    said_ms: int = 0


class Responder:
    """`async with`: inside it calls are answered."""

    def __init__(self, log: Log) -> None:
        self.frames = self.pieces = self.replies = 0
        self._log = log
        self._said: dict[str, _Reply] = {}  # by stream
        self._to_announce: asyncio.Queue[tuple[MediaReceived, _Reply]] = asyncio.Queue(10_000)
        self._ids = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        ends = {partition: await self._log.end(MEDIA.name, partition) for partition in range(PARTITIONS)}
        reader = self._log.reader(MEDIA.name, ends)
        self._tasks = [asyncio.create_task(self._answer(reader)), asyncio.create_task(self._announce())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for broken in ended:
            if isinstance(broken, Exception):
                raise broken

    async def _answer(self, reader: Reader) -> None:
        while True:
            records = await reader.read(max_records=5_000, wait_ms=1_000)
            pieces = []
            for record in records:
                media = unpack_media(record.value)
                if isinstance(media, MediaReceived):
                    self.frames += 1
                    # The generator is silent but for its stamps.
                    if media.payload[:1] != SILENCE and (piece := self._piece(media)) is not None:
                        pieces.append(Entry(piece.call_id, pack(piece), MAILBOX))
            if pieces:
                await self._log.append(OUTBOX.name, pieces)

    def _piece(self, media: MediaReceived) -> OutboxAudio | None:
        call = call_number(media.call_id)
        soon = agent_speaks(call, media.ms + PIECE_MS)
        reply = self._said.get(media.stream)
        if not agent_speaks(call, media.ms):
            if reply is None and soon:
                self._begin(media)
            return None
        if reply is None or not reply.take:
            return None  # the call began in the middle of a turn
        self.pieces += 1
        if not soon:
            del self._said[media.stream]
        offset_ms, reply.said_ms = reply.said_ms, reply.said_ms + PIECE_MS
        return OutboxAudio(
            call_id=media.call_id,
            stream=media.stream,
            reply=reply.id,
            sentence=0,
            sentence_id=f"{reply.id}-0",
            offset_ms=offset_ms,
            take=reply.take,
            payload=media.payload + _REST,
            last=not soon,
            final=not soon,
        )

    def _begin(self, media: MediaReceived) -> None:
        self.replies += 1
        reply = self._said[media.stream] = _Reply(f"bench-reply-{next(self._ids):012d}")
        self._to_announce.put_nowait((media, reply))

    async def _announce(self) -> None:
        """`reply.started` onto calls.events, then its copy to the socket; the audio follows 160 ms later."""
        while True:
            beginning = [await self._to_announce.get()]
            while not self._to_announce.empty():
                beginning.append(self._to_announce.get_nowait())
            events = [
                ReplyStarted(id=reply.id, call_id=media.call_id, role="conversation", why="turn")
                for media, reply in beginning
            ]
            bodies = [encode(event) for event in events]
            entries = [Entry(event.call_id, body) for event, body in zip(events, bodies, strict=True)]
            placed = await self._log.append(EVENTS.name, entries)
            copies = [
                OutboxFact(call_id=media.call_id, stream=media.stream, position=place.position, body=body)
                for (media, _), place, body in zip(beginning, placed, bodies, strict=True)
            ]
            await self._log.append(OUTBOX.name, [Entry(copy.call_id, pack(copy), MAILBOX) for copy in copies])
            for (_, reply), place in zip(beginning, placed, strict=True):
                reply.take = place.position


async def main() -> None:
    async with SqliteLog(Path(sys.argv[1]), now=now_ms) as log, Responder(log) as responder:
        tell(ready=True)
        await parent_is_done()
        tell(frames=responder.frames, pieces=responder.pieces, replies=responder.replies)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
