"""The marks that are out with the peer, and what their echoes, or the clock, prove of what was heard."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest.sentence import Sentence

# Echoes still owed for marks that count no more; a peer that never pays is not remembered for ever.
CLEARED_KEPT = 4_096


@dataclass(slots=True)
class Mark:
    """Everything of the sentence up to `end_ms` was heard once it comes back."""

    sentence: Sentence
    end_ms: int
    length_ms: int
    last: bool
    due_at: int
    broken_off: bool = False  # the sentence's rest never came


class Marks:
    """One stream's, in the order they were sent.

    With `late_ms` the clock is believed: the peer plays what it was sent, as long after it was sent.
    """

    def __init__(self, late_ms: int = 0) -> None:
        self.late_ms = late_ms
        self._out: OrderedDict[str, Mark] = OrderedDict()
        self._cleared: OrderedDict[str, None] = OrderedDict()
        self._unplayed_until = 0
        self._sent = 0

    def __bool__(self) -> bool:
        return bool(self._out)

    def ahead_ms(self, now: int) -> int:
        """How long the peer can play from what it has."""
        return max(0, self._unplayed_until - now)

    def is_late(self, now: int, by_ms: int) -> bool:
        """Whether all that is out had time enough to be played, and so much more."""
        return now > self._unplayed_until + by_ms

    def send(self, sentence: Sentence, *, end_ms: int, length_ms: int, last: bool, now: int) -> str:
        """The name of a new mark behind so much audio, written now."""
        self._unplayed_until = max(now, self._unplayed_until) + length_ms
        name = f"{sentence.reply}:{sentence.index}:{self._sent}:{sentence.generation}"
        self._sent += 1
        self._out[name] = Mark(sentence, end_ms, length_ms, last, self._unplayed_until)
        return name

    def is_cleared(self, name: str) -> bool:
        """Whether this echo proves nothing any more: a `clear` was obeyed, or the clock was believed; true once."""
        if name not in self._cleared:
            return False
        del self._cleared[name]
        return True

    def echoed(self, name: str, now: int) -> Mark | None:
        """The mark that came back; None when it is not one of ours, or comes a second time."""
        mark = self._out.pop(name, None)
        if mark is not None:
            # What is still unplayed at this moment is exactly what lies behind the marks that are still out.
            self._unplayed_until = now + sum(other.length_ms for other in self._out.values())
        return mark

    def overdue(self, now: int) -> Iterator[Mark]:
        """For a peer without echoes: what must have been played by now."""
        while self._out:
            name, mark = next(iter(self._out.items()))
            if mark.due_at + self.late_ms > now:
                return
            del self._out[name]
            self._owe([name])
            yield mark

    def newest_of(self, sentence: Sentence) -> Mark | None:
        return next((mark for mark in reversed(self._out.values()) if mark.sentence is sentence), None)

    def sentences(self) -> list[Sentence]:
        """Those that are out there, each once, in order."""
        return list(dict.fromkeys(mark.sentence for mark in self._out.values()))

    def clear(self, now: int) -> None:
        """Told the peer to throw everything away: whatever echoes say from now on, it was not heard."""
        self._owe(self._out)
        self._out.clear()
        self._unplayed_until = now

    def _owe(self, names: Iterable[str]) -> None:
        self._cleared.update(dict.fromkeys(names))
        while len(self._cleared) > CLEARED_KEPT:
            self._cleared.popitem(last=False)

    def forget(self) -> None:
        """The socket is gone, and the echoes with it."""
        self._out.clear()

    def estimates(self, now: int) -> dict[Sentence, int]:
        """Where in each sentence the peer must be by the clock, at most what was sent."""
        unplayed = self.ahead_ms(now - self.late_ms)
        heard: dict[Sentence, int] = {}
        for mark in reversed(self._out.values()):
            left = min(unplayed, mark.length_ms)
            unplayed -= left
            if left < mark.length_ms:
                heard[mark.sentence] = max(heard.get(mark.sentence, 0), mark.end_ms - left)
        return heard
