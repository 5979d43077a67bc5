"""Engine.IO's server with answers to long polls that every client reads: many of them take 16 packets and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import engineio
import socketio

# Python's own client throws away an answer that has more, and the connection with it.
MOST_PACKETS_A_POLL = 16


class Pieces(asyncio.Queue[Any]):
    """What waits to be sent. The library answers a poll with one `get` and as many `get_nowait` as succeed."""

    def __init__(self) -> None:
        super().__init__()
        self._room = MOST_PACKETS_A_POLL

    async def get(self) -> Any:
        """The first of an answer."""
        while True:
            self._room = MOST_PACKETS_A_POLL
            try:
                return await super().get()
            except asyncio.QueueEmpty:  # a second poll has filled its answer meanwhile
                continue

    def get_nowait(self) -> Any:
        """One more. Raises QueueEmpty also when the answer is full."""
        if self._room == 0:
            raise asyncio.QueueEmpty
        item = super().get_nowait()
        self._room -= 1
        return item


class PollServer(engineio.AsyncServer):  # type: ignore[misc]  # the library has no types
    """Its connections' queues are ours."""

    def create_queue(self, *args: Any, **kwargs: Any) -> Pieces:
        return Pieces()


class SocketioServer(socketio.AsyncServer):  # type: ignore[misc]  # the library has no types
    """On that."""

    def _engineio_server_class(self) -> type[PollServer]:
        return PollServer


__all__ = ["MOST_PACKETS_A_POLL", "SocketioServer"]
