"""What conversation sends to the process that holds a call's socket."""

from __future__ import annotations

import msgspec

from schema.envelope import Count, Milliseconds


class OutboxFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="fact"):
    """A copy of an admitted event that the stream's dialect may render."""

    call_id: str
    stream: str
    position: Count  # of the event in calls.events
    body: bytes  # the event's own JSON


class OutboxAudio(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="audio"):
    """Audio of a sentence in the format that the stream declares for what goes out.

    `payload` is as in `schema.media`: any number of samples, or exactly one Opus packet, so that everybody who counts,
    skips or repeats audio does so by messages alone. It may be empty in the last message of a sentence.
    `take` is the position of the owner's last `call.adopted`, `reply.started` or `reply.resumed`.
    """

    call_id: str
    stream: str
    reply: str
    sentence: Count
    sentence_id: str  # id of its reply.sentence
    offset_ms: Milliseconds
    take: Count
    payload: bytes
    last: bool = False
    final: bool = False  # the reply's last sentence, so far as is known
    generation: Count = 1


OutboxMessage = OutboxFact | OutboxAudio
