"""One sentence's audio on its way to the peer: what came of it, what was written, what was heard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from schema.outbox import OutboxAudio


@dataclass(slots=True, eq=False)
class Sentence:
    """`received_ms` and `written_ms` are ends within the sentence; `pieces` is what lies between them."""

    reply: str
    index: int
    take: int
    start_ms: int
    arrived_at: int
    grew_at: int
    generation: int
    bytes_per_ms: int
    received_ms: int = 0
    written_ms: int = 0
    heard_ms: int = 0
    whole: bool = False
    started: bool = False
    marked: bool = False  # its first mark came back
    done: bool = False
    pieces: deque[tuple[int, bytes]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.received_ms = self.written_ms = self.heard_ms = self.start_ms

    def grow(self, message: OutboxAudio, now: int) -> bool:
        """Append what is new of it: what was received before, in this take or an older one, is cut off."""
        end_ms = message.offset_ms + len(message.payload) // self.bytes_per_ms
        payload, offset_ms = message.payload, message.offset_ms
        if offset_ms < self.received_ms:
            payload = payload[(self.received_ms - offset_ms) * self.bytes_per_ms :]
            offset_ms = self.received_ms
        taken = bool(payload) and end_ms > self.received_ms
        if taken:
            self.pieces.append((offset_ms, payload))
            self.received_ms = end_ms
            self.grew_at = now
        self.take = max(self.take, message.take)
        if message.last:
            self.whole = True
        return taken or message.last

    def contiguous_ms(self) -> int:
        """How much can be pulled before a gap or the end."""
        length = 0
        expected = self.pieces[0][0]
        for offset_ms, payload in self.pieces:
            if offset_ms != expected:
                break
            length += len(payload) // self.bytes_per_ms
            expected = offset_ms + len(payload) // self.bytes_per_ms
        return length

    def pull(self, length_ms: int | None) -> bytes:
        """Take so much from the front; None: all, with the bytes that make no whole millisecond."""
        pieces = self.pieces
        if length_ms is None:
            whole = b"".join(payload for _, payload in pieces)
            pieces.clear()
            return whole
        missing = length_ms * self.bytes_per_ms
        taken: list[bytes] = []
        while missing and pieces:
            offset_ms, payload = pieces.popleft()
            if len(payload) > missing:
                pieces.appendleft((offset_ms + missing // self.bytes_per_ms, payload[missing:]))
                payload = payload[:missing]
            taken.append(payload)
            missing -= len(payload)
        return b"".join(taken)
