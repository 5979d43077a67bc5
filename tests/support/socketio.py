"""What Socket.IO's tests share."""

from __future__ import annotations

from schema.outbox import OutboxAudio
from tests.support.transcripts import sound


def packet(stream: str, number: int, *, last: bool = False, call_id: str = "acme~s1") -> OutboxAudio:
    """One of the first sentence of reply `r1`."""
    return OutboxAudio(
        call_id=call_id,
        stream=stream,
        reply="r1",
        sentence=0,
        sentence_id="e2",
        offset_ms=20 * number,
        take=7,
        payload=sound("opus", 20),
        last=last,
    )
