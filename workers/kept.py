"""The audio of a stream that its recogniser has not settled yet, with its place in calls.media."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from audio.formats import AudioFormat


@dataclass(frozen=True, slots=True)
class Piece:
    """Some s16le audio, `ms` on the stream's clock at its first sample."""

    ms: int
    position: int
    at: int  # log time of its frame
    pcm: bytes


class KeptAudio:
    """Pieces in order, the oldest first."""

    def __init__(self, pcm: AudioFormat) -> None:
        self._format = pcm
        self._pieces: deque[Piece] = deque()
        self._last = 0  # position of the newest piece ever

    @property
    def begins_ms(self) -> int | None:
        """The stream's clock at its first sample; None when nothing is kept."""
        return self._pieces[0].ms if self._pieces else None

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._last = piece.position

    def forget_before(self, ms: int) -> None:
        """Pieces that began earlier are of no use any more."""
        while self._pieces and self._pieces[0].ms < ms:
            self._pieces.popleft()

    def settle(self, through_ms: int) -> None:
        """Everything up to here was understood."""
        while self._pieces and self._end_of(self._pieces[0]) <= through_ms:
            self._pieces.popleft()

    def clear(self) -> None:
        self._pieces.clear()

    def position_at(self, ms: int) -> int:
        """Where in calls.media the audio after `ms` begins: hearing again from there misses nothing."""
        for piece in self._pieces:
            if self._end_of(piece) > ms:
                return piece.position
        return self._last

    def since(self, ms: int) -> Iterator[tuple[bytes, int]]:
        """(audio, log time) of what follows `ms`."""
        for piece in tuple(self._pieces):
            yield piece.pcm[self._format.bytes_of(max(0, ms - piece.ms)) :], piece.at

    def _end_of(self, piece: Piece) -> int:
        return piece.ms + self._format.ms_of(len(piece.pcm))
