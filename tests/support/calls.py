"""Whole calls through real sockets: the carrier simulator, every role, SQLite and the offline engines."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calltape import world
from calltape.serving import opened_ingest
from calltape.settings import Settings
from calltape.wiring import ROLES, House
from clients.carrier import Carrier, CarrierConfig
from clients.report import CallReport
from clients.script import Script, Step
from clients.twilio_rest import FakeTwilioRest
from eventlog.port import Record
from projections.errors import NoSuchCall
from projections.queries import call_details
from projections.show import show_json
from schema import topics
from schema.admit import Admission, admit
from schema.envelope import AnyEvent, type_of
from schema.registry import decode
from tests.support.settings import plain_settings
from workers.engines.espeak import Espeak

ACCOUNT, SECRET = "AC" + "1" * 32, "2" * 32
PATIENCE_S = 60
POLL_S = 0.2  # a dozen who look more often would be most of what the house has to do


@dataclass(slots=True)
class World:
    """A running house, its address, and a carrier that phones it."""

    house: House
    carrier: Carrier
    settings: Settings
    address: str
    records: list[Record] = field(default_factory=list)

    async def call(self, *steps: Step, call_sid: str | None = None) -> CallReport:
        report = await self.carrier.place_call(Script(steps=steps), call_sid=call_sid)
        await self.carrier.settle()
        return report

    async def events(self, call_id: str) -> list[AnyEvent]:
        """The call's admitted events, in the order of the log."""
        return [event for _, event in await self.timed_events(call_id)]

    async def timed_events(self, call_id: str) -> list[tuple[int, AnyEvent]]:
        positions = dict.fromkeys(range(await self.house.log.partitions(topics.EVENTS.name)), 0)
        reader = self.house.log.reader(topics.EVENTS.name, positions)
        found: list[tuple[int, AnyEvent]] = []
        state = Admission()
        try:
            while records := await reader.read(max_records=5000, wait_ms=50):
                for record in records:
                    event = decode(record.value)
                    if event.call_id == call_id and (admitted := admit(state, event)) is not None:
                        state = admitted
                        found.append((record.at, event))
        finally:
            await reader.close()
        return found

    async def until(self, call_id: str, wire_name: str) -> list[AnyEvent]:
        """The call's events, once it has one of this type."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            events = await self.events(call_id)
            if any(type_of(event) == wire_name for event in events):
                return events
            assert asyncio.get_running_loop().time() < deadline, f"no {wire_name} came: {names(events)}"
            await asyncio.sleep(POLL_S)

    async def shown(self, call_id: str) -> dict[str, Any]:
        """`calltape show --json`, once the summary and the recording are there."""
        engine = await self.house.open_database()
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        shown: dict[str, Any] = {}
        while asyncio.get_running_loop().time() < deadline:
            try:
                shown = show_json(await call_details(engine, call_id))
            except NoSuchCall:
                shown = {}
            if shown.get("sealed_at") and shown.get("summary") is not None and shown.get("recording"):
                return shown
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"the call was never finished: {shown}")


def names(events: list[AnyEvent]) -> list[str]:
    return [type_of(event) for event in events]


def texts(events: list[AnyEvent], wire_name: str) -> list[str]:
    return [event.text for event in events if type_of(event) == wire_name]  # type: ignore[union-attr]


@asynccontextmanager
async def running(folder: Path, **given: Any) -> AsyncIterator[World]:
    """The whole system on a temporary SQLite log and database; `given` are settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        voice = await stack.enter_async_context(Espeak())

        async def speak(text: str) -> bytes:
            return await voice.mulaw(text, "en-us", 140)

        config = CarrierConfig(address, ACCOUNT, SECRET)
        carrier = Carrier(config, voice=speak, new_id=world.new_hex, now=world.now)
        await stack.enter_async_context(carrier)
        rest = await stack.enter_async_context(FakeTwilioRest(carrier))
        settings = plain_settings(
            **{
                "data": folder,
                "port": port,
                "public_url": address,
                "record": "on",
                "twilio_account_sid": ACCOUNT,
                "twilio_auth_token": SECRET,
                "twilio_api": rest.url,
                "instance": "test",
                "drain": 1.0,
                **given,
            }
        )
        house = await stack.enter_async_context(House(settings))
        await house.start(ROLES)
        await stack.enter_async_context(opened_ingest(house))
        yield World(house, carrier, settings, address)
