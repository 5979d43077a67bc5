"""How a stream comes onto the log: its place, its format, its first facts, and where media stood before it."""

from __future__ import annotations

import asyncio

from audio.formats import AudioFormat
from eventlog.port import LogBroken, LogUnavailable
from ingest.admission import Admitted
from ingest.desk import Desk
from ingest.dialects.base import Began
from ingest.lane import Line
from ingest.measure import TELEPHONE, Measure, measure_of
from ingest.tape import FIRST_RETRY_S, LAST_RETRY_S
from schema.call import CallStarted, HistoryLine
from schema.stream import StreamOpened
from schema.topics import MEDIA, partition_of

UNOPENED: Measure = TELEPHONE  # before the peer said its format; nothing is measured by it


def new_line(desk: Desk, admitted: Admitted, began: Began) -> Line:
    stream = desk.new_id()
    if began.peer_stream:
        # The peer's name stays readable; ours is unique even if the same start comes on two sockets.
        stream = f"{began.peer_stream}.{stream[-12:]}"
    partition = partition_of(admitted.call_id, desk.partitions)
    return Line(call_id=admitted.call_id, tenant_id=admitted.tenant_id, stream=stream, partition=partition)


def measures(began: Began) -> tuple[Measure, Measure]:
    """Of what comes in, and of what goes out."""
    heard = AudioFormat(began.encoding, began.sample_rate, began.channels)
    encoding, sample_rate = began.out_encoding or began.encoding, began.out_sample_rate or began.sample_rate
    return measure_of(heard), measure_of(AudioFormat(encoding, sample_rate, began.out_channels or 1))


async def end_of_media(desk: Desk, partition: int) -> int:
    """Asked until the log answers."""
    wait_s = FIRST_RETRY_S
    while True:
        try:
            return await desk.log.end(MEDIA.name, partition)
        except (LogUnavailable, LogBroken):
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_RETRY_S)


def opened(desk: Desk, line: Line, door: str, admitted: Admitted, began: Began, media_end: int) -> StreamOpened:
    return desk.event(
        line,
        StreamOpened,
        stream=line.stream,
        door=door,
        mailbox=desk.mailbox,
        user_id=admitted.user_id,
        encoding=began.encoding,
        sample_rate=began.sample_rate,
        channels=began.channels,
        out_encoding=began.out_encoding,
        out_sample_rate=began.out_sample_rate,
        out_channels=began.out_channels,
        out_packet_ms=began.out_packet_ms,
        media_end=media_end,
    )


def started(desk: Desk, line: Line, door: str, admitted: Admitted, began: Began) -> CallStarted:
    """R3: an app's session and an unsigned development start begin their call themselves."""
    return desk.event(
        line,
        CallStarted,
        channel=door,
        agent=admitted.agent,
        user_id=admitted.user_id,
        language=began.language,
        history=tuple(HistoryLine(speaker, text) for speaker, text in began.history),
        parameters={name: value for name, value in began.parameters.items() if name != "token"},
    )
