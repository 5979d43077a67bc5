"""What a disturbed call lost, said twice or said otherwise than an undisturbed one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from audio.levels import rms_dbfs
from audio.mulaw import decode as linear
from eventlog.port import Record
from schema.media import MediaReceived, MediaSpoken
from schema.registry import decode
from schema.stream import PlaybackCleared, PlaybackMarked

FRAME = 160  # bytes of mu-law: 20 ms
AUDIBLE_DBFS = -50.0
TOLERANCE_MS = 100
# A new stream goes on from the beginning of the word at the last mark on the log: no word is longer.
WORD_MS = 1_500


@dataclass(frozen=True, slots=True)
class Told:
    """A call as it stands on the record, and as the caller heard it. Shapes: `calltape show --json`, mu-law 8 kHz."""

    shown: dict[str, Any]
    heard: bytes
    caller: bytes
    media: Sequence[MediaReceived | MediaSpoken]
    events: Sequence[Record] = ()


@dataclass(slots=True)
class Difference:
    """Sentences, each about one thing that is not as it should be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        return not (self.lost or self.doubled or self.other)

    @property
    def note(self) -> str:
        return "; ".join([*self.lost, *self.doubled, *self.other])


def compare(undisturbed: Told, disturbed: Told, *, cuts_the_line: bool) -> Difference:
    """`cuts_the_line`: words said while no socket is there may be missing."""
    found = Difference()
    _frames(disturbed.media, found)
    _speech(disturbed, found)
    if not cuts_the_line:
        _lines(undisturbed.shown, disturbed.shown, found)
        _record(undisturbed.shown, disturbed.shown, found)
    for key in ("sealed_at", "summary"):
        if not disturbed.shown.get(key):
            found.lost.append(f"no {key}")
    return found


def quiet_ms(told: Told) -> int:
    """The longest time in which neither side was audible between the call's first and last sound."""
    longest = current = 0
    has_begun = False
    size = max(len(told.heard), len(told.caller))
    for start in range(0, size, FRAME):
        if any(_is_audible(side[start : start + FRAME]) for side in (told.heard, told.caller)):
            longest, current, has_begun = max(longest, current), 0, True
        elif has_begun:
            current += 20
    return longest


def _is_audible(frame: bytes) -> bool:
    return bool(frame) and rms_dbfs(linear(frame)) > AUDIBLE_DBFS


def _frames(media: Iterable[MediaReceived | MediaSpoken], found: Difference) -> None:
    """Frames of a stream are numbered without a hole: what reached the log is all there."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for one in media:
        numbers[one.stream].add(one.sequence)
    for stream, seen in numbers.items():
        if missing := max(seen) - min(seen) + 1 - len(seen):
            found.lost.append(f"{missing} frames of {stream}")


def _speech(told: Told, found: Difference) -> None:
    """No millisecond of a sentence goes out twice on one stream; a new one goes on from the word at the last mark."""
    ends: dict[tuple[str, int], tuple[str, int]] = {}
    repeated: dict[tuple[str, int], int] = defaultdict(int)
    marked = _marked(told.events)
    for one in _spoken(told.media):
        key = (one.reply, one.sentence)
        stream, end_ms = ends.get(key, (one.stream, 0))
        if one.offset_ms < end_ms:
            may_begin_ms = end_ms if stream == one.stream else max(0, marked.get((stream, *key), 0) - WORD_MS)
            repeated[key] += max(0, min(end_ms, may_begin_ms) - one.offset_ms)
        ends[key] = (one.stream, max(end_ms if stream == one.stream else 0, one.offset_ms + len(one.payload) // 8))
    found.doubled += [f"{ms} ms of sentence {index} twice" for (_, index), ms in repeated.items() if ms > 0]


def _marked(events: Iterable[Record]) -> dict[tuple[str, str, int], int]:
    """How far each sentence was heard on each stream, as the log knows."""
    found: dict[tuple[str, str, int], int] = {}
    for record in events:
        event = decode(record.value)
        if isinstance(event, PlaybackMarked | PlaybackCleared):
            key = (event.stream, event.reply, event.sentence)
            found[key] = max(found.get(key, 0), event.heard_ms)
    return found


def _spoken(media: Iterable[MediaReceived | MediaSpoken]) -> list[MediaSpoken]:
    """Each once: a record appended twice is one sound."""
    seen: dict[tuple[str, int], MediaSpoken] = {}
    for one in media:
        if isinstance(one, MediaSpoken):
            seen.setdefault((one.stream, one.sequence), one)
    return list(seen.values())


def _lines(before: dict[str, Any], after: dict[str, Any], found: Difference) -> None:
    for speaker in ("caller", "agent"):
        was, now = _said(before, speaker), _said(after, speaker)
        if was == now:
            continue
        gone = [text for text in was if was.count(text) > now.count(text)]
        more = [text for text in now if now.count(text) > was.count(text)]
        found.lost += [f"{speaker}: {text!r}" for text in dict.fromkeys(gone)]
        found.doubled += [f"{speaker}: {text!r}" for text in dict.fromkeys(more)]
        if not gone and not more:
            found.other.append(f"the {speaker}'s lines stand in another order")
    for one, other in zip(_callers(before), _callers(after), strict=False):
        moved = abs((one["end_ms"] - one["start_ms"]) - (other["end_ms"] - other["start_ms"]))
        if moved > TOLERANCE_MS:
            found.other.append(f"{one['said']!r} is {moved} ms longer or shorter")


def _record(before: dict[str, Any], after: dict[str, Any], found: Difference) -> None:
    if before.get("summary") != after.get("summary"):
        found.other.append(f"another summary: {after.get('summary')!r}")
    was, now = _actions(before), _actions(after)
    if was != now:
        found.other.append(f"other actions: {now}, not {was}")


def _said(shown: dict[str, Any], speaker: str) -> list[str]:
    return [line["said"] for line in shown.get("transcript", []) if line["speaker"] == speaker]


def _callers(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for line in shown.get("transcript", []) if line["speaker"] == "caller"]


def _actions(shown: dict[str, Any]) -> list[tuple[Any, ...]]:
    """With citations as the words they cite: ids differ from call to call."""
    texts = {line["id"]: line["said"] for line in shown.get("transcript", [])}
    return [
        (each["title"], each["kind"], each["due"], tuple(texts.get(cited, "?") for cited in each["cites"]))
        for each in shown.get("actions", [])
    ]
