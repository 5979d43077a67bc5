"""A network cable that can be cut: every byte goes through, until it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE = 65_536


class Cable:
    """Listens on `address`, leads to `port` on this machine."""

    def __init__(self, port: int) -> None:
        self.address = ""
        self.connections = 0
        self._port = port
        self._ends: set[asyncio.StreamWriter] = set()

    def lead_to(self, port: int) -> None:
        """Where new connections go."""
        self._port = port

    def cut(self) -> None:
        """Every connection breaks; new ones are taken."""
        for end in tuple(self._ends):
            end.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            self._ends |= {writer, back}
            try:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            finally:
                self._ends -= {writer, back}
                back.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@asynccontextmanager
async def cabled(port: int) -> AsyncIterator[Cable]:
    cable = Cable(port)
    server = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    cable.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield cable
    finally:
        server.close()
        cable.cut()
        await server.wait_closed()
