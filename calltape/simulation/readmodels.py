"""What must hold of the tables, the summary and the recording: they say what the admitted events say, each once."""

from __future__ import annotations

import wave
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from calltape.simulation.database import Rows
from calltape.simulation.tape import Admitted, Tape
from projections import tables
from schema import call, insight, speech, stream, turn
from schema.envelope import AnyEvent
from schema.failure import WorkFailed
from schema.heard import heard_words, presumed_duration_ms
from schema.media import MediaReceived
from schema.private import plain


@dataclass(slots=True)
class _Line:
    """One line of a transcript, from its events alone."""

    id: str
    speaker: str
    text: str
    duration_ms: int | None = None
    heard_ms: int = 0
    whole: bool = False
    played: bool = False

    @property
    def heard(self) -> str:
        if self.speaker == "caller" or self.whole:
            return self.text
        known_ms = presumed_duration_ms(self.text) if self.duration_ms is None else self.duration_ms
        return heard_words(self.text, known_ms, self.heard_ms)


@dataclass(slots=True)
class _Transcript:
    lines: dict[str, _Line] = field(default_factory=dict)  # by event id, or reply:index

    def note(self, event: AnyEvent) -> None:
        match event:
            case speech.TranscriptSettled() | stream.TextTyped():
                self.lines[event.id] = _Line(event.id, "caller", plain(event.text))
            case stream.DtmfPressed():
                self.lines[event.id] = _Line(event.id, "caller", plain(event.digit))
            case turn.ReplySentence():
                self.lines[f"{event.reply}:{event.index}"] = _Line(event.id, "agent", plain(event.text))
            case turn.ReplyVoiced() if line := self.lines.get(f"{event.reply}:{event.index}"):
                line.duration_ms = event.duration_ms
            case stream.PlaybackStarted() if line := self.lines.get(f"{event.reply}:{event.sentence}"):
                line.played = True
            case stream.PlaybackMarked() | stream.PlaybackCleared() if line := self.lines.get(
                f"{event.reply}:{event.sentence}"
            ):
                line.heard_ms = max(line.heard_ms, event.heard_ms)
                line.whole = line.whole or (isinstance(event, stream.PlaybackMarked) and event.last)
                line.played = line.played or event.heard_ms > 0
            case turn.ReplyFinished(interrupted=False):
                for key, line in self.lines.items():
                    if key.startswith(f"{event.reply}:") and line.duration_ms is None and not line.played:
                        line.whole = True  # given as text alone, and read


def rebuilt(tape: Tape) -> Iterator[str]:
    """Tables that were built anew from the log are the tables that grew while the calls went on."""
    live, anew = tape.outcome.live, tape.outcome.rebuilt
    for name in live:
        for row in _differing(live[name], anew[name]):
            yield f"{name}: {row}"


def _differing(live: Sequence[Any], anew: Sequence[Any]) -> Iterator[str]:
    if live != anew:
        yield from (f"only live {row}" for row in live if row not in anew)
        yield from (f"only rebuilt {row}" for row in anew if row not in live)


def caught_up(tape: Tape) -> Iterator[str]:
    if not tape.outcome.is_caught_up:
        yield "calls, late work or tables never came to their end"


def transcript(tape: Tape) -> Iterator[str]:
    """Every line of every call, and what of it was heard, as the events say."""
    told: dict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
    for row in _rows(tape.outcome.live, tables.lines):
        told[row["life"]].append((row["id"], row["speaker"], row["text"], row["heard_text"]))
    for life, events in tape.lives().items():
        lines = _Transcript()
        for one in events:
            lines.note(one.event)
        expected = sorted((line.id, line.speaker, line.text, line.heard) for line in lines.lines.values())
        for line in _differing(sorted(told.get(life, [])), expected):
            yield f"{life}: {line}"


def results(tape: Tape) -> Iterator[str]:
    """Calls, summaries, key points, actions and recordings are rows with the values of their events, and no others."""
    live = tape.outcome.live
    for name, (table, columns, expected) in _expected(tape).items():
        found = sorted((tuple(row[column] for column in columns) for row in _rows(live, table)), key=repr)
        for line in _differing(found, sorted(expected, key=repr)):
            yield f"{name}: {line}"


def _expected(tape: Tape) -> dict[str, tuple[Any, tuple[str, ...], list[tuple[Any, ...]]]]:
    summaries, points, actions, saved, ends = [], [], [], [], []
    for life, events in tape.lives().items():
        reason = complete = None
        for one in events:
            match one.event:
                case call.CallEnded() as event:
                    reason = event.reason
                case call.CallSealed() as event:
                    complete = event.complete
                case insight.CallSummarised() as event:
                    summaries.append((life, event.revision, event.id, plain(event.summary), list(event.cites)))
                    points += [
                        (life, number, plain(point.text), list(point.cites))
                        for number, point in enumerate(event.key_points)
                    ]
                case insight.ActionFound() as event:
                    actions.append((life, event.id, plain(event.title), event.number, list(event.cites)))
                case insight.RecordingSaved() as event:
                    saved.append((life, event.id, event.path, event.duration_ms))
        turns = sum(isinstance(one.event, turn.TurnTaken) for one in events)
        ends.append((life, events[0].event.call_id, reason or "", complete, turns))
    return {
        "calls": (tables.calls, ("life", "call_id", "reason", "complete", "turns"), ends),
        "summaries": (tables.summaries, ("life", "revision", "id", "summary", "cites"), summaries),
        "key points": (tables.key_points, ("life", "number", "text", "cites"), points),
        "actions": (tables.actions, ("life", "id", "title", "number", "cites"), actions),
        "recordings": (tables.recordings, ("life", "id", "path", "duration_ms"), saved),
    }


