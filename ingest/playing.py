"""What the caller is about to hear: whose audio is believed, how far ahead it is sent, what was heard of it.

Rules (R9 of the call's protocol):
1. A fact at or below the last one's position says nothing.
2. Audio of a take below the last `call.adopted`, `reply.started` or `reply.resumed` is dropped, and so is audio of a
   reply interrupted since; `reply.resumed` makes it welcome again.
3. A sentence whose take came whole is finished in it; else it goes on in the latest take at the same millisecond.
4. No millisecond of a sentence is written twice, unless it was cut in between and the reply was resumed.
5. Marks pending when `clear` is sent were cleared, not heard, whatever their echoes say.
6. A peer that echoes nothing has heard min(what was sent, the time since then less LATE_MS); that is an estimate.

Values in, values out: time is passed in, nothing here waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from ingest.acts import Act, Clear, Cleared, Marked, Started, Write
from ingest.config import Pace
from ingest.marks import Mark, Marks
from ingest.measure import Measure
from ingest.sentence import Sentence
from schema.call import CallAdopted
from schema.envelope import AnyEvent
from schema.outbox import OutboxAudio
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyResumed, ReplyStarted

MEMORY = 256  # sentences and interrupted replies remembered
# Below this much ahead the line is about to fall silent: whatever there is goes out.
RUNNING_DRY_MS = 200
# So long after it was sent, a peer that echoes no marks (never Twilio) plays what it was sent: network and buffer.
LATE_MS = 100


class Playlist:
    """One stream's audio."""

    def __init__(self, *, pace: Pace, measure: Measure, echoes: bool = True) -> None:
        self.through = 0  # position of the last fact taken
        self.take = 0
        self._pace = pace
        self._measure = measure
        self._echoes = echoes
        self._sentences: OrderedDict[str, Sentence] = OrderedDict()  # by the id of their reply.sentence
        self._line: deque[Sentence] = deque()  # not yet written to their ends
        self._marks = Marks(0 if echoes else LATE_MS)
        self._interrupted: OrderedDict[str, int] = OrderedDict()  # reply -> position

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
        # A finished reply was heard to its end, on an older stream if not on this one: nothing of it is said again.
        if isinstance(event, ReplyInterrupted | ReplyFinished):
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

    def _new_sentence(self, message: OutboxAudio, now: int) -> Sentence:
        sentence = Sentence(
            reply=message.reply,
            index=message.sentence,
            take=message.take,
            start_ms=message.offset_ms,
            arrived_at=now,
            grew_at=now,
            generation=message.generation,
            measure=self._measure,
        )
        self._sentences[message.sentence_id] = sentence
        self._line.append(sentence)
        self._forget_old()
        return sentence

    def _grow(self, sentence: Sentence, message: OutboxAudio, now: int) -> bool:
        return sentence.grow(message, now)

    def _forget_old(self) -> None:
        while len(self._sentences) > MEMORY:
            oldest = next((key for key, sentence in self._sentences.items() if sentence.done), None)
            if oldest is None:
                return
            del self._sentences[oldest]

    # ------------------------------------------------------------------ what goes out

    def due(self, now: int) -> list[Act]:
        """What is to be written now so that the peer neither runs dry nor gets far ahead."""
        acts: list[Act] = []
        if not self._echoes:
            for mark in self._marks.overdue(now):
                mark.sentence.guessed = True
                acts += _heard(mark, now)
        while self._line:
            sentence = self._line[0]
            if sentence.pieces:
                if self.ahead_ms(now) >= self._pace.lead_ms:
                    break
                piece = self._next_piece(sentence, now)
                if piece is None and self._is_starved(sentence, now):
                    piece = sentence.pieces[0][0], sentence.pull(None)  # less than anybody waits for: the last of it
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
        return self._marks.ahead_ms(now)

    @property
    def wants_beat(self) -> bool:
        """Whether time alone can make something due."""
        return bool(self._line) or (bool(self._marks) and not self._echoes)

    def is_quiet(self, now: int) -> bool:
        """Nothing waits and nothing plays."""
        return not self._line and not self._marks and self.ahead_ms(now) == 0

    def is_played(self, now: int) -> bool:
        """Nothing waits, and whatever was sent came back or had time enough to be played twice."""
        return not self._line and (not self._marks or self._marks.is_late(now, self._pace.lead_ms))

    def _next_piece(self, sentence: Sentence, now: int) -> tuple[int, bytes] | None:
        """The next packet, or chunk of 20 to 200 ms, small at the beginning; None to wait for more."""
        if not self._measure.cuts:
            return sentence.pieces[0][0], sentence.pull_one()
        ahead = self.ahead_ms(now)
        size = self._pace.first_ms if ahead == 0 else self._pace.chunk_ms
        offset_ms = sentence.pieces[0][0]
        available = sentence.contiguous_ms()
        is_end = sentence.whole and offset_ms + available >= sentence.received_ms
        if is_end and available < size + self._pace.least_ms:
            return offset_ms, sentence.pull(None)
        if available >= size:
            return offset_ms, sentence.pull(size)
        gap_follows = offset_ms + available < sentence.received_ms
        if gap_follows or (available >= self._pace.least_ms and ahead < RUNNING_DRY_MS):
            # Less than a millisecond before a gap goes as it is: pulling none of it would go on for ever.
            return offset_ms, sentence.pull(available) if available else sentence.pull_one()
        return None

    def _write(self, sentence: Sentence, piece: tuple[int, bytes], now: int, acts: list[Act]) -> None:
        offset_ms, payload = piece
        length_ms = self._measure.ms_of(payload)
        if not sentence.started:
            sentence.started = True
            acts.append(Started(sentence.reply, sentence.index, max(0, now - sentence.arrived_at), offset_ms))
        follows = self.ahead_ms(now) > 0
        sentence.written_ms = offset_ms + length_ms
        is_last = sentence.whole and not sentence.pieces
        name = self._marks.send(sentence, end_ms=sentence.written_ms, length_ms=length_ms, last=is_last, now=now)
        acts.append(Write(payload, name, sentence.reply, sentence.index, offset_ms, follows))

    def _leave_behind(self, sentence: Sentence, now: int, acts: list[Act]) -> bool:
        """Whether the line moves on from its first sentence."""
        if sentence.pieces:
            return False
        if sentence.whole:
            self._finish(sentence, now, acts)
            return True
        if starved := self._is_starved(sentence, now):
            # Its rest never came; the next sentence must not wait for it.
            self._break_off(sentence, now, acts)
        return starved

    def _is_starved(self, sentence: Sentence, now: int) -> bool:
        """Its rest does not come, another waits behind it, and the peer has next to nothing left to play."""
        overdue = now - sentence.grew_at >= self._pace.starved_ms
        return overdue and len(self._line) > 1 and self.ahead_ms(now) < RUNNING_DRY_MS

    def _break_off(self, sentence: Sentence, now: int, acts: list[Act]) -> None:
        """It ends with what is out there; how far that is heard its marks, or the clock, will tell."""
        sentence.whole = True
        newest = self._marks.newest_of(sentence)
        if newest is not None:
            newest.broken_off = True
        elif not sentence.done:
            sentence.done = True
            acts.append(_cleared(sentence, now))

    def _finish(self, sentence: Sentence, now: int, acts: list[Act]) -> None:
        """All of it was written: its newest mark is its last, or that one came back already."""
        newest = self._marks.newest_of(sentence)
        if newest is not None:
            newest.last = True
        elif not sentence.done:
            sentence.done = True
            acts.append(_marked(sentence, now, last=True))

    # ------------------------------------------------------------------ what the peer says

    def echoed(self, name: str, now: int) -> list[Act] | None:
        """What a mark that came back proves; None when it is not one of ours, or comes a second time."""
        if self._marks.is_cleared(name):
            self._hear_echoes()
            return []
        mark = self._marks.echoed(name, now)
        if mark is None:
            return None
        self._hear_echoes()
        mark.sentence.guessed = False
        return _heard(mark, now)

    def _hear_echoes(self) -> None:
        """One echo is proof that this peer echoes: from now on it is waited for."""
        self._echoes = True
        self._marks.late_ms = 0

    # ------------------------------------------------------------------ cutting

    def cut(self, reply: str, now: int) -> list[Act]:
        """Silence a reply at once; what other replies have out there is lost with it."""
        theirs = [s for s in self._sentences.values() if s.reply == reply and not s.done]
        out = self._marks.sentences()
        if not any(sentence.reply == reply for sentence in out):
            return self._cut_sentences(theirs, {}, now)
        heard = self._marks.estimates(now)
        theirs += [sentence for sentence in out if sentence.reply != reply]
        self._marks.clear(now)
        return [Clear(), *self._cut_sentences(theirs, heard, now)]

    def lost(self, now: int) -> list[Act]:
        """The socket is gone: what was heard of the sentences that were playing, as far as their marks prove, or the
        clock for a peer that has none."""
        heard = {} if self._echoes else self._marks.estimates(now)
        playing = dict.fromkeys([*self._marks.sentences(), *(s for s in self._line if s.started)])
        self._line.clear()
        self._marks.forget()
        return self._cut_sentences([s for s in playing if not s.done], heard, now)

    def _cut_sentences(self, sentences: list[Sentence], heard: dict[Sentence, int], now: int) -> list[Act]:
        acts: list[Act] = []
        for sentence in sentences:
            by_clock = min(heard.get(sentence, 0), sentence.written_ms)
            guessed = sentence.guessed or by_clock > sentence.heard_ms
            sentence.heard(by_clock, now)
            sentence.guessed = guessed
            acts.append(_cleared(sentence, now))
        gone = set(sentences)
        self._line = deque(s for s in self._line if s not in gone)
        # Forgotten, so that a resumed reply may say it again from where it was heard.
        for key in [key for key, s in self._sentences.items() if s in gone]:
            del self._sentences[key]
        return acts


def _heard(mark: Mark, now: int) -> list[Act]:
    sentence = mark.sentence
    sentence.heard(mark.end_ms, now)
    is_first = not sentence.marked
    sentence.marked = True
    if mark.broken_off and not sentence.done:
        sentence.done = True
        return [_cleared(sentence, now)]
    if sentence.done or not (is_first or mark.last):
        return []
    sentence.done = mark.last
    return [_marked(sentence, now, last=mark.last)]


def _cleared(sentence: Sentence, now: int) -> Cleared:
    ago_ms = sentence.heard_ago_ms(now)
    return Cleared(sentence.reply, sentence.index, sentence.heard_ms, sentence.guessed, ago_ms=ago_ms)


def _marked(sentence: Sentence, now: int, *, last: bool) -> Marked:
    return Marked(
        sentence.reply, sentence.index, sentence.heard_ms, last, sentence.guessed, ago_ms=sentence.heard_ago_ms(now)
    )


__all__ = ["Act", "Clear", "Cleared", "Marked", "Playlist", "Started", "Write"]
