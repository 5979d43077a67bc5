"""Writes a sealed call down as a stereo WAV: left what the caller sent, right what the caller really heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eventlog.port import Log
from schema import call, insight, stream, topics
from schema.envelope import AnyEvent, Event, Role
from schema.failure import WorkFailed
from schema.media import AnyMedia
from schema.private import plain
from schema.registry import unpack_media
from workers.case import Case
from workers.late import LateRole
from workers.recording import Cut, Plan, track_of
from workers.recording_file import RecordingFile

MEDIA_BATCH = 2000


@dataclass(frozen=True, slots=True)
class RecordingState:
    """What the recording of a call has to know."""

    life: str = ""
    started_at: int = 0
    partition: int = 0
    plan: Plan = Plan()
    sealed: bool = False
    done: bool = False


class RecorderRole(LateRole[RecordingState]):
    """The role `recorder` for the runtime."""

    name: Role = "recorder"
    stage = "recording"

    def __init__(
        self,
        log: Log,
        folder: Path,
        new_id: Callable[[], str],
        *,
        ask_consent: bool = False,
        beside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        """With `ask_consent` only calls whose parameters say `record: yes` are recorded. `beside` runs a function
        without holding up the event loop."""
        super().__init__(new_id)
        self._log = log
        self._folder = folder
        self._ask_consent = ask_consent
        self._beside = beside

    def fresh(self) -> RecordingState:
        return RecordingState()

    def fold(self, state: RecordingState, event: AnyEvent, position: int, at: int) -> RecordingState:
        match event:
            case call.CallStarted():
                may = not self._ask_consent or plain(event.parameters.get("record", "")) == "yes"
                return RecordingState(life=event.id, started_at=at, done=not may)
            case stream.StreamOpened():
                begins_ms = max(0, at - state.started_at)
                tracks = {**state.plan.tracks, event.stream: track_of(event, begins_ms)}
                return replace(state, plan=replace(state.plan, tracks=tracks))
            case stream.PlaybackCleared():
                key = f"{event.stream}:{event.reply}:{event.sentence}"
                cuts = (*state.plan.cuts.get(key, ()), Cut(at - state.started_at, event.heard_ms))
                return replace(state, plan=replace(state.plan, cuts={**state.plan.cuts, key: cuts}))
            case call.CallSealed():
                return replace(state, sealed=True)
            case insight.RecordingSaved():
                return replace(state, done=True)
            case WorkFailed() if event.role == self.name:
                return replace(state, done=True)
        return state

    async def work(self, case: Case[RecordingState]) -> Sequence[Event]:
        plan = case.state.plan
        path = self._folder / f"{_safe(case.call_id)}-{case.state.life[-12:]}.wav"
        file = RecordingFile(plan, path)
        try:
            async with aclosing(self._frames(case)) as batches:
                async for frames in batches:
                    await self._beside(file.take, frames)
            duration_ms = await self._beside(file.save)
        finally:
            file.close()
        if not duration_ms:
            return [self._failed(case, OSError("no audio is left of this call"))]
        saved = insight.RecordingSaved(
            id=self.new_id(),
            call_id=case.call_id,
            path=path.name,
            duration_ms=duration_ms,
            sample_rate=plan.sample_rate,
        )
        return [saved]

    async def _frames(self, case: Case[RecordingState]) -> AsyncGenerator[list[AnyMedia]]:
        """Every frame of the call, in the order of the log, some at a time."""
        tracks = case.state.plan.tracks
        if not tracks:
            return
        end = await self._log.end(topics.MEDIA.name, case.partition)
        begin = max(
            min(track.media_from for track in tracks.values()),
            await self._log.begin(topics.MEDIA.name, case.partition),
        )
        reader = self._log.reader(topics.MEDIA.name, {case.partition: begin})
        try:
            while reader.positions()[case.partition] < end:
                records = await reader.read(max_records=MEDIA_BATCH, wait_ms=0)
                if not records:
                    break
                found = (unpack_media(r.value) for r in records if r.key == case.call_id and r.position < end)
                if frames := [frame for frame in found if frame.stream in tracks]:
                    yield frames
        finally:
            await reader.close()


def _safe(call_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in call_id)
