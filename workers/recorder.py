"""Writes a sealed call down as a stereo WAV: left what the caller sent, right what the caller really heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from audio import mulaw
from audio.formats import pcm16
from audio.resample import resample
from audio.wav import stereo, wav_bytes
from eventlog.port import Log
from schema import call, insight, stream, topics
from schema.envelope import AnyEvent, Event, Role
from schema.failure import WorkFailed
from schema.media import AnyMedia, MediaReceived, MediaSpoken
from schema.private import plain
from schema.registry import unpack_media
from workers.case import Case
from workers.late import LateRole

RATE = 8000  # Hz
MEDIA_BATCH = 2000
LONGEST_MS = 6 * 3_600_000  # a stereo WAV of this still has a valid length


@dataclass(frozen=True, slots=True)
class Track:
    """One stream: where its clock begins in the call, and where its frames lie."""

    begins_ms: int
    media_from: int
    encoding: str
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Playing a sentence ended here; what was written before and lies behind it was never heard."""

    at_ms: int  # of the call
    heard_ms: int  # of the sentence


@dataclass(frozen=True, slots=True)
class RecordingState:
    """What the recording of a call has to know."""

    life: str = ""
    started_at: int = 0
    partition: int = 0
    tracks: Mapping[str, Track] = field(default_factory=dict)
    cuts: Mapping[str, tuple[Cut, ...]] = field(default_factory=dict)  # stream:reply:sentence -> in order
    sealed: bool = False
    done: bool = False


class RecorderRole(LateRole[RecordingState]):
    """The role `recorder` for the runtime."""

    name: Role = "recorder"
    stage = "recording"

    def __init__(self, log: Log, folder: Path, new_id: Callable[[], str], *, ask_consent: bool = False) -> None:
        """With `ask_consent` only calls whose parameters say `record: yes` are recorded."""
        super().__init__(new_id)
        self._log = log
        self._folder = folder
        self._ask_consent = ask_consent

    def fresh(self) -> RecordingState:
        return RecordingState()

    def fold(self, state: RecordingState, event: AnyEvent, position: int, at: int) -> RecordingState:
        match event:
            case call.CallStarted():
                may = not self._ask_consent or plain(event.parameters.get("record", "")) == "yes"
                return RecordingState(life=event.id, started_at=at, done=not may)
            case stream.StreamOpened():
                begins_ms = max(0, at - state.started_at)
                track = Track(begins_ms, event.media_end, event.encoding, event.sample_rate)
                return replace(state, tracks={**state.tracks, event.stream: track})
            case stream.PlaybackCleared():
                key = f"{event.stream}:{event.reply}:{event.sentence}"
                cuts = (*state.cuts.get(key, ()), Cut(at - state.started_at, event.heard_ms))
                return replace(state, cuts={**state.cuts, key: cuts})
            case call.CallSealed():
                return replace(state, sealed=True)
            case insight.RecordingSaved():
                return replace(state, done=True)
            case WorkFailed() if event.role == self.name:
                return replace(state, done=True)
        return state

    async def work(self, case: Case[RecordingState]) -> Sequence[Event]:
        frames = await self._frames(case)
        tape = await asyncio.to_thread(_tape, case.state, frames)
        if not tape[0] and not tape[1]:
            return [self._failed(case, OSError("no audio is left of this call"))]
        path = self._folder / f"{_safe(case.call_id)}-{case.state.life[-12:]}.wav"
        await asyncio.to_thread(_write, path, wav_bytes(stereo(*tape), RATE, 2))
        duration_ms = max(pcm16(RATE).ms_of(len(side)) for side in tape)
        saved = insight.RecordingSaved(
            id=self.new_id(), call_id=case.call_id, path=path.name, duration_ms=duration_ms, sample_rate=RATE
        )
        return [saved]

    async def _frames(self, case: Case[RecordingState]) -> list[AnyMedia]:
        """Every frame of the call, in the order of the log."""
        tracks = case.state.tracks
        if not tracks:
            return []
        end = await self._log.end(topics.MEDIA.name, case.partition)
        begin = max(
            min(track.media_from for track in tracks.values()),
            await self._log.begin(topics.MEDIA.name, case.partition),
        )
        reader = self._log.reader(topics.MEDIA.name, {case.partition: begin})
        frames: list[AnyMedia] = []
        try:
            while reader.positions()[case.partition] < end:
                records = await reader.read(max_records=MEDIA_BATCH, wait_ms=100)
                if not records:
                    break
                frames += [unpack_media(r.value) for r in records if r.key == case.call_id and r.position < end]
        finally:
            await reader.close()
        return [frame for frame in frames if frame.stream in tracks]


def _tape(state: RecordingState, frames: Sequence[AnyMedia]) -> tuple[bytes, bytes]:
    """Both sides as s16le at 8 kHz on the call's own clock."""
    left, right = bytearray(), bytearray()
    spoken_until: dict[str, int] = {}
    taken: dict[tuple[str, type], int] = {}
    wire = pcm16(RATE)
    for frame in frames:
        kind = (frame.stream, type(frame))
        if frame.sequence <= taken.get(kind, -1):
            continue  # the same frame, appended again
        taken[kind] = frame.sequence
        track = state.tracks[frame.stream]
        pcm = _pcm(frame.payload, track)
        at_ms = track.begins_ms + frame.ms
        if isinstance(frame, MediaReceived):
            _lay(left, at_ms, pcm)
            continue
        cut = _cut(state, frame, at_ms)
        pcm = pcm if cut is None else pcm[: wire.bytes_of(max(0, cut.heard_ms - frame.offset_ms))]
        # Audio is written ahead of its playing: pieces follow each other, and none begins before it was written.
        at_ms = max(at_ms, spoken_until.get(frame.stream, 0))
        spoken_until[frame.stream] = at_ms + wire.ms_of(len(pcm))
        _lay(right, at_ms, pcm)
    return bytes(left), bytes(right)


def _cut(state: RecordingState, frame: MediaSpoken, at_ms: int) -> Cut | None:
    """The cut that came after this frame was written. A sentence may be cut, go on, and be cut again."""
    cuts = state.cuts.get(f"{frame.stream}:{frame.reply}:{frame.sentence}", ())
    return next((cut for cut in cuts if cut.at_ms >= at_ms), None)


def _lay(tape: bytearray, at_ms: int, pcm: bytes) -> None:
    offset = pcm16(RATE).bytes_of(min(at_ms, LONGEST_MS))
    if len(tape) < offset:
        tape.extend(bytes(offset - len(tape)))
    tape[offset : offset + len(pcm)] = pcm


def _pcm(payload: bytes, track: Track) -> bytes:
    pcm = mulaw.decode(payload) if track.encoding == "mulaw" else payload
    return pcm if track.sample_rate == RATE else resample(pcm, track.sample_rate, RATE)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _safe(call_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in call_id)
