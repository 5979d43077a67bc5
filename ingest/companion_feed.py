"""Follows one call from the log, event by event: whether it lives, whose it is, which socket speaks for it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from ingest.screen_feed import Ended, Newsroom, Overflowed
from ingest.screen_tail import Listener, past
from schema.admit import Admission, admit
from schema.call import CallEnded, CallStarted
from schema.envelope import AnyEvent
from schema.stream import StreamClosed, StreamLost, StreamOpened, StreamSuperseded
from schema.topics import partition_of


class Standing:
    """The fold of a call's events."""

    def __init__(self) -> None:
        self.user_id = ""
        self.has_ended = False
        self._admission = Admission()
        self._open: list[str] = []  # streams, the latest last

    @property
    def is_live(self) -> bool:
        """It has begun, and it has not ended."""
        return self._admission.life != "" and not self._admission.sealed and not self.has_ended

    @property
    def stream(self) -> str:
        """The socket that speaks for the call; empty: none does now."""
        return self._open[-1] if self._open else ""

    def take(self, event: AnyEvent) -> bool:
        """Whether the event was admitted; void ones leave no trace."""
        after = admit(self._admission, event)
        if after is None:
            return False
        self._admission = after
        match event:
            case CallStarted(user_id=user_id):
                self.user_id, self.has_ended, self._open = user_id, False, []
            case StreamOpened(stream=stream):
                self._open.append(stream)
            case StreamClosed(stream=stream) | StreamLost(stream=stream) | StreamSuperseded(stream=stream):
                self._open = [each for each in self._open if each != stream]
            case CallEnded():
                self.has_ended = True
        return True


class CallFollower:
    """`open` once, `take` whenever `news` is set, `close` at the end."""

    def __init__(self, room: Newsroom, call_id: str) -> None:
        self.standing = Standing()
        self._room = room
        self._call_id = call_id
        self._partition = partition_of(call_id, room.partitions)
        self._listener = Listener(call_id=call_id, limit=room.limits.backlog)
        self._is_attached = False

    @property
    def news(self) -> asyncio.Event:
        return self._listener.news

    async def open(self) -> list[AnyEvent]:
        """All admitted events up to now, of the call's latest life. Raises LogError."""
        room, told = self._room, list[AnyEvent]()
        stop = await room.tails.attach(self._listener, self._partition)
        self._is_attached = True
        async with room.readers:
            first = await room.first(self._call_id)
            async with aclosing(past(room.log, self._partition, first, stop, call_id=self._call_id)) as earlier:
                async for item in earlier:
                    if self.standing.take(item.event):
                        told = [] if isinstance(item.event, CallStarted) else told
                        told.append(item.event)
        return told

    def take(self) -> list[AnyEvent]:
        """The admitted events since. Raises Overflowed, Ended."""
        listener = self._listener
        listener.news.clear()
        if listener.has_overflowed:
            raise Overflowed
        items = listener.take()
        if listener.has_ended and not items:
            raise Ended
        return [item.event for item in items if self.standing.take(item.event)]

    def close(self) -> None:
        """Harmless when repeated."""
        if self._is_attached:
            self._is_attached = False
            self._room.tails.detach(self._listener, self._partition)
