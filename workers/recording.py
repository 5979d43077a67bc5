"""Lays the frames of a call out on two tracks, on the call's own clock: what was sent, and what was really heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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


def lay_out(plan: Plan, frames: Sequence[AnyMedia]) -> tuple[bytes, bytes]:
    """Both sides as mono s16le at the plan's rate. What cannot be decoded is silence."""
    rate = plan.sample_rate
    left, right = _Side(rate), _Side(rate)
    decoders: dict[tuple[str, type], PatientDecoder] = {}
    taken: dict[tuple[str, type], int] = {}
    runs: dict[str, tuple[int, int]] = {}  # stream -> begin and end of what was written to play without a break
    for frame in frames:
        kind = (frame.stream, type(frame))
        if frame.sequence <= taken.get(kind, -1):
            continue  # the same frame, appended again
        taken[kind] = frame.sequence
        track = plan.tracks[frame.stream]
        if kind not in decoders:
            decoders[kind] = PatientDecoder(track.heard if isinstance(frame, MediaReceived) else track.spoken, rate)
        pcm = decoders[kind].decode(frame.payload)
        at_ms = track.begins_ms + frame.ms
        if isinstance(frame, MediaReceived):
            left.lay(frame.stream, at_ms, pcm)
            continue
        begin_ms, end_ms = runs.get(frame.stream, (at_ms, at_ms))
        if abs(at_ms - end_ms) > ROUNDING_MS:
            begin_ms = at_ms
        runs[frame.stream] = (begin_ms, at_ms + pcm16(rate).ms_of(len(pcm)))
        # Written ahead, it may have been due after the cut that kept it from being heard.
        cut = _cut(plan, frame, begin_ms)
        pcm = pcm if cut is None else pcm[: pcm16(rate).bytes_of(max(0, cut.heard_ms - frame.offset_ms))]
        # Audio is written ahead of its playing: pieces follow each other, and none begins before it was written.
        if pcm:
            right.lay(frame.stream, max(at_ms, right.until_ms(frame.stream)), pcm)
    return bytes(left.pcm), bytes(right.pcm)


def _cut(plan: Plan, frame: MediaSpoken, begin_ms: int) -> Cut | None:
    """The cut that came after what this frame belongs to began. A sentence may be cut, go on, and be cut again."""
    cuts = plan.cuts.get(f"{frame.stream}:{frame.reply}:{frame.sentence}", ())
    return next((cut for cut in cuts if cut.at_ms >= begin_ms), None)


class _Side:
    """One track of the recording, which several streams may have written."""

    def __init__(self, sample_rate: int) -> None:
        self.pcm = bytearray()
        self._format = pcm16(sample_rate)
        self._until: dict[str, int] = {}  # stream -> bytes

    def until_ms(self, stream: str) -> int:
        return self._format.ms_of(self._until.get(stream, 0))

    def lay(self, stream: str, at_ms: int, pcm: bytes) -> None:
        """Put it there, or right behind what the stream said last if that is where it belongs."""
        offset, until = self._format.bytes_of(min(at_ms, LONGEST_MS)), self._until.get(stream, 0)
        if abs(offset - until) <= self._format.bytes_of(ROUNDING_MS):
            offset = until
        if len(self.pcm) < offset:
            self.pcm.extend(bytes(offset - len(self.pcm)))
        self.pcm[offset : offset + len(pcm)] = pcm
        self._until[stream] = offset + len(pcm)
