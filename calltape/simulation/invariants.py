"""What must hold in every run, judged from the final log alone with `schema.admit` as the judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from calltape.simulation import believed, readmodels, sound
from calltape.simulation.outcome import Outcome
from calltape.simulation.tape import Tape
from schema import call, failure, speech, stream, turn
from schema.envelope import AnyEvent
from schema.private import plain

# So long a reply, its interruption and a slow engine may together keep words waiting.
ANSWERED_MS = 15_000
# Agent, voice and recogniser may each be given up only after this.
LATE_MS = 60_000
# A zombie's adoption silences the true owner until a decision was owed for 30 s (R6).
ADOPTED_AGAIN_MS = 30_000


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold, and where."""

    invariant: str
    detail: str


def violations(outcome: Outcome) -> list[Violation]:
    """Every invariant that this run broke."""
    tape = Tape(outcome)
    found = [Violation("no process crashes", crash) for crash in outcome.crashes]
    for name, check in CHECKS.items():
        found += [Violation(name, detail) for detail in _details(check, tape)]
    return found


def _details(check: Check, tape: Tape) -> Iterator[str]:
    """A run so broken that a check breaks over it is a violation, too: it must not lose its seed."""
    try:
        yield from check(tape)
    except Exception as error:
        yield f"could not be judged: {error!r}"


def _sealed(tape: Tape) -> Iterator[str]:
    for life, events in tape.lives().items():
        seals = sum(isinstance(one.event, call.CallSealed) for one in events)
        ends = sum(isinstance(one.event, call.CallEnded) for one in events)
        if seals != 1 or ends != 1:
            yield f"{life} has {ends} call.ended and {seals} call.sealed"
    if not tape.admitted and any(b'"call.started"' in record.value for record in tape.outcome.events):
        yield "the call never began"


def _one_reply(tape: Tape) -> Iterator[str]:
    for events in tape.lives().values():
        still = ""
        for one in events:
            match one.event:
                case turn.ReplyStarted() as event:
                    if still:
                        yield f"{event.id} began while {still} was open"
                    still = event.id
                case turn.ReplyFinished() as event:
                    if event.reply != still:
                        yield f"{event.id} finished {event.reply}, open was {still or 'none'}"
                    still = ""
        if still:
            yield f"{still} was never finished"


def _causes(tape: Tape) -> Iterator[str]:
    for events in tape.lives().values():
        known: dict[str, AnyEvent] = {}
        for one in events:
            event = one.event
            if isinstance(event, turn.ReplyStarted) and not _has_cause(event, known.get(event.in_answer_to)):
                yield f"{event.id} ({event.why}) answers {event.in_answer_to or 'nothing'}"
            known[event.id] = event


def _has_cause(event: turn.ReplyStarted, cause: AnyEvent | None) -> bool:
    match event.why:
        case "greeting":
            return True
        case "turn":
            return isinstance(cause, turn.TurnTaken)
        case "prompt":
            return isinstance(cause, turn.TimerRang)
        case "request":
            return isinstance(cause, call.RequestMade)
        case _:
            return isinstance(cause, turn.ToolReturned)


def _answered(tape: Tape) -> Iterator[str]:
    """Each turn has one reply, unless the call ended first; each greeting is the only one."""
    for events in tape.lives().values():
        replies = [one.event for one in events if isinstance(one.event, turn.ReplyStarted)]
        ended = any(isinstance(one.event, call.CallEnded) for one in events)
        for one in events:
            if not isinstance(one.event, turn.TurnTaken):
                continue
            answers = sum(reply.in_answer_to == one.event.id for reply in replies)
            is_last = one.event.id == [e.event.id for e in events if isinstance(e.event, turn.TurnTaken)][-1]
            if answers > 1 or (answers == 0 and not (ended and is_last)):
                yield f"{one.event.id} has {answers} replies"
        if sum(reply.why == "greeting" for reply in replies) > 1:
            yield "the caller was greeted twice"


def _utterances(tape: Tape) -> Iterator[str]:
    taken: dict[str, str] = {}
    known = {one.event.id for one in tape.of(speech.TranscriptSettled, stream.DtmfPressed, stream.TextTyped)}
    for one in tape.of(turn.TurnTaken):
        assert isinstance(one.event, turn.TurnTaken)
        for utterance in one.event.utterances:
            if utterance in taken:
                yield f"{utterance} is in {taken[utterance]} and {one.event.id}"
            if utterance not in known:
                yield f"{one.event.id} takes {utterance}, which nobody said"
            taken[utterance] = one.event.id


