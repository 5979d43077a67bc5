"""A call's transcript up to now, read from the log: the lines a screen shows, with their places and times."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from aiohttp import web

from eventlog.port import LogError
from ingest.entrance import Entrance
from ingest.screen_feed import Newsroom
from ingest.screen_fold import CallFold, Line, MaySee, View
from ingest.screen_tail import Heard, past
from ingest.screen_words import Message, cursor_text
from ingest.tokens import AGAIN_S, Refusal
from schema.call import CallSealed, CallStarted
from schema.controls import visible
from schema.envelope import Event
from schema.speech import TranscriptSettled
from schema.stream import PlaybackCleared, PlaybackMarked, PlaybackStarted, StreamOpened, TextTyped
from schema.topics import partition_of
from schema.turn import ReplySentence

PATH = "/api/calls/{call_id}/transcript"
LOG_AWAY = Refusal("log_away", 503, "the log cannot be read now", AGAIN_S)


@dataclass(slots=True)
class Moment:
    """Where a line stands: on the log, and on the call's own clock. None: it was never spoken in this call."""

    place: str  # as a position: what lies after the line
    start_ms: int | None = None
    end_ms: int | None = None
    heard_ms: int = 0

    def heard(self, heard_ms: int, clock_ms: int) -> None:
        """Audio is written ahead of its playing, so the first mark says when the first word was heard."""
        if heard_ms == 0 and self.heard_ms == 0:
            return
        if self.start_ms is None or self.heard_ms == 0:
            self.start_ms = max(self.start_ms or 0, clock_ms - heard_ms)
        self.end_ms = max(self.start_ms, clock_ms)
        self.heard_ms = max(self.heard_ms, heard_ms)


class TimedFold(CallFold):
    """The fold of a screen, which also knows when and where each of its lines was said."""

    def __init__(self, call_id: str, may_see: MaySee) -> None:
        super().__init__(call_id, may_see)
        self._moments: dict[str, Moment] = {}  # by line
        self._spoken: dict[tuple[str, int], Moment] = {}  # by reply and sentence
        self._opened_ms: dict[str, int] = {}  # by stream
        self._is_complete = False

    def follow(self, item: Heard) -> None:
        before = self._admission
        self.take(item.event, item.at)
        # A void event leaves the very same admission.
        if self._view is not None and self._admission is not before and isinstance(item.event, Event):
            self._note(self._view, item, item.event)

    def transcript(self) -> Message:
        """The last lines, as many as a snapshot has. Only of a visible call."""
        lines = self.lines()
        return {
            "call_id": self.call_id,
            "live": self.is_live,
            "complete": self._is_complete,
            "earlier_lines": self._view.count - len(lines) if self._view is not None else 0,
            "transcript": lines,
        }

    def lines(self) -> list[Message]:
        return [] if self._view is None else [_told(line, self._moments[line.id]) for line in self._view.lines]

    def _note(self, view: View, item: Heard, event: Event) -> None:
        clock_ms = max(0, (event.was_at or item.at) - view.at)
        match event:
            case CallStarted():
                self._begin(view, item)
            case CallSealed():
                self._is_complete = event.complete
            case StreamOpened():
                self._opened_ms[event.stream] = clock_ms
            case TranscriptSettled() if event.text != "":
                opened_ms = self._opened_ms.get(event.stream, 0)
                self._put(event.id, item, opened_ms + event.start_ms, opened_ms + event.end_ms)
            case TextTyped():
                self._put(event.id, item, clock_ms, clock_ms)
            case ReplySentence():
                self._spoken[event.reply, event.index] = self._put(event.id, item)
            case PlaybackStarted() | PlaybackMarked() | PlaybackCleared():
                self._play(event, clock_ms)
            case _:
                pass

    def _begin(self, view: View, item: Heard) -> None:
        self._moments, self._spoken, self._opened_ms, self._is_complete = {}, {}, {}, False
        for line in view.lines:  # what the client brought of an earlier conversation
            self._put(line.id, item)

    def _put(self, line: str, item: Heard, start_ms: int | None = None, end_ms: int | None = None) -> Moment:
        place = cursor_text({item.partition: item.position + 1})
        moment = self._moments[line] = Moment(place, start_ms, end_ms)
        return moment

    def _play(self, event: PlaybackStarted | PlaybackMarked | PlaybackCleared, clock_ms: int) -> None:
        moment = self._spoken.get((event.reply, event.sentence))
        if moment is None:
            return
        if event.at_ms and event.stream in self._opened_ms:
            clock_ms = self._opened_ms[event.stream] + event.at_ms  # as in the tables: the stream's clock judges
        if not isinstance(event, PlaybackStarted):
            moment.heard(event.heard_ms, clock_ms)
        elif moment.start_ms is None:
            moment.start_ms = max(0, clock_ms - event.offset_ms)


