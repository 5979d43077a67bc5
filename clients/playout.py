"""Models the buffer in which the carrier keeps what the caller will hear: sans I/O, time is passed in."""

from collections import deque
from dataclasses import dataclass

from clients.sound import SAMPLES_PER_MS, SILENCE

# Twilio's documented limit; what would exceed it is discarded with warning 31931.
LIMIT_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class MarkEcho:
    """A mark that goes back to the server: its audio has played, or was cleared.

    at_ms: on the playout's clock, exact to the sample that made it due.
    """

    name: str
    at_ms: int
    cleared: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller heard since the last look.

    audio: mu-law 8 kHz, silence included; echoes: the marks that became due, in order.
    """

    audio: bytes
    echoes: tuple[MarkEcho, ...]


class Playout:
    """Audio appended plays at the pace of a clock that the owner moves forward; positions count samples."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._marks: deque[tuple[str, int]] = deque()
        self._appended = 0
        self._consumed = 0
        self._clock = 0
        self._heard: list[bytes] = []
        self._echoes: list[MarkEcho] = []
        self.discarded = 0

    @property
    def buffered_ms(self) -> int:
        return -(-(self._appended - self._consumed) // SAMPLES_PER_MS)

    @property
    def clock_ms(self) -> int:
        return self._clock // SAMPLES_PER_MS

    def append(self, audio: bytes, at_ms: int) -> bool:
        """Buffer audio behind what is buffered; False if the buffer was full and it is lost (31931)."""
        self._play_until(at_ms)
        if self._appended - self._consumed + len(audio) > LIMIT_MS * SAMPLES_PER_MS:
            self.discarded += len(audio)
            return False
        if audio:
            self._chunks.append(audio)
            self._appended += len(audio)
        return True

    def mark(self, name: str, at_ms: int) -> None:
        """Ask to be told when everything buffered so far has played; with nothing buffered that is now."""
        self._play_until(at_ms)
        if self._consumed == self._appended:
            self._echoes.append(MarkEcho(name, self.clock_ms, cleared=False))
        else:
            self._marks.append((name, self._appended))

    def clear(self, at_ms: int) -> None:
        """Drop what is buffered; every pending mark is due at once."""
        self._play_until(at_ms)
        self._echoes += [MarkEcho(name, self.clock_ms, cleared=True) for name, _ in self._marks]
        self._marks.clear()
        self._chunks.clear()
        self._consumed = self._appended

    def take(self, at_ms: int) -> Heard:
        """Play until this moment and hand over everything heard and due since the last take."""
        self._play_until(at_ms)
        heard = Heard(b"".join(self._heard), tuple(self._echoes))
        self._heard, self._echoes = [], []
        return heard

    def _play_until(self, at_ms: int) -> None:
        """Move the clock, never backwards: a message and a tick may look at it in either order."""
        wanted = at_ms * SAMPLES_PER_MS - self._clock
        while wanted > 0 and self._chunks:
            chunk = self._chunks[0]
            played = chunk[:wanted]
            if len(played) == len(chunk):
                self._chunks.popleft()
            else:
                self._chunks[0] = chunk[wanted:]
            self._heard.append(played)
            self._clock += len(played)
            self._consumed += len(played)
            wanted -= len(played)
            self._settle()
        if wanted > 0:
            self._heard.append(SILENCE * wanted)
            self._clock += wanted

    def _settle(self) -> None:
        while self._marks and self._marks[0][1] <= self._consumed:
            name, position = self._marks.popleft()
            due = self._clock - (self._consumed - position)
            self._echoes.append(MarkEcho(name, -(-due // SAMPLES_PER_MS), cleared=False))
