"""What a disturbed call lost, said twice or said otherwise than an undisturbed one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from audio.levels import rms_dbfs
from audio.mulaw import decode as linear
from calltape.chaos.lines import compare_history, compare_results, compare_times, compare_transcripts
from calltape.chaos.record import check_record
from calltape.chaos.told import Difference, Told
from eventlog.port import Record
from schema.media import MediaReceived, MediaSpoken
from schema.registry import decode
from schema.stream import PlaybackCleared, PlaybackMarked, StreamClosed

__all__ = ["Difference", "Told", "compare", "quiet_ms"]

FRAME = 160  # bytes of mu-law: 20 ms
AUDIBLE_DBFS = -50.0
# A new stream goes on from the beginning of the word at the last mark on the log: no word is longer.
WORD_MS = 1_500


def compare(undisturbed: Told, disturbed: Told, *, cuts_the_line: bool) -> Difference:
    """`cuts_the_line`: a caller was cut off, so the rest of the call is another; what was said before is not, nor is
    what was said whole after it."""
    found = Difference()
    _frames(disturbed, found)
    _speech(disturbed, found)
    check_record(disturbed, found)
    compare_times(undisturbed, disturbed, found)
    if cuts_the_line:
        compare_history(undisturbed, disturbed, found)
    else:
        compare_transcripts(undisturbed, disturbed, found)
        compare_results(undisturbed.shown, disturbed.shown, found)
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


def _frames(told: Told, found: Difference) -> None:
    """Frames of a stream are numbered from 1 without a hole, to the last one its door knows of."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for one in told.media:
        numbers[one.stream].add(one.sequence)
    ends: dict[str, int] = defaultdict(int)
    for record in told.events:
        event = decode(record.value)
        if isinstance(event, StreamClosed):
            ends[event.stream] = max(ends[event.stream], event.last_sequence)
    for stream in numbers.keys() | ends.keys():
        seen = numbers[stream]
        if missing := max(seen | {ends[stream]}) - len(seen):
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