def _taken(tape: Tape) -> Iterator[str]:
    """Words said while the call could still answer are in a turn."""
    patience_ms = ANSWERED_MS + (ADOPTED_AGAIN_MS if tape.outcome.mishaps else 0)
    patience_ms += LATE_MS if tape.outcome.plan.engines_late else 0
    for events in tape.lives().values():
        ended_at = next((one.at for one in events if isinstance(one.event, call.CallEnded)), None)
        in_turns = {u for one in events if isinstance(one.event, turn.TurnTaken) for u in one.event.utterances}
        for one in events:
            event = one.event
            if not isinstance(event, speech.TranscriptSettled) or not plain(event.text) or event.id in in_turns:
                continue
            gone_at = min((x.at for x in events if _is_gone(x.event) and x.at >= one.at), default=1 << 62)
            if one.at + patience_ms < min(ended_at or 1 << 62, gone_at):
                yield f"{event.id} {event.text!r} is in no turn"


def _is_gone(event: AnyEvent) -> bool:
    return isinstance(event, stream.StreamClosed | stream.StreamLost)


def _tools(tape: Tape) -> Iterator[str]:
    called = {one.event.id: one.event for one in tape.of(turn.ToolCalled) if isinstance(one.event, turn.ToolCalled)}
    for key, times in tape.outcome.effects.items():
        if key not in called:
            yield f"tool {key} took effect but was never called"
        elif times > 1 and not called[key].repeatable:
            yield f"{called[key].name} {key} took effect {times} times"
    returned: dict[str, int] = defaultdict(int)
    for one in tape.of(turn.ToolReturned):
        assert isinstance(one.event, turn.ToolReturned)
        returned[one.event.call] += 1
    for key in called:
        if returned[key] != 1:
            yield f"tool {key} returned {returned[key]} times"


def _sentences(tape: Tape) -> Iterator[str]:
    """One text for one sentence, numbered without holes; nothing is added to a composed reply."""
    count: dict[str, int] = defaultdict(int)
    composed: set[str] = set()
    for one in tape.admitted:
        match one.event:
            case turn.ReplySentence() as event:
                if event.index != count[event.reply]:
                    yield f"{event.id} is sentence {event.index} of {event.reply}, expected {count[event.reply]}"
                if event.reply in composed:
                    yield f"{event.id} was added to {event.reply} after it was composed"
                count[event.reply] += 1
            case turn.ReplyComposed() as event:
                if event.reply in composed:
                    yield f"{event.reply} was composed twice"
                composed.add(event.reply)
                if event.sentences != count[event.reply]:
                    yield f"{event.reply} has {count[event.reply]} sentences and says {event.sentences}"


def _carrier(tape: Tape) -> Iterator[str]:
    """What was decided about a call reached the carrier: an act does not die with its owner (R5)."""
    for life, events in tape.lives().items():
        began = events[0].event
        told = tape.outcome.transferred.get(began.call_id, ())
        failed = {one.event.stage for one in events if isinstance(one.event, failure.WorkFailed)}
        wished = {plain(one.event.to) for one in events if isinstance(one.event, call.RequestMade)}
        for one in events:
            match one.event:
                case call.CallTransferred() as event if plain(event.to) not in told or plain(event.to) not in wished:
                    yield f"{event.id}: the carrier was told {told}, wished was {wished}"
                case call.CallEnded() as event if _is_ours_to_end(event.reason):
                    # Who was connected elsewhere meanwhile is no longer ours to hang up.
                    if not tape.outcome.hung_up.get(began.call_id) and not told and "hang_up" not in failed:
                        yield f"{life} ended ({event.reason}) and nobody told the carrier"
        if told and not any(isinstance(one.event, call.CallTransferred) for one in events):
            yield f"{life}: the carrier was told to connect to {told}, and the log does not say so"


def _lost(tape: Tape) -> Iterator[str]:
    """A stream is given up only if its process was hurt: the log's silence is not its own. A log that loses or hides
    answers may keep a process from being heard for as long as that."""
    if tape.outcome.plan.faults.any:
        return
    for one in tape.of(stream.StreamLost):
        assert isinstance(one.event, stream.StreamLost)
        process = one.event.stream.rpartition(".")[2].rpartition("-")[0]
        if not any(name.endswith(process) for name in tape.outcome.hurt):
            yield f"{one.event.stream} was given up, and its process was well"


def _is_ours_to_end(reason: str) -> bool:
    return not reason.startswith(("caller_hung_up", "carrier_", "transferred"))


Check = Callable[[Tape], Iterator[str]]
CHECKS: dict[str, Check] = {
    "every call ends sealed": _sealed,
    **believed.CHECKS,
    "every utterance is settled once": sound.settled_once,
    "an empty line closes speech": sound.settled_for_something,
    "the words are what was said": sound.words_as_said,
    "nothing is said twice": sound.said_once,
    "what was heard is not said again": sound.heard_once,
    "one reply at a time": _one_reply,
    "no reply without its cause": _causes,
    "every turn is answered once": _answered,
    "an utterance is in one turn": _utterances,
    "words become turns": _taken,
    "a tool takes effect once": _tools,
    "sentences follow each other": _sentences,
    "the carrier is told": _carrier,
    "who is well is not given up": _lost,
    "the record is what went out": sound.as_recorded,
    "what counts as heard was heard": sound.as_heard,
    "what was heard counts": sound.heard_counts,
    **readmodels.CHECKS,
}
