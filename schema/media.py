"""Audio as it travelled, in the codec it came in; identified by (stream, sequence).

A payload is, by the encoding its `stream.opened` declares for that direction:
- mulaw: samples of one byte, any number of them;
- pcm16: signed 16-bit little-endian samples, channels interleaved, any number of whole moments;
- opus: exactly one Opus packet (RFC 6716, 3), never empty. How long it lasts stands in its first byte.
What wraps it on the wire (base64, WebM, Ogg) is taken off at the door.
"""

from __future__ import annotations

import msgspec

from schema.envelope import Count, Milliseconds


class Media(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """One chunk of audio. `sequence` is ingest's own counter of this stream on calls.media."""

    call_id: str
    stream: str
    sequence: Count
    ms: Milliseconds  # of the stream's own clock at the chunk's first sample
    payload: bytes


class MediaReceived(Media, frozen=True, kw_only=True, tag="media.received"):
    """What the caller sent."""


class MediaSpoken(Media, frozen=True, kw_only=True, tag="media.spoken"):
    """What was written to the socket, written down when it went out."""

    reply: str
    sentence: Count
    offset_ms: Milliseconds  # within the sentence


AnyMedia = MediaReceived | MediaSpoken
