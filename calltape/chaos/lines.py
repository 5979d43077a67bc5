"""Compares what two calls say: transcript, times, turns, summary and action items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from calltape.chaos.told import Difference, Told, Utterance
from projections.results import CallDetails, Line

# The edge of a word is where the recogniser puts it; who begins anew in the middle of a phrase may put it elsewhere.
TOLERANCE_MS = 100


def compare_transcripts(before: Told, after: Told, found: Difference) -> None:
    """The same words by the same speakers in the same order, heard to the same end, in the same turns."""
    was, now = _said(before), _said(after)
    more, gone = Counter(now) - Counter(was), Counter(was) - Counter(now)
    found.lost += [f"{speaker}: {text!r}" for speaker, text in gone]
    found.doubled += [f"{speaker}: {text!r}" for speaker, text in more]
    if not gone and not more and was != now:
        found.other.append(f"the lines stand in another order: {now}")
    for line in _lines(after):
        if not line["said"].startswith(line["text"].rstrip(".,")):
            found.other.append(f"{line['text']!r} was heard of {line['said']!r}")
    if _turns(before) != _turns(after):
        found.other.append(f"other turns: {_turns(after)}, not {_turns(before)}")


def compare_results(before: dict[str, Any], after: dict[str, Any], found: Difference) -> None:
    """Summary, key points and action items with the words they cite, and how the call ended."""
    for key in ("summary", "sentiment", "reason", "complete"):
        if before.get(key) != after.get(key):
            found.other.append(f"{key} is {after.get(key)!r}, not {before.get(key)!r}")
    for key in ("actions", "key_points"):
        was, now = _cited(before, key), _cited(after, key)
        if was != now:
            found.other.append(f"other {key.replace('_', ' ')}: {now}, not {was}")


def compare_times(before: Told, after: Told, found: Difference) -> None:
    """Where each of the caller's lines begins and ends, against the carrier's clock of the stream it was said to.

    A death moves everything behind it on the call's clock, so that one cannot be compared; on the stream's clock, which
    counts frames, a phrase is where the caller put it. The agent's lines are compared by their order alone.
    """
    was, now = _offsets(before), _offsets(after)
    for text, (start_ms, end_ms) in now.items():
        if text in was and (moved := max(abs(start_ms - was[text][0]), abs(end_ms - was[text][1]))) > TOLERANCE_MS:
            found.other.append(f"{text!r} lies {moved} ms from where it was said")


def compare_history(before: Told, after: Told, found: Difference) -> None:
    """What stood before the line went is what it was; what was said whole stands once, in its order."""
    if after.details is None:
        return
    cut_ms = _cut_ms(after.details, after.said)
    history = [_speaker_and_words(line) for line in _lines(after) if line["start_ms"] < cut_ms]
    if history != [_speaker_and_words(line) for line in _lines(before)][: len(history)] or not history:
        found.other.append(f"another history: {history}")
    wanted = [one.text for one in after.said if one.whole]
    heard = [line["said"] for line in _lines(after) if line["speaker"] == "caller"]
    there = iter(heard)
    found.lost += [f"caller: {text!r}" for text in wanted if text not in there]
    spoken = Counter(one.text for one in after.said)
    found.doubled += [f"caller: {text!r}" for text, times in Counter(heard).items() if times > max(1, spoken[text])]


def _lines(told: Told) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told.shown.get("transcript", [])
    return found


def _said(told: Told) -> list[tuple[str, str]]:
    """Of a reply that the caller interrupted only the first sentence: how far it came is a matter of moments."""
    cut_short = _interrupted(told.details)
    return [_speaker_and_words(line) for line in _lines(told) if line["id"] not in cut_short]


def _speaker_and_words(line: dict[str, Any]) -> tuple[str, str]:
    return line["speaker"], line["said"]


def _interrupted(details: CallDetails | None) -> set[str]:
    if details is None:
        return set()
    replies = {reply.id for reply in details.replies if reply.interrupted}
    return {line.id for line in details.lines if line.reply in replies and line.sentence}


def _turns(told: Told) -> list[tuple[Any, ...]]:
    """What was heard, what was answered (whole replies), and whether all of it was listened to."""
    return [
        (turn["heard"], turn["reply"], turn["interrupted"], turn["interrupted"] or turn["reply_heard"])
        for turn in told.shown.get("turns", [])
    ]


def _cited(shown: dict[str, Any], key: str) -> list[tuple[Any, ...]]:
    """With citations as the words they cite: ids differ from call to call."""
    texts = {line["id"]: line["said"] for line in shown.get("transcript", [])}
    return [
        (*(each[name] for name in sorted(each.keys() - {"cites"})), *(texts.get(cited, "?") for cited in each["cites"]))
        for each in shown.get(key, [])
    ]


def _offsets(told: Told) -> dict[str, tuple[int, int]]:
    """By how much a line begins and ends later than the phrase; of whole phrases that stand once in the transcript."""
    found: dict[str, tuple[int, int]] = {}
    for one in told.said:
        line = _line_of(told.details, one) if one.whole else None
        if told.details is not None and line is not None and line.start_ms is not None and line.end_ms is not None:
            opened_ms = _opened_ms(told.details, one.stream)
            found[one.text] = (line.start_ms - opened_ms - one.start_ms, line.end_ms - opened_ms - one.end_ms)
    return found


def _line_of(details: CallDetails | None, said: Utterance) -> Line | None:
    if details is None:
        return None
    stream = next((stream.stream for stream in details.streams if stream.epoch == said.stream), None)
    lines = [line for line in details.lines if line.text == said.text and line.stream == stream]
    return lines[0] if len(lines) == 1 else None


def _opened_ms(details: CallDetails, epoch: int) -> int:
    """When the stream opened on the call's clock."""
    return next(stream.opened_at for stream in details.streams if stream.epoch == epoch) - details.call.started_at


def _cut_ms(details: CallDetails, said: Sequence[Utterance]) -> int:
    """On the call's clock: before the phrase that was cut; where none was, before the end of the first stream."""
    cut = next((one for one in said if not one.whole and one.stream), None)
    if cut is not None:
        return _opened_ms(details, cut.stream) + cut.start_ms - TOLERANCE_MS
    return (details.streams[0].closed_at or details.call.ended_at or details.call.started_at) - details.call.started_at
