"""What the caller is about to hear: whose audio is believed, how far ahead it is sent, what was heard of it.

Rules (R9 of the call's protocol):
1. A fact at or below the last one's position says nothing.
2. Audio of a take below the last `call.adopted`, `reply.started` or `reply.resumed` is dropped, and so is audio of a
   reply interrupted since; `reply.resumed` makes it welcome again.
3. A sentence whose take came whole is finished in it; else it goes on in the latest take at the same millisecond.
4. No millisecond of a sentence is written twice, unless it was cut in between and the reply was resumed.
5. Marks pending when `clear` is sent were cleared, not heard, whatever their echoes say.

Values in, values out: time is passed in, nothing here waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.config import Pace
from schema.call import CallAdopted
from schema.envelope import AnyEvent
from schema.outbox import OutboxAudio
from schema.turn import ReplyInterrupted, ReplyResumed, ReplyStarted

MEMORY = 256  # sentences and interrupted replies remembered
# Below this much ahead the line is about to fall silent: whatever there is goes out.
RUNNING_DRY_MS = 200
# A peer that echoes no marks at all (never Twilio) is believed to have heard after this long.
ECHO_LATE_MS = 1_000


@dataclass(frozen=True, slots=True)
class Write:
    """Audio to be written now, and the mark behind it."""

    payload: bytes
    mark: str
    reply: str
    sentence: int
    offset_ms: int
    follows: bool  # plays right behind the audio written before


@dataclass(frozen=True, slots=True)
class Clear:
    """The peer shall throw away what it has not played."""


@dataclass(frozen=True, slots=True)
class Started:
    reply: str
    sentence: int
    waited_ms: int
    offset_ms: int


@dataclass(frozen=True, slots=True)
class Marked:
    reply: str
    sentence: int
    heard_ms: int
    last: bool


@dataclass(frozen=True, slots=True)
class Cleared:
    reply: str
    sentence: int
    heard_ms: int
    estimated: bool


Act = Write | Clear | Started | Marked | Cleared


@dataclass(slots=True)
class _Sentence:
    """`received_ms` and `written_ms` are ends within the sentence; `pieces` is what lies between them."""

    reply: str
    index: int
    take: int
    start_ms: int
    arrived_at: int
    grew_at: int
    generation: int
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


@dataclass(slots=True)
class _Pending:
    """A mark that was sent: everything up to `end_ms` was heard once it comes back."""

    sentence: _Sentence
    end_ms: int
    length_ms: int
    last: bool
    due_at: int


class Playlist:
    """One stream's audio."""

    def __init__(self, *, pace: Pace, bytes_per_ms: int, echoes: bool = True) -> None:
        self.through = 0  # position of the last fact taken
        self.take = 0
        self._pace = pace
        self._bytes_per_ms = bytes_per_ms
        self._echoes = echoes
        self._sentences: OrderedDict[str, _Sentence] = OrderedDict()  # by the id of their reply.sentence
        self._line: deque[_Sentence] = deque()  # not yet written to their ends
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._cleared: set[str] = set()
        self._interrupted: OrderedDict[str, int] = OrderedDict()  # reply -> position
        self._unplayed_until = 0
        self._marks = 0

    # ------------------------------------------------------------------ what comes from the log

    def fact(self, position: int, event: AnyEvent, now: int) -> list[Act] | None:
        """What a copied fact makes us do; None when it was given before."""
        if position <= self.through:
            return None
        self.through = position
        if isinstance(event, CallAdopted | ReplyStarted | ReplyResumed):
            self.take = position
        if isinstance(event, ReplyResumed):
            self._interrupted.pop(event.reply, None)
        if isinstance(event, ReplyInterrupted):
            self._interrupted[event.reply] = position
            if len(self._interrupted) > MEMORY:
                self._interrupted.popitem(last=False)
            return self.cut(event.reply, now)
        return []

    def audio(self, message: OutboxAudio, now: int) -> bool:
        """Take audio in. False: it was dropped."""
        if message.take < self.take or message.reply in self._interrupted:
            return False
        sentence = self._sentences.get(message.sentence_id)
        if sentence is None:
            sentence = self._new_sentence(message, now)
        if sentence.whole:
            return False
        return self._grow(sentence, message, now)

    def _new_sentence(self, message: OutboxAudio, now: int) -> _Sentence:
        sentence = _Sentence(
            reply=message.reply,
            index=message.sentence,
            take=message.take,
            start_ms=message.offset_ms,
            arrived_at=now,
            grew_at=now,
            generation=message.generation,
        )
        self._sentences[message.sentence_id] = sentence
        self._line.append(sentence)
        self._forget_old()
        return sentence

    def _grow(self, sentence: _Sentence, message: OutboxAudio, now: int) -> bool:
        """Append what is new of it: what was received before, in this take or an older one, is cut off."""
        length_ms = len(message.payload) // self._bytes_per_ms
        end_ms = message.offset_ms + length_ms
        payload, offset_ms = message.payload, message.offset_ms
        if offset_ms < sentence.received_ms:
            payload = payload[(sentence.received_ms - offset_ms) * self._bytes_per_ms :]
            offset_ms = sentence.received_ms
        taken = bool(payload) and end_ms > sentence.received_ms
        if taken:
            sentence.pieces.append((offset_ms, payload))
            sentence.received_ms = end_ms
            sentence.grew_at = now
        sentence.take = max(sentence.take, message.take)
        if message.last:
            sentence.whole = True
        return taken or message.last

    def _forget_old(self) -> None:
        while len(self._sentences) > MEMORY:
            oldest = next(iter(self._sentences))
            if not self._sentences[oldest].done:
                return
            del self._sentences[oldest]

    # ------------------------------------------------------------------ what goes out

    def due(self, now: int) -> list[Act]:
        """What is to be written now so that the peer neither runs dry nor gets far ahead."""
        acts: list[Act] = []
        if not self._echoes:
            self._believe_the_clock(now, acts)
        while self._line:
            sentence = self._line[0]
            if sentence.pieces:
                if self.ahead_ms(now) >= self._pace.lead_ms:
                    break
                piece = self._next_piece(sentence, now)
                if piece is None:
                    break
                self._write(sentence, piece, now, acts)
            if not self._leave_behind(sentence, now, acts):
                if not sentence.pieces:
                    break
                continue
            self._line.popleft()
        return acts

    def ahead_ms(self, now: int) -> int:
        """How long the peer can play from what it has."""
        return max(0, self._unplayed_until - now)

    @property
    def wants_beat(self) -> bool:
        """Whether time alone can make something due."""
        return bool(self._line) or (bool(self._pending) and not self._echoes)

    def is_quiet(self, now: int) -> bool:
        """Nothing waits and nothing plays."""
        return not self._line and not self._pending and self.ahead_ms(now) == 0

    def is_played(self, now: int) -> bool:
        """Nothing waits, and whatever was sent came back or had time enough to be played twice."""
        return not self._line and (not self._pending or now > self._unplayed_until + self._pace.lead_ms)

    def _next_piece(self, sentence: _Sentence, now: int) -> tuple[int, bytes] | None:
        """The next chunk of 20 to 200 ms, small at the beginning; None to wait for more."""
        ahead = self.ahead_ms(now)
        size = self._pace.first_ms if ahead == 0 else self._pace.chunk_ms
        offset_ms = sentence.pieces[0][0]
        available = _contiguous_ms(sentence.pieces, self._bytes_per_ms)
        is_end = sentence.whole and offset_ms + available >= sentence.received_ms
        if is_end and available < size + self._pace.least_ms:
            return offset_ms, self._pull(sentence, None)
        if available >= size:
            return offset_ms, self._pull(sentence, size)
        gap_follows = offset_ms + available < sentence.received_ms
        if gap_follows or (available >= self._pace.least_ms and ahead < RUNNING_DRY_MS):
            return offset_ms, self._pull(sentence, available)
        return None

    def _pull(self, sentence: _Sentence, length_ms: int | None) -> bytes:
        """Take so much from the front; None: all, with the bytes that make no whole millisecond."""
        pieces = sentence.pieces
        if length_ms is None:
            whole = b"".join(payload for _, payload in pieces)
            pieces.clear()
            return whole
        missing = length_ms * self._bytes_per_ms
        taken: list[bytes] = []
        while missing and pieces:
            offset_ms, payload = pieces.popleft()
            if len(payload) > missing:
                pieces.appendleft((offset_ms + missing // self._bytes_per_ms, payload[missing:]))
                payload = payload[:missing]
            taken.append(payload)
            missing -= len(payload)
        return b"".join(taken)

    def _write(self, sentence: _Sentence, piece: tuple[int, bytes], now: int, acts: list[Act]) -> None:
        offset_ms, payload = piece
        length_ms = len(payload) // self._bytes_per_ms
        if not sentence.started:
            sentence.started = True
            acts.append(Started(sentence.reply, sentence.index, max(0, now - sentence.arrived_at), offset_ms))
        follows = self._unplayed_until > now
        self._unplayed_until = max(now, self._unplayed_until) + length_ms
        sentence.written_ms = offset_ms + length_ms
        name = f"{sentence.reply}:{sentence.index}:{self._marks}:{sentence.generation}"
        self._marks += 1
        self._pending[name] = _Pending(
            sentence,
            sentence.written_ms,
            length_ms,
            last=sentence.whole and not sentence.pieces,
            due_at=self._unplayed_until,
        )
        acts.append(Write(payload, name, sentence.reply, sentence.index, offset_ms, follows))

    def _leave_behind(self, sentence: _Sentence, now: int, acts: list[Act]) -> bool:
        """Whether the line moves on from its first sentence."""
        if sentence.pieces:
            return False
        if sentence.whole:
            self._finish(sentence, acts)
            return True
        starved = len(self._line) > 1 and now - sentence.grew_at >= self._pace.starved_ms
        if starved:
            # Its rest never came; the next sentence must not wait for it.
            sentence.whole = sentence.done = True
            acts.append(Cleared(sentence.reply, sentence.index, sentence.written_ms, estimated=True))
        return starved

    def _finish(self, sentence: _Sentence, acts: list[Act]) -> None:
        """All of it was written: its newest mark is its last, or that one came back already."""
        for pending in reversed(self._pending.values()):
            if pending.sentence is sentence:
                pending.last = True
                return
        if not sentence.done:
            sentence.done = True
            acts.append(Marked(sentence.reply, sentence.index, sentence.heard_ms, last=True))

    # ------------------------------------------------------------------ what the peer says

    def echoed(self, name: str, now: int) -> list[Act] | None:
        """What a mark that came back proves; None when it is not one of ours, or comes a second time."""
        if name in self._cleared:
            self._cleared.discard(name)
            return []
        mark = self._pending.pop(name, None)
        if mark is None:
            return None
        # What is still unplayed at this moment is exactly what lies behind the marks that are still out.
        self._unplayed_until = now + sum(pending.length_ms for pending in self._pending.values())
        return self._heard(mark)

    def _heard(self, mark: _Pending) -> list[Act]:
        sentence = mark.sentence
        sentence.heard_ms = max(sentence.heard_ms, mark.end_ms)
        is_first = not sentence.marked
        sentence.marked = True
        if sentence.done or not (is_first or mark.last):
            return []
        sentence.done = mark.last
        return [Marked(sentence.reply, sentence.index, sentence.heard_ms, mark.last)]

    def _believe_the_clock(self, now: int, acts: list[Act]) -> None:
        while self._pending:
            name, mark = next(iter(self._pending.items()))
            if mark.due_at + ECHO_LATE_MS > now:
                return
            del self._pending[name]
            acts.extend(self._heard(mark))

    # ------------------------------------------------------------------ cutting

    def cut(self, reply: str, now: int) -> list[Act]:
        """Silence a reply at once; what other replies have out there is lost with it."""
        theirs = [s for s in self._sentences.values() if s.reply == reply and not s.done]
        is_out = any(pending.sentence.reply == reply for pending in self._pending.values())
        heard = self._estimates(now) if is_out else {}
        acts: list[Act] = [Clear()] if is_out else []
        if is_out:
            theirs += [p.sentence for p in self._pending.values() if p.sentence.reply != reply]
            self._cleared |= self._pending.keys()
            self._pending.clear()
            self._unplayed_until = now
        acts += self._cut_sentences(_unique(theirs), heard)
        return acts

    def lost(self, now: int) -> list[Act]:
        """The socket is gone: what was heard of the sentences that were playing, as far as their marks prove."""
        playing = _unique([p.sentence for p in self._pending.values()])
        playing += [s for s in self._line if s.started and s not in playing]
        self._line.clear()
        self._pending.clear()
        return self._cut_sentences([s for s in playing if not s.done], {})

    def _estimates(self, now: int) -> dict[int, int]:
        """By sentence (its identity here): where the peer must be by the clock, at most what was sent."""
        unplayed = self.ahead_ms(now)
        heard: dict[int, int] = {}
        for pending in reversed(self._pending.values()):
            left = min(unplayed, pending.length_ms)
            unplayed -= left
            if left < pending.length_ms:
                key = id(pending.sentence)
                heard[key] = max(heard.get(key, 0), pending.end_ms - left)
        return heard

    def _cut_sentences(self, sentences: list[_Sentence], heard: dict[int, int]) -> list[Act]:
        acts: list[Act] = []
        for sentence in sentences:
            by_clock = min(heard.get(id(sentence), 0), sentence.written_ms)
            heard_ms = max(sentence.heard_ms, by_clock)
            acts.append(Cleared(sentence.reply, sentence.index, heard_ms, estimated=by_clock > sentence.heard_ms))
        gone = {id(sentence) for sentence in sentences}
        self._line = deque(s for s in self._line if id(s) not in gone)
        # Forgotten, so that a resumed reply may say it again from where it was heard.
        for key in [key for key, s in self._sentences.items() if id(s) in gone]:
            del self._sentences[key]
        return acts


def _contiguous_ms(pieces: deque[tuple[int, bytes]], bytes_per_ms: int) -> int:
    length = 0
    expected = pieces[0][0]
    for offset_ms, payload in pieces:
        if offset_ms != expected:
            break
        length += len(payload) // bytes_per_ms
        expected = offset_ms + len(payload) // bytes_per_ms
    return length


def _unique(sentences: list[_Sentence]) -> list[_Sentence]:
    return list(_by_identity(sentences))


def _by_identity(sentences: list[_Sentence]) -> Iterator[_Sentence]:
    seen: set[int] = set()
    for sentence in sentences:
        if id(sentence) not in seen:
            seen.add(id(sentence))
            yield sentence
