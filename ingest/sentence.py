"""One sentence's audio on its way to the peer: what came of it, what was written, what was heard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ingest.measure import Measure
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
    measure: Measure
    received_ms: int = 0
    written_ms: int = 0
    heard_ms: int = 0
    whole: bool = False
    started: bool = False
    marked: bool = False  # its first mark came back
    guessed: bool = False  # `heard_ms` is what the clock says
    done: bool = False
    heard_at: int | None = None  # when `heard_ms` was reached; None: nothing was heard yet
    pieces: deque[tuple[int, bytes]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.received_ms = self.written_ms = self.heard_ms = self.start_ms

    def heard(self, heard_ms: int, now: int) -> None:
        """The caller has heard so much; less than before says nothing."""
        if heard_ms > self.heard_ms:
            self.heard_ms, self.heard_at = heard_ms, now

    def heard_ago_ms(self, now: int) -> int:
        """How long it has stood where it stands."""
        return 0 if self.heard_at is None else now - self.heard_at

    def grow(self, message: OutboxAudio, now: int) -> bool:
        """Append what is new of it: what was received before, in this take or an older one, is cut off."""
        end_ms = message.offset_ms + self.measure.ms_of(message.payload)
        payload, offset_ms = message.payload, message.offset_ms
        if offset_ms < self.received_ms:
            # A packet that reaches over what was received cannot be cut: no millisecond is said twice.
            payload = self.measure.cut(payload, self.received_ms - offset_ms)[1]
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
            piece_ms = self.measure.ms_of(payload)
            length += piece_ms
            expected = offset_ms + piece_ms
        return length

    def pull(self, length_ms: int | None) -> bytes:
        """Take so much from the front; None: all, with the bytes that make no whole millisecond."""
        pieces = self.pieces
        if length_ms is None:
            whole = b"".join(payload for _, payload in pieces)
            pieces.clear()
            return whole
        missing_ms = length_ms
        taken: list[bytes] = []
        while missing_ms and pieces:
            offset_ms, payload = pieces.popleft()
            payload, rest = self.measure.cut(payload, missing_ms)
            if rest:
                pieces.appendleft((offset_ms + missing_ms, rest))
            taken.append(payload)
            missing_ms -= min(missing_ms, self.measure.ms_of(payload))
        return b"".join(taken)

    def pull_one(self) -> bytes:
        """Take the first payload as it came."""
        return self.pieces.popleft()[1]
