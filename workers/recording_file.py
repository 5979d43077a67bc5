"""Makes a recording's WAV on disk, piece by piece, so that no length of a call and no silence in it costs memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from io import SEEK_CUR
from pathlib import Path
from typing import IO

from audio.formats import pcm16
from audio.wav import header, stereo
from schema.media import AnyMedia
from workers.recording import Plan, Recording

BLOCK_BYTES = 1 << 16  # of each side at once


class RecordingFile:
    """Both sides lie in files without a name until they are joined: whatever kills the process leaves nothing behind.
    All but `close` block for as long as the disk takes, and raise OSError."""

    def __init__(self, plan: Plan, path: Path) -> None:
        self._plan = plan
        self._path = path
        self._sides: list[IO[bytes]] = []
        self._recording: Recording | None = None
        self._opened = ExitStack()

    def take(self, frames: Iterable[AnyMedia]) -> None:
        """The next ones, in the order of the log."""
        if self._recording is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                self._sides.append(self._opened.enter_context(self._nameless()))
            self._recording = Recording(self._plan, *self._sides)
        self._recording.take(frames)

    def save(self) -> int:
        """Write the WAV and return how many ms it lasts; 0: there is no sound, and no file."""
        length = self._recording.length if self._recording is not None else 0
        if not length:
            return 0
        unfinished = self._path.with_suffix(".part")
        try:
            with unfinished.open("wb") as file:
                file.write(header(2 * length, self._plan.sample_rate, 2))
                self._join(file)
                file.truncate(file.tell())
            unfinished.replace(self._path)
        except BaseException:
            unfinished.unlink(missing_ok=True)  # a disk that is full needs the room
            raise
        return pcm16(self._plan.sample_rate).ms_of(length)

    def close(self) -> None:
        with suppress(OSError):  # what a full disk does not take of them nobody wants any more
            self._opened.close()

    def _nameless(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._path.parent, buffering=BLOCK_BYTES)

    def _join(self, file: IO[bytes]) -> None:
        left, right = self._sides
        for side in self._sides:
            side.seek(0)
        while any(pair := (left.read(BLOCK_BYTES), right.read(BLOCK_BYTES))):
            if any(map(_sounds, pair)):
                file.write(stereo(*pair))
            else:
                file.seek(2 * max(map(len, pair)), SEEK_CUR)


def _sounds(pcm: bytes) -> bool:
    return pcm != bytes(len(pcm))