def _rows(live: Rows, table: Any) -> Iterator[dict[str, Any]]:
    names = [column.name for column in table.columns]
    return (dict(zip(names, row, strict=True)) for row in live[table.name])


def summarised(tape: Tape) -> Iterator[str]:
    """One summary a sealed life, of the lines as they were heard, citing nothing but them.

    An engine that fails three times leaves a failure in its place, and a call that begins again under the same name
    before its last life was summarised leaves that life without one: to admission (R3) the old life is over.
    """
    for life, events in _sealed_lives(tape):
        said = [one for one in events if one.event.role == "summariser"]
        found = [one for one in said if isinstance(one.event, insight.CallSummarised)]
        failed = [one for one in said if isinstance(one.event, WorkFailed)]
        if len(found) + len(failed) != 1 and not (_began_again(tape, life) and not said):
            yield f"{life} has {len(found)} summaries and {len(failed)} failures"
        if failed and not tape.outcome.plan.engines_fail:
            yield f"{life} could not be summarised: {failed[0].event}"
        for one in found:
            yield from _judge_summary(one, events)


def _judge_summary(one: Admitted, events: Sequence[Admitted]) -> Iterator[str]:
    summary = one.event
    assert isinstance(summary, insight.CallSummarised)
    expected: set[str] = set()
    ids: set[str] = set()
    lines = _Transcript()
    is_sealed = False
    for each in events:
        if each.position >= one.position:
            break
        lines.note(each.event)
        is_sealed = is_sealed or isinstance(each.event, call.CallSealed)
        if is_sealed:  # what was played may be told after the seal, before or behind the clerk's look
            expected.add(_told(lines))
    ids = {line.id for line in lines.lines.values()}
    if plain(summary.summary) not in expected:
        yield f"{summary.id} says {plain(summary.summary)!r}, heard was {sorted(expected)}"
    cited = {*summary.cites, *(id_ for point in summary.key_points for id_ in point.cites)}
    actions = [x.event for x in events if isinstance(x.event, insight.ActionFound)]
    cited |= {id_ for action in actions for id_ in action.cites}
    if cited - ids:
        yield f"{summary.id} cites {sorted(cited - ids)}, which nobody said"


def _told(lines: _Transcript) -> str:
    """As `calltape.simulation.clerks` tells it: every line somebody heard. Keys pressed are not words."""
    told = [line for line in lines.lines.values() if line.heard.strip() and not line.text.isdigit()]
    return "; ".join(f"{line.speaker}: {line.heard.strip()}" for line in told)


def recorded(tape: Tape) -> Iterator[str]:
    """One recording a sealed life if calls are recorded, none if not, and its file is there and as long as it says."""
    for life, events in _sealed_lives(tape):
        said = [one.event for one in events if one.event.role == "recorder"]
        found = [event for event in said if isinstance(event, insight.RecordingSaved)]
        wanted = int(tape.outcome.plan.records)
        if len(said) != wanted and not (_began_again(tape, life) and not said):
            yield f"{life} has {len(said)} words of the recorder"
        if wanted and said and not found and _has_sound(tape, events) and not tape.outcome.plan.engines_fail:
            yield f"{life} has sound and no recording: {said}"
        for event in found:
            with wave.open(str(tape.outcome.recordings / event.path)) as file:
                length_ms = file.getnframes() * 1000 // file.getframerate()
            if length_ms != event.duration_ms:
                yield f"{event.path} is {length_ms} ms long, not {event.duration_ms}"


def _has_sound(tape: Tape, events: Sequence[Admitted]) -> bool:
    streams = {one.event.stream for one in events if isinstance(one.event, stream.StreamOpened)}
    return any(isinstance(frame, MediaReceived) for name in streams for frame in tape.heard.get(name, {}).values())


def _sealed_lives(tape: Tape) -> Iterator[tuple[str, list[Admitted]]]:
    for life, events in tape.lives().items():
        if any(isinstance(one.event, call.CallSealed) for one in events):
            yield life, events


def _began_again(tape: Tape, life: str) -> bool:
    """Whether a later life of the same call began."""
    call_id = tape.lives()[life][0].event.call_id
    lives = [one.life for one in tape.of(call.CallStarted) if one.event.call_id == call_id]
    return life in lives[:-1]


def not_parked(tape: Tape) -> Iterator[str]:
    """No fold failed, whatever it read."""
    yield from tape.outcome.parked
    for one in tape.of(WorkFailed):
        if isinstance(one.event, WorkFailed) and one.event.stage == "fold":
            yield f"{one.event.id}: {one.event.message}"
    for row in _rows(tape.outcome.live, tables.failures):
        if row["stage"] in ("fold", "projection"):
            yield f"position {row['position']}: {row['code']} {row['message']}"


CHECKS = {
    "no call is parked": not_parked,
    "everything comes to its end": caught_up,
    "rebuilt tables equal live ones": rebuilt,
    "the transcript is what the events say": transcript,
    "the results are what the events say": results,
    "a call is summarised once": summarised,
    "a call is recorded once": recorded,
}
