"""Hearing's process: follows calls.media beside calls.events, over the same partitions.

Nothing is committed for media. Hearing starts at the end that calls.media had before the end of calls.events was
looked up, so that no frame of a stream it will only meet later is passed over, and reads again from where the log
says a stream was heard whenever it opens an ear for it. Frames that an ear has had already it knows by their sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from eventlog.port import LogUnavailable, Reader, Record
from schema import topics
from schema.envelope import Event
from schema.media import MediaReceived
from schema.registry import MalformedEvent, unpack_media
from schema.speech import StreamHeard
from schema.turn import TimerRang
from workers.case import Case
from workers.ear import Ear
from workers.hearing import HearingRole, HearingState
from workers.runtime import Runtime

logger = structlog.get_logger()

MEDIA_BATCH = 2000
MEDIA_WAIT_MS = 50
SLOW_MS = 1_000  # between a gap and its place on the log
HEARD_LATER = 1 << 60
GAP_MS = 300  # an utterance is open, media was read to its end, and nothing came for so long
MOST_UNSAID = 10_000  # events on their way to the log; while there are more, media waits where it is


class HearingRuntime(Runtime[HearingState]):
    """A runtime that listens, too."""

    media_wait_ms = MEDIA_WAIT_MS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        role = self.role
        assert isinstance(role, HearingRole)
        self.hearing = role
        role.append = self._append
        role.rewind = self._rewind
        role.watch_end = self._watch_end
        role.watch_release = self._watch_release
        role.gap_rang = self._gap_rang
        self._from: dict[int, int] = {}  # partition -> position to be read from
        self._ending: dict[tuple[str, str], int | None] = {}  # (call, stream) -> end of media to reach
        self._released: dict[tuple[str, str], int | None] = {}  # the same, where the client's turn is over
        self._gaps: dict[tuple[str, str], int | None] = {}  # the same, where nothing comes any more
        self.media_lag_ms = 0
        self._looked_at = 0

    def beside(self) -> Sequence[Coroutine[None, None, None]]:
        return (self._listen(),)

    async def before_end(self, partition: int) -> None:
        self._from[partition] = await self.log.end(topics.MEDIA.name, partition)

    def _append(self, case: Case[HearingState], events: Sequence[Event]) -> None:
        if case.state.sealed:
            # Only this is believed now, and it must not name an event that is void.
            events = [event for event in events if isinstance(event, StreamHeard)]
        if events and case.owned and self.calls.cases.get(case.call_id) is case:
            self.calls.append(case, events)

    def _rewind(self, partition: int, position: int) -> None:
        self._from[partition] = min(position, self._from.get(partition, position))

    def _watch_end(self, case: Case[HearingState], stream_id: str) -> None:
        self._ending.setdefault((case.call_id, stream_id), None)

    def _watch_release(self, case: Case[HearingState], stream_id: str) -> None:
        self._released[case.call_id, stream_id] = None

    def _gap_rang(self, case: Case[HearingState], rang: TimerRang) -> None:
        """R4: a gap that this process saw counts when the log has it, and if nothing was heard meanwhile."""
        ear = self.hearing.ear(case, rang.stream)
        if ear is None or ear.heard_at < HEARD_LATER or (case.call_id, rang.stream) in self._ending:
            return  # or it has ended: what was open was broken off, and was not followed by silence
        if self.now() - rang.due < SLOW_MS:
            self._gaps[case.call_id, rang.stream] = None
        else:
            # A log that took so long holds the caller's frames back, too.
            ear.heard_at = self.now()
            self._quiet_until = ear.heard_at + self.limits.catch_up_ms

    async def _listen(self) -> None:
        reader = self.log.reader(topics.MEDIA.name, {})
        try:
            while True:
                try:
                    await self._listen_once(reader)
                except LogUnavailable as error:
                    logger.warning("media unavailable, trying again", error=str(error))
                    await self._pause()
        finally:
            await reader.close()

    async def _listen_once(self, reader: Reader) -> None:
        self._assign_media(reader)
        if not reader.positions() or self.appender.pending(topics.EVENTS.name) >= MOST_UNSAID:
            await asyncio.sleep(self.limits.wait_ms / 1000)
            return
        await self._look_up_ends()
        records = await reader.read(max_records=MEDIA_BATCH, wait_ms=self.media_wait_ms)
        for record in records:
            # What lies beyond a place to be read again comes once more, after what is before it.
            if record.position < self._from.get(record.partition, record.position + 1):
                self._hear(record)
        self._settle_released(reader)
        self._finish_ended(reader)
        now = self.now()
        if now - self._looked_at >= GAP_MS:
            # Who stood still itself cannot know that the caller did: what was said meanwhile is still on its way.
            self._quiet_until = max(self._quiet_until, now + GAP_MS)
        if not records or now - self._looked_at >= self.media_wait_ms:  # a gap is one caller's; others go on
            self._looked_at = now
            await self._notice_gaps(reader)

    def _assign_media(self, reader: Reader) -> None:
        positions = dict(reader.positions())
        wanted = {p: positions[p] for p in positions if p in self._ends}
        moves, self._from = self._from, {}
        for partition, position in moves.items():
            if partition in self._ends:
                wanted[partition] = min(position, wanted.get(partition, position))
            else:
                self._from[partition] = position
        if wanted != positions:
            reader.assign(wanted)

    def _hear(self, record: Record) -> None:
        try:
            media = unpack_media(record.value)
        except MalformedEvent as error:
            logger.warning("not media", position=record.position, partition=record.partition, error=str(error))
            return
        if not isinstance(media, MediaReceived):
            return
        self.media_lag_ms = max(0, self.now() - record.at)
        case = self.calls.cases.get(media.call_id)
        # A frame nobody has an ear for yet is read again once its stream is known.
        ear = self.hearing.ear(case, media.stream) if case is not None and case.owned else None
        if ear is not None:
            ear.hear(media, record.position, record.at)

    async def _look_up_ends(self) -> None:
        for watched in (self._ending, self._released, self._gaps):
            for (call_id, stream_id), end in list(watched.items()):
                case = self.calls.cases.get(call_id)
                if case is None:
                    del watched[call_id, stream_id]
                elif end is None:
                    watched[call_id, stream_id] = await self.log.end(topics.MEDIA.name, case.partition)

    def _read_to(self, reader: Reader, partition: int) -> int:
        """Media below this position was heard."""
        read = reader.positions().get(partition, 0)
        return min(read, self._from.get(partition, read))

    def _settle_released(self, reader: Reader) -> None:
        """The client's turn is over: what it said until then is settled at once, no silence is waited for."""
        for ear in self._reached(self._released, reader):
            ear.gap()
        for ear in self._reached(self._gaps, reader):
            if ear.heard_at >= HEARD_LATER:
                ear.gap()

    def _reached(self, watched: dict[tuple[str, str], int | None], reader: Reader) -> list[Ear]:
        """The ears that have had everything of media that was watched for; they are watched for no more."""
        reached = []
        for (call_id, stream_id), end in list(watched.items()):
            case = self.calls.cases.get(call_id)
            ear = self.hearing.ear(case, stream_id) if case is not None else None
            if case is None or ear is None:
                del watched[call_id, stream_id]
            elif end is not None and self._read_to(reader, case.partition) >= end:
                del watched[call_id, stream_id]
                reached.append(ear)
        return reached

    def _finish_ended(self, reader: Reader) -> None:
        for (call_id, stream_id), end in list(self._ending.items()):
            case = self.calls.cases.get(call_id)
            ear = self.hearing.ear(case, stream_id) if case is not None else None
            if case is None or ear is None:
                continue
            last = case.state.streams[stream_id].last_sequence
            if (end is not None and self._read_to(reader, case.partition) >= end) or 0 < last <= ear.last_sequence:
                del self._ending[call_id, stream_id]
                ear.finish()

    async def _notice_gaps(self, reader: Reader) -> None:
        """A silence of the log is not the caller's: nobody is silent while it is away, nor before they had time to
        say what they kept meanwhile."""
        now = self.now()
        for case in list(self.calls.cases.values()):
            if not case.owned or case.work is None:
                continue
            for ear in list(case.work.ears.values()):
                if ear.speaking and not ear.finished and now - ear.heard_at >= GAP_MS and now >= self._quiet_until:
                    if not await self._is_all_read(reader, case.partition):
                        continue
                    self._ring_gap(case, ear, now)

    async def _is_all_read(self, reader: Reader, partition: int) -> bool:
        """Asked of the log itself, which must answer at once to be believed."""
        asked_at = self.now()
        end = await self.log.end(topics.MEDIA.name, partition)
        if self.now() - asked_at >= GAP_MS:
            self._quiet_until = self.now() + self.limits.catch_up_ms
            return False
        return self._read_to(reader, partition) >= end

    def _ring_gap(self, case: Case[HearingState], ear: Ear, now: int) -> None:
        ear.heard_at = HEARD_LATER  # once a gap; the next frame sets it again
        stream = ear.config.stream
        rang = TimerRang(id=self.new_id(), call_id=case.call_id, name="gap", due=now, stream=stream)
        self._append(case, [rang])
