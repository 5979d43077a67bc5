"""Lays the frames of a call out on two tracks, on the call's own clock: what was sent, and what was really heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO

from audio.decoding import PatientDecoder, heard_rate
from audio.formats import AudioFormat, pcm16
from schema.media import AnyMedia, MediaReceived, MediaSpoken
from schema.stream import StreamOpened

LONGEST_MS = 6 * 3_600_000  # a stereo WAV of this still has a valid length
# Frames that begin this close to the end of the last one follow it: clocks tell whole milliseconds.
ROUNDING_MS = 2


@dataclass(frozen=True, slots=True)
class Track:
    """One stream: where its clock begins in the call, where its frames lie, and what they are."""

    begins_ms: int
    media_from: int
    heard: AudioFormat
    spoken: AudioFormat


@dataclass(frozen=True, slots=True)
class Cut:
    """Playing a sentence ended here; what was written before and lies behind it was never heard."""

    at_ms: int  # of the call
    heard_ms: int  # of the sentence


@dataclass(frozen=True, slots=True)
class Plan:
    """The streams of a call, and where its sentences were cut."""

    tracks: Mapping[str, Track] = field(default_factory=dict)
    cuts: Mapping[str, tuple[Cut, ...]] = field(default_factory=dict)  # stream:reply:sentence -> in order

    @property
    def sample_rate(self) -> int:
        """Of the recording: 8 kHz where all streams are telephones, else the 16 kHz that speech needs."""
        formats = (declared for track in self.tracks.values() for declared in (track.heard, track.spoken))
        return max(map(heard_rate, formats), default=8000)


def track_of(event: StreamOpened, begins_ms: int) -> Track:
    heard = AudioFormat(event.encoding, event.sample_rate, event.channels)
    return Track(begins_ms, event.media_end, heard, AudioFormat(*event.spoken[:3]))


class Recording:
    """Both sides as mono s16le at the plan's rate, each in a file of its own. What cannot be decoded is silence, and
    silence is written nowhere: files are longer, not fuller, for a gap."""

    def __init__(self, plan: Plan, left: IO[bytes], right: IO[bytes]) -> None:
        """The files are empty, and can be read again."""
        self.sample_rate = plan.sample_rate
        self._plan = plan
        self._left, self._right = _Side(left, self.sample_rate), _Side(right, self.sample_rate)
        self._decoders: dict[tuple[str, type], PatientDecoder] = {}
        self._taken: dict[tuple[str, type], int] = {}
        self._runs: dict[str, tuple[int, int]] = {}  # stream -> begin and end of what was written to play unbroken

    @property
    def length(self) -> int:
        """Of the longer side, in bytes."""
        return max(self._left.length, self._right.length)

    def take(self, frames: Iterable[AnyMedia]) -> None:
        """The next ones, in the order of the log."""
        for frame in frames:
            kind = (frame.stream, type(frame))
            if frame.sequence > self._taken.get(kind, -1):  # else the same frame, appended again
                self._taken[kind] = frame.sequence
                self._lay(frame, self._decoder(kind).decode(frame.payload))

    def _decoder(self, kind: tuple[str, type]) -> PatientDecoder:
        if kind not in self._decoders:
            track = self._plan.tracks[kind[0]]
            declared = track.heard if kind[1] is MediaReceived else track.spoken
            self._decoders[kind] = PatientDecoder(declared, self.sample_rate)
        return self._decoders[kind]

    def _lay(self, frame: AnyMedia, pcm: bytes) -> None:
        at_ms = self._plan.tracks[frame.stream].begins_ms + frame.ms
        if isinstance(frame, MediaReceived):
            self._left.lay(frame.stream, at_ms, pcm)
            return
        begin_ms, end_ms = self._runs.get(frame.stream, (at_ms, at_ms))
        if abs(at_ms - end_ms) > ROUNDING_MS:
            begin_ms = at_ms
        declared = pcm16(self.sample_rate)
        self._runs[frame.stream] = (begin_ms, at_ms + declared.ms_of(len(pcm)))
        # Written ahead, it may have been due after the cut that kept it from being heard.
        cut = _cut(self._plan, frame, begin_ms)
        pcm = pcm if cut is None else pcm[: declared.bytes_of(max(0, cut.heard_ms - frame.offset_ms))]
        # Audio is written ahead of its playing: pieces follow each other, and none begins before it was written.
        if pcm:
            self._right.lay(frame.stream, max(at_ms, self._right.until_ms(frame.stream)), pcm)


def _cut(plan: Plan, frame: MediaSpoken, begin_ms: int) -> Cut | None:
    """The cut that came after what this frame belongs to began. A sentence may be cut, go on, and be cut again."""
    cuts = plan.cuts.get(f"{frame.stream}:{frame.reply}:{frame.sentence}", ())
    return next((cut for cut in cuts if cut.at_ms >= begin_ms), None)


class _Side:
    """One track of the recording, which several streams may have written."""

    def __init__(self, file: IO[bytes], sample_rate: int) -> None:
        self.length = 0
        self._file = file
        self._at = 0  # of the file
        self._format = pcm16(sample_rate)
        self._until: dict[str, int] = {}  # stream -> bytes

    def until_ms(self, stream: str) -> int:
        return self._format.ms_of(self._until.get(stream, 0))

    def lay(self, stream: str, at_ms: int, pcm: bytes) -> None:
        """Put it there, or right behind what the stream said last if that is where it belongs."""
        offset, until = self._format.bytes_of(at_ms), self._until.get(stream, 0)
        if abs(offset - until) <= self._format.bytes_of(ROUNDING_MS):
            offset = until
        pcm = pcm[: max(0, self._format.bytes_of(LONGEST_MS) - offset)]
        if not pcm:
            return
        if offset != self._at:
            self._file.seek(offset)
        self._file.write(pcm)
        self._at = self._until[stream] = offset + len(pcm)
        self.length = max(self.length, self._at)
