"""Audio as it travelled, in the codec it came in; identified by (stream, sequence)."""

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