def _told(line: Line, moment: Moment) -> Message:
    """`text` is what was heard; `said`, where an interruption cut it, the whole sentence."""
    told = line.shown()
    heard = told.pop("heard_text", told["text"])
    if heard != told["text"]:
        told |= {"text": heard, "said": told["text"]}
    return {**told, "start_ms": moment.start_ms, "end_ms": moment.end_ms, "position": moment.place}


@dataclass(frozen=True, slots=True)
class Transcripts:
    """`GET PATH`. What decides who may see a call comes from its neighbour, the list of the call's facts."""

    room: Newsroom
    entrance: Entrance
    past_ms: int  # for reading the call's past from the log
    door: str
    scopes: frozenset[str]
    call_ids: re.Pattern[str]
    no_call: Refusal

    async def get(self, request: web.Request) -> web.Response:
        """JSON; lines to be read for who accepts plain text alone."""
        accepted = request.headers.get("Accept", "")
        async with self.entrance.guest(request, self.door, any_of=self.scopes) as bearer:
            fold = TimedFold(request.match_info["call_id"], bearer.sees)
            stop = await self._read(fold) if self.call_ids.fullmatch(fold.call_id) else None
            if isinstance(stop, Refusal):
                raise self.entrance.refuse(request, self.door, stop)
            if stop is None or not fold.is_visible:
                raise self.entrance.refuse(request, self.door, self.no_call)
        if "text/plain" in accepted and "application/json" not in accepted:
            return _answer(readable(fold).encode(), "text/plain")
        return _answer(msgspec.json.encode({**fold.transcript(), "position": stop}), "application/json")

    async def _read(self, fold: TimedFold) -> str | Refusal:
        """Folds what the log has of the call up to now; the position behind it."""
        room, partition = self.room, partition_of(fold.call_id, self.room.partitions)
        try:
            async with asyncio.timeout(self.past_ms / 1000), room.readers:
                stop = await room.known_end(partition)
                first = await room.first(fold.call_id)
                async with aclosing(past(room.log, partition, first, stop, call_id=fold.call_id)) as earlier:
                    async for item in earlier:
                        fold.follow(item)
        except (LogError, TimeoutError):
            return LOG_AWAY
        return cursor_text({partition: stop})


def readable(fold: TimedFold) -> str:
    """A line each: when, who, what was heard of it. What nobody heard is left out."""
    told = fold.transcript()
    earlier = [f"({told['earlier_lines']} earlier lines)"] if told["earlier_lines"] else []
    return "".join(f"{line}\n" for line in (*earlier, *map(_read_out, told["transcript"])) if line)


def _read_out(line: Message) -> str:
    if line["text"] == "":
        return ""
    start_ms = line["start_ms"]
    when = "--:--" if start_ms is None else "{:02}:{:02}".format(*divmod(start_ms // 1000, 60))
    # Whatever was said stays on its own line.
    words = "(sealed)" if line["text"] is None else " ".join(line["text"].split())
    cut = " …" if "said" in line else ""
    return visible(f"{when} {line.get('agent_name') or line['speaker']}: {words}{cut}")


def _answer(body: bytes, content_type: str) -> web.Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=body, headers=headers, content_type=content_type, charset="utf-8")
