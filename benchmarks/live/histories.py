"""Calls of ten minutes as the log has them, all live, all of one partition; `taker.py` takes them over.

A call has sixty turns in ten minutes. Each turn: speech that begins, is guessed at twice, pauses and is settled with
its words; a turn, a reply of two sentences, voiced, played and marked; two measurements of the stream. Every fifth
reply is interrupted, every tenth turn calls a tool. Of the audio the last seconds are written, in which hearing has to
begin again where the last settled line ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from eventlog.port import Entry, Log
from schema import call, speech, stream, turn
from schema.envelope import Event, MadeBy
from schema.media import MediaReceived, MediaSpoken
from schema.registry import encode, pack
from schema.topics import EVENTS, MEDIA, PARTITIONS, partition_of
from workers.profiles import load_profile

PARTITION = 0
TURNS, TURN_MS = 60, 10_000
UNHEARD_MS = 12_000  # the longest time since a call's last settled line
FRAME_MS, PIECE_MS = 20, 160
MOST_AT_ONCE = 20_000
HEARD, SPOKEN = "so could you remind me to call the team", "all right, I will remind you to call them."
STT, VOICE = MadeBy("pocketsphinx", "en-us", "a1b2c3d4e5f6"), MadeBy("espeak", "en-us", "f6e5d4c3b2a1")


def call_ids(calls: int) -> list[str]:
    """Ids whose calls travel in the one partition."""
    ids = (f"CA{number:032x}" for number in itertools.count(1))
    return list(itertools.islice((one for one in ids if partition_of(one, PARTITIONS) == PARTITION), calls))


@dataclass
class Tape:
    """One call being written: chains what its workers say, counts what its socket says."""

    call_id: str
    number: int
    through_position: int = 0
    _last: dict[str, str] = field(default_factory=dict)
    _sequence: int = 0
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def stream(self) -> str:
        return f"MZ{self.call_id[2:]}"

    def socket(self, kind: Callable[..., Event], **fields: Any) -> Event:
        self._sequence += 1
        made = kind(id=self._id(), call_id=self.call_id, source=self.stream, sequence=self._sequence, **fields)
        self._last.setdefault("", made.id)
        return made

    def worker(self, role: str, kind: Callable[..., Event], **fields: Any) -> Event:
        prior = self._last.get(role, self._last[""])
        made = kind(id=self._id(), call_id=self.call_id, role=role, prior=prior, **fields)
        self._last[role] = made.id
        return made

    def _id(self) -> str:
        return f"01a1fe28-{self.number:04x}-7000-8000-{next(self._ids):012x}"

    def begin(self, body: dict[str, Any], media_end: int) -> list[Event]:
        numbers = {"from_": "+15550100001", "to": "+15550100002"}
        started = self.socket(call.CallStarted, channel="twilio", agent="notes", **numbers)
        opened = self.socket(stream.StreamOpened, stream=self.stream, door="twilio", mailbox=7, media_end=media_end)
        owners = [
            self.worker(role, call.CallAdopted, owner=f"{role}:before:1:0123456789ab")
            for role in ("hearing", "conversation")
        ]
        return [started, opened, *owners, self.worker("conversation", call.ProfileUsed, hash="zero", body=body)]

    def turn(self, index: int) -> list[Event]:
        at_ms = index * TURN_MS
        heard = self._speech(at_ms)
        settled = heard[-2].id
        interrupted = index % 5 == 4
        return [*heard, *self._reply(settled, index, interrupted), *self._measured(index)]

    def _speech(self, at_ms: int) -> list[Event]:
        words = HEARD.split()
        spoken = tuple(
            speech.SpokenWord(word, at_ms + number * 300, at_ms + number * 300 + 280)
            for number, word in enumerate(words)
        )
        end_ms = at_ms + len(words) * 300
        own = {"stream": self.stream}
        guesses = [" ".join(words[:3]), " ".join(words[:6])]
        return [
            self.worker("hearing", speech.SpeechStarted, **own, at_ms=at_ms),
            *(self.worker("hearing", speech.TranscriptRevised, **own, text=guess, stability=0.5) for guess in guesses),
            self.worker("hearing", speech.SpeechPaused, **own, silence_ms=300, voiced_ms=end_ms, voiced_at=at_ms + 1),
            self.worker(
                "hearing",
                speech.TranscriptSettled,
                **own,
                text=HEARD,
                start_ms=at_ms,
                end_ms=end_ms,
                through_ms=end_ms + 300,
                through_position=self.through_position,
                confidence=0.87,
                complete=True,
                language="en-US",
                words=spoken,
                voiced_at=at_ms + 1,
                made_by=STT,
            ),
            self.worker("hearing", speech.SpeechStopped, **own, voiced_ms=end_ms, voiced_at=at_ms + 1),
        ]

    def _reply(self, settled: str, index: int, interrupted: bool) -> list[Event]:
        def say(kind: Callable[..., Event], **fields: Any) -> Event:
            return self.worker("conversation", kind, **fields)

        taken = say(turn.TurnTaken, utterances=(settled,), text=HEARD, cause=settled)
        started = say(
            turn.ReplyStarted, why="turn", in_answer_to=taken.id, agent="notes", prompt_hash="zero", cause=taken.id
        )
        reply, told = started.id, {"stream": self.stream, "reply": started.id}
        found = [taken, started]
        if index % 10 == 3:
            tool = say(turn.ToolCalled, reply=reply, name="remind", arguments={"what": HEARD}, repeatable=True)
            found += [tool, say(turn.ToolReturned, call=tool.id, status="ok", result={"due": "2026-11-23"})]
        found += [say(turn.ReplySentence, reply=reply, index=number, text=SPOKEN) for number in range(2)]
        found.append(say(turn.ReplyComposed, reply=reply, sentences=2))
        for number in range(2):
            found.append(say(turn.ReplyVoiced, reply=reply, index=number, duration_ms=2_400, made_by=VOICE))
            found.append(self.socket(stream.PlaybackStarted, **told, sentence=number, waited_ms=1))
            found.append(self.socket(stream.PlaybackMarked, **told, sentence=number, heard_ms=60))
            if interrupted and number:
                found.append(say(turn.ReplyInterrupted, reply=reply, cause=settled))
                found.append(self.socket(stream.PlaybackCleared, **told, sentence=number, heard_ms=900))
            else:
                found.append(self.socket(stream.PlaybackMarked, **told, sentence=number, heard_ms=2_400, last=True))
        latency = turn.Latency(endpoint=308, stt=302, agent=3, tts=40, first_audio=360, heard=4_900)
        return [*found, say(turn.ReplyFinished, reply=reply, interrupted=interrupted, latency=latency)]

    def _measured(self, index: int) -> list[Event]:
        return [
            self.socket(
                stream.StreamMeasured,
                stream=self.stream,
                frames=frames,
                bytes=frames * 160,
                largest_gap_ms=41,
                jitter_ms=1.5,
                ping_ms=23.4,
                level_dbfs=-41.2,
                snr_db=22.5,
                outbox_through=2**40,
            )
            for frames in (index * 500 + 250, index * 500 + 500)
        ]


async def write(log: Log, calls: int) -> dict[str, int]:
    """All calls, as many turns of each in one go as they had at the same time. Says what was written."""
    tapes = [Tape(call_id, number) for number, call_id in enumerate(call_ids(calls))]
    frames = await _write_media(log, tapes)
    body = msgspec.to_builtins(load_profile("notes"))
    body["silence"]["after_ms"] = 3_600_000  # what is measured is no prompt
    sizes = [await _append(log, (one for tape in tapes for one in tape.begin(body, 0)))]
    sizes += [await _append(log, (one for tape in tapes for one in tape.turn(index))) for index in range(TURNS)]
    return {
        "events": sum(count for count, _ in sizes),
        "bytes": sum(size for _, size in sizes),
        "frames": frames,
        "last_sequence": TURNS * TURN_MS // FRAME_MS,
    }


async def _append(log: Log, events: Iterator[Event]) -> tuple[int, int]:
    entries = [Entry(event.call_id, encode(event)) for event in events]
    for at in range(0, len(entries), MOST_AT_ONCE):
        await log.append(EVENTS.name, entries[at : at + MOST_AT_ONCE])
    return len(entries), sum(len(entry.value) for entry in entries)


async def _write_media(log: Log, tapes: list[Tape]) -> int:
    """The last seconds of every call, as they came, one frame of each after the other; the agent speaks half of it."""
    end_ms, written = TURNS * TURN_MS, 0
    through_ms = end_ms - TURN_MS + len(HEARD.split()) * 300 + 300
    for at_ms in range(end_ms - UNHEARD_MS, end_ms, FRAME_MS):
        entries: list[Entry] = []
        for tape in tapes:
            frame = {"call_id": tape.call_id, "stream": tape.stream, "ms": at_ms}
            sequence = at_ms // FRAME_MS + 1
            entries.append(Entry(tape.call_id, pack(MediaReceived(**frame, sequence=sequence, payload=b"\xff" * 160))))
            if at_ms % PIECE_MS == 0 and at_ms % TURN_MS < TURN_MS // 2:
                piece = MediaSpoken(
                    **frame, sequence=10**6 + sequence, payload=b"\x10" * 1280, reply="r", sentence=0, offset_ms=0
                )
                entries.append(Entry(tape.call_id, pack(piece)))
        placed = await log.append(MEDIA.name, entries)
        written += len(placed)
        by_call = {entry.key: place.position for entry, place in zip(entries, placed, strict=True)}
        if at_ms == through_ms:
            for tape in tapes:
                tape.through_position = by_call[tape.call_id]
    return written
