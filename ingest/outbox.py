"""From the log to the live sockets: one reader of this instance's mailbox, for all its sessions."""

from __future__ import annotations

import asyncio

import structlog

from eventlog.port import LogBroken, LogUnavailable, Reader, Record
from ingest.desk import Desk
from ingest.ending import RESTART
from ingest.session import Session
from ingest.tape import FIRST_RETRY_S, LAST_RETRY_S
from schema.registry import MalformedEvent, unpack_outbox
from schema.topics import OUTBOX, mailbox_of

_log = structlog.get_logger(__name__)


async def open_mailbox(desk: Desk) -> Reader:
    """From the mailbox's end as it is now: to be called before the first stream opens."""
    desk.mailbox = mailbox_of(desk.config.instance, await desk.log.partitions(OUTBOX.name))
    return desk.log.reader(OUTBOX.name, {desk.mailbox: await desk.log.end(OUTBOX.name, desk.mailbox)})


async def deliver(desk: Desk, mailbox: Reader) -> None:
    """Until cancelled. A log that is away is asked again: calls go on."""
    wait_s = FIRST_RETRY_S
    while True:
        try:
            records = await mailbox.read(max_records=1_000, wait_ms=1_000)
        except (LogUnavailable, LogBroken) as error:
            _log.warning("mailbox cannot be read, trying again", error=str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_RETRY_S)
            continue
        wait_s = FIRST_RETRY_S
        if records:
            hand_out(desk, records)


def hand_out(desk: Desk, records: list[Record]) -> None:
    """Each message to its stream; others' streams share the mailbox and are passed over."""
    now = desk.clock()
    touched: dict[Session, None] = {}
    for record in records:
        try:
            message = unpack_outbox(record.value)
        except MalformedEvent:
            desk.tally.outbox["unknown", "malformed"] += 1
            continue
        session = desk.sessions.get(message.stream)
        if session is None:
            desk.tally.outbox["unknown", "other_stream"] += 1
            continue
        session.take(message, now)
        touched[session] = None
    for session in touched:
        # The moment before a reply is the best and the shortest: nobody who looks now and then would see it.
        if desk.is_leaving and session.is_quiet(now):
            session.shut(*RESTART)
        session.play(now)
