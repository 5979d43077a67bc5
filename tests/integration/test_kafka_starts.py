"""What is started on a broker that stops answering is given up whole: no connection of it stays open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from eventlog.kafka_append import Sender
from eventlog.kafka_members import GroupLink
from eventlog.kafka_reader import KafkaReader
from eventlog.kafka_topics import describe_topics
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import LogUnavailable
from schema.topics import EVENTS
from tests.support.kafka import kafka_bootstrap

QUICK = KafkaTuning(ask_ms=300, open_ms=300)


@dataclass
class Stalled:
    """A way to a broker that lets one answer through, and no second."""

    broker: tuple[str, int]
    address: str = ""
    taken: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.all_closed.clear()
        self.open.add(writer)
        there, back = await asyncio.open_connection(*self.broker)
        answering = asyncio.create_task(self._answer_once(there, writer))
        with contextlib.suppress(OSError):
            while asked := await reader.read(65_536):
                back.write(asked)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        back.close()
        writer.close()
        self.open.discard(writer)
        if not self.open:
            self.all_closed.set()

    async def _answer_once(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = await there.readexactly(4)
        writer.write(size + await there.readexactly(struct.unpack(">i", size)[0]))
        await there.read()


@asynccontextmanager
async def stalled() -> AsyncIterator[Stalled]:
    host, _, port = kafka_bootstrap().partition(",")[0].rpartition(":")
    way = Stalled((host, int(port)))
    server = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    way.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield way
    finally:
        server.close()
        for writer in tuple(way.open):
            writer.transport.abort()
        await server.wait_closed()


@pytest.fixture
def nothing_collected() -> Iterator[None]:
    """What is forgotten stays: the collector would close it some time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _reading(address: str) -> None:
    reader = KafkaReader(EVENTS, "t", address, QUICK, closed=lambda reader: None)
    reader.assign({0: 0})
    try:
        await reader.read()
    finally:
        await reader.close()


STARTS: dict[str, Callable[[str], Awaitable[object]]] = {
    "a producer": lambda address: Sender(address, QUICK).start(),
    "a member": lambda address: GroupLink(address, "g", "t", QUICK).open(),
    "a reader": _reading,
    "a question": lambda address: describe_topics(address, [EVENTS], QUICK),
}


@pytest.mark.usefixtures("nothing_collected")
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_a_start_that_is_given_up_leaves_no_connection(start: Callable[[str], Awaitable[object]]) -> None:
    async with stalled() as way:
        with pytest.raises(LogUnavailable, match="no answer in time"):
            await start(way.address)
        assert way.taken
        async with asyncio.timeout(5):
            await way.all_closed.wait()
