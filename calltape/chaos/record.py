"""Holds a call's tables against its events: every fact once, none twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from calltape.chaos.told import Difference, Told, believed
from projections.results import CallDetails
from schema.call import CallEnded, CallSealed
from schema.envelope import AnyEvent, type_of
from schema.insight import CallSummarised, RecordingSaved
from schema.private import plain
from schema.speech import TranscriptSettled
from schema.turn import ReplySentence, ReplyStarted, ToolCalled, ToolReturned, TurnTaken

ONCE = (CallEnded, CallSealed, CallSummarised, RecordingSaved)  # in each call
SAVES = "save_item"


def check_record(told: Told, found: Difference) -> None:
    """Of a call that is over. Without its tables there is nothing to check."""
    if told.details is None:
        return
    events = believed(told.events)
    _events(events, found)
    _rows(told.details, events, found)
    _citations(told.details, found)
    if told.lives != 1:
        found.doubled.append(f"the call has {told.lives} rows")


def _events(events: Iterable[AnyEvent], found: Difference) -> None:
    """Each end, summary and recording once; each utterance in one turn, each turn with one answer, each tool back."""
    events = list(events)
    for kind in ONCE:
        count = sum(isinstance(event, kind) for event in events)
        if count != 1:
            (found.doubled if count else found.lost).append(f"{count} {kind.__struct_config__.tag}")
    taken = [each for event in events if isinstance(event, TurnTaken) for each in event.utterances]
    answered = [event.in_answer_to for event in events if isinstance(event, ReplyStarted) and event.in_answer_to]
    returned = [event.call for event in events if isinstance(event, ToolReturned)]
    sentences = [(event.reply, event.index) for event in events if isinstance(event, ReplySentence)]
    kinds: dict[str, Sequence[Hashable]] = {
        "turn": taken,
        "answer": answered,
        "tool's return": returned,
        "sentence": sentences,
    }
    for name, keys in kinds.items():
        found.doubled += [f"{name} {key} {count} times" for key, count in _twice(keys)]
    open_tools = {event.id for event in events if isinstance(event, ToolCalled)} - set(returned)
    found.lost += [f"the return of tool {key}" for key in open_tools]


def _rows(details: CallDetails, events: Iterable[AnyEvent], found: Difference) -> None:
    """A row for each fact, and no other."""
    events = list(events)
    kept: dict[str, tuple[list[str], set[str]]] = {
        "line": ([line.id for line in details.lines], {event.id for event in events if _is_line(event)}),
        "turn": ([turn.id for turn in details.turns], _ids(events, TurnTaken)),
        "reply": ([reply.id for reply in details.replies], _ids(events, ReplyStarted)),
        "tool": ([tool.id for tool in details.tools], _ids(events, ToolCalled)),
    }
    for name, (rows, facts) in kept.items():
        found.doubled += [f"{count} rows of {name} {key}" for key, count in _twice(rows)]
        found.lost += [f"no row of {name} {key}" for key in sorted(facts - set(rows))]
        found.other += [f"a row of {name} {key} without its event" for key in sorted(set(rows) - facts)]
    counts = Counter(type_of(event) for event in events)
    rows_of = {
        "action.found": len(details.actions),
        "stream.opened": len(details.streams),
        "recording.saved": len(details.recordings),
        "call.summarised": details.summary.revision if details.summary else 0,
    }
    found.other += [f"{rows} rows of {counts[name]} {name}" for name, rows in rows_of.items() if rows != counts[name]]
    items = [(each.title, each.kind, each.due) for each in details.actions]
    found.doubled += [f"action {item} {count} times" for item, count in _twice(items)]


def _citations(details: CallDetails, found: Difference) -> None:
    """What is cited is there, and what a tool has saved became an action item (what was only said may be one, too)."""
    lines = {line.id for line in details.lines}
    cites = [*(each.cites for each in details.key_points), *(each.cites for each in details.actions)]
    found.lost += [f"the cited line {cited}" for each in cites for cited in each if cited not in lines]
    saved = Counter(tool.arguments.get("title") for tool in details.tools if (tool.name, tool.status) == (SAVES, "ok"))
    found.lost += [f"action {title!r}, which was saved" for title in saved - Counter(a.title for a in details.actions)]


def _is_line(event: AnyEvent) -> bool:
    if isinstance(event, TranscriptSettled):
        return bool(plain(event.text))
    return isinstance(event, ReplySentence)


def _ids(events: Iterable[AnyEvent], kind: type[AnyEvent]) -> set[str]:
    return {event.id for event in events if isinstance(event, kind)}


def _twice(keys: Iterable[Hashable]) -> list[tuple[Hashable, int]]:
    return [(key, count) for key, count in Counter(keys).items() if count > 1]
