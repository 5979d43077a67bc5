"""The other end of a push-to-talk turn, as a session wants its websocket: it gives back what it is told to."""

from __future__ import annotations

import asyncio

from aiohttp import WSMessage, WSMsgType

from ingest.dialects.turns import DONE

CLOSED = WSMessage(WSMsgType.CLOSE, 1000, None)


class TurnSocket:
    """One turn's. `done` is set when the answer is complete, or nothing more will come."""

    def __init__(self) -> None:
        self.close_code: int | None = None
        self.done = asyncio.Event()
        self._echoes: list[str] = []
        self._news = asyncio.Event()

    def leave(self) -> None:
        """Nobody waits for more. What was told so far is given back first."""
        if self.close_code is None:
            self.close_code = 1000
        self.done.set()
        self._news.set()

    async def receive(self) -> WSMessage:
        while not self._echoes:
            if self.close_code is not None:
                return CLOSED
            self._news.clear()
            await self._news.wait()
        # All of it is one message: there may be a mark for every tenth of a second, in no time.
        lines, self._echoes = self._echoes, []
        return WSMessage(WSMsgType.TEXT, "\n".join(lines), None)

    async def send_str(self, frame: str) -> None:
        if frame == DONE:
            self.done.set()
        elif frame:
            self._echoes.append(frame)
            self._news.set()

    async def send_bytes(self, frame: bytes) -> None:
        """The dialect gathers the sound itself."""

    async def ping(self, payload: bytes) -> None:
        """A request is there until it was answered."""

    async def pong(self, payload: bytes) -> None:
        """As `ping`."""

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        self.close_code = code
        self.done.set()
        self._news.set()
        return True
