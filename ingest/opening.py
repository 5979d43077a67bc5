"""How a stream comes onto the log: its place, its first facts, and where media stood before it."""

from __future__ import annotations

import asyncio

from eventlog.port import LogBroken, LogUnavailable
from ingest.admission import Admitted
from ingest.desk import Desk
from ingest.dialects.base import Began
from ingest.lane import Line
from ingest.tape import FIRST_RETRY_S, LAST_RETRY_S
from schema.call import CallStarted
from schema.stream import StreamOpened
from schema.topics import MEDIA, mailbox_of, partition_of


def new_line(desk: Desk, admitted: Admitted, began: Began) -> Line:
    stream = desk.new_id()
    if began.peer_stream:
        # The peer's name stays readable; ours is unique even if the same start comes on two sockets.
        stream = f"{began.peer_stream}.{stream[-12:]}"
    partition = partition_of(admitted.call_id, desk.partitions)
    return Line(call_id=admitted.call_id, tenant_id=admitted.tenant_id, stream=stream, partition=partition)


def bytes_per_ms(began: Began) -> int:
    return began.sample_rate * began.channels * (1 if began.encoding == "mulaw" else 2) // 1000


async def end_of_media(desk: Desk, partition: int) -> int:
    """Asked until the log answers."""
    wait_s = FIRST_RETRY_S
    while True:
        try:
            return await desk.log.end(MEDIA.name, partition)
        except (LogUnavailable, LogBroken):
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_RETRY_S)


def opened(desk: Desk, line: Line, door: str, began: Began, media_end: int) -> StreamOpened:
    return desk.event(
        line,
        StreamOpened,
        stream=line.stream,
        door=door,
        mailbox=mailbox_of(desk.config.instance),
        encoding=began.encoding,
        sample_rate=began.sample_rate,
        channels=began.channels,
        media_end=media_end,
    )


def started(desk: Desk, line: Line, door: str, admitted: Admitted, began: Began) -> CallStarted:
    """R3: an unsigned development start begins its call itself."""
    return desk.event(
        line,
        CallStarted,
        channel=door,
        agent=admitted.agent,
        user_id=admitted.user_id,
        parameters={name: value for name, value in began.parameters.items() if name != "token"},
    )
