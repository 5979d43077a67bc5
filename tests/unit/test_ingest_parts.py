"""A part of the doors that breaks ends their process."""

from __future__ import annotations

import asyncio

import pytest

from calltape.lifetime import Broken, Lifetime
from calltape.serving import opened_ingest
from calltape.wiring import House
from eventlog.port import Entry, Record
from ingest import outbox
from ingest.desk import Desk
from ingest.parts import PartFailed, Parts
from schema.topics import OUTBOX, mailbox_of
from tests.support.settings import plain_settings


async def _breaks() -> None:
    raise KeyError("mailbox")


async def test_a_part_that_breaks_says_which_and_why() -> None:
    parts = Parts()
    parts.run("the reader of the mailbox", _breaks())
    failure = await parts.failed
    assert isinstance(failure, PartFailed)
    assert str(failure).startswith("the reader of the mailbox failed (KeyError: 'mailbox')")
    await parts.stop()


async def test_a_part_that_ends_by_itself_is_missed_too() -> None:
    parts = Parts()
    parts.run("the pacing of audio", asyncio.sleep(0))
    assert "it stopped by itself" in str(await parts.failed)


async def test_parts_that_are_stopped_did_not_fail() -> None:
    parts = Parts()
    parts.run("the care for sockets", asyncio.sleep(3600))
    await parts.stop()
    assert not parts.failed.done()


async def test_doors_without_a_mailbox_end_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(desk: Desk, records: list[Record]) -> None:
        raise RuntimeError("no such stream")

    monkeypatch.setattr(outbox, "hand_out", broken)
    settings = plain_settings(log="memory:", port=0)
    async with House(settings) as house, asyncio.timeout(30):
        lifetime = Lifetime()
        async with opened_ingest(house, dev=True):
            mailbox = mailbox_of(settings.instance)
            await house.log.append(OUTBOX.name, [Entry("anything", b"anything", mailbox)])
            with pytest.raises(Broken) as broke:
                await lifetime.spend(house)
    assert "the reader of the mailbox failed (RuntimeError: no such stream)" in str(broke.value.__cause__)
