"""What must hold in every run, judged from the final log alone with `schema.admit` as the judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from calltape.simulation import voice
from calltape.simulation.house import Outcome
from schema import call, speech, stream, turn
from schema.admit import Admission, admit
from schema.envelope import AnyEvent, type_of
from schema.heard import TOLERANCE_MS
from schema.media import MediaReceived, MediaSpoken
from schema.private import plain
from schema.registry import decode, unpack_media

# Speech shorter than the segmenter's confirmation may end a stream unheard.
UNCONFIRMED_MS = 120


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold, and where."""

    invariant: str
    detail: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted event in its place."""

    position: int
    at: int
    event: AnyEvent
    life: str  # id of the call.started it belongs to


class Tape:
    """A run's log, read once."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.admitted: list[Admitted] = []
        self.admission = Admission()
        for record in outcome.events:
            event = decode(record.value)
            after = admit(self.admission, event)
            if after is not None:
                self.admission = after
                self.admitted.append(Admitted(record.position, record.at, event, after.life))
        self.heard: dict[str, dict[int, MediaReceived]] = defaultdict(dict)
        self.spoken: dict[tuple[str, int], MediaSpoken] = {}
        for record in outcome.media:
            media = unpack_media(record.value)
            if isinstance(media, MediaReceived):
                self.heard[media.stream].setdefault(media.sequence, media)
            elif isinstance(media, MediaSpoken):
                self.spoken.setdefault((media.stream, media.sequence), media)

    def of(self, *types: type) -> Iterator[Admitted]:
        return (one for one in self.admitted if isinstance(one.event, types))

    def lives(self) -> dict[str, list[Admitted]]:
        found: dict[str, list[Admitted]] = defaultdict(list)
        for one in self.admitted:
            found[one.life].append(one)
        return found


def violations(outcome: Outcome) -> list[Violation]:
    """Every invariant that this run broke."""
    tape = Tape(outcome)
    found = [Violation("no process crashes", crash) for crash in outcome.crashes]
    for name, check in CHECKS.items():
        found += [Violation(name, detail) for detail in check(tape)]
    return found


def _sealed(tape: Tape) -> Iterator[str]:
    for life, events in tape.lives().items():
        seals = sum(isinstance(one.event, call.CallSealed) for one in events)
        ends = sum(isinstance(one.event, call.CallEnded) for one in events)
        if seals != 1 or ends != 1:
            yield f"{life} has {ends} call.ended and {seals} call.sealed"
    if tape.outcome.events and not tape.admitted:
        yield "the call never began"


def _late(tape: Tape) -> Iterator[str]:
    sealed = ""
    for one in tape.admitted:
        event = one.event
        if one.life == sealed and not (
            event.role in ("summariser", "recorder") or type_of(event).startswith(("stream.", "playback."))
        ):
            yield f"{type_of(event)} {event.id} after call.sealed"
        if isinstance(event, call.CallSealed):
            sealed = one.life


def _chain(tape: Tape) -> Iterator[str]:
    """R1 again, by hand: the judge is judged, too."""
    last: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    for one in tape.admitted:
        event = one.event
        if event.id in seen:
            yield f"{event.id} was admitted twice"
        seen.add(event.id)
        if event.role:
            if event.prior != last.get((one.life, event.role), one.life):
                yield f"{type_of(event)} {event.id} names {event.prior}"
            last[one.life, event.role] = event.id


def _settled_once(tape: Tape) -> Iterator[str]:
    through: dict[str, int] = {}
    for one in tape.of(speech.TranscriptSettled):
        event = one.event
        assert isinstance(event, speech.TranscriptSettled)
        if event.start_ms < through.get(event.stream, 0):
            yield f"{event.id} begins at {event.start_ms} ms of {event.stream}, heard to {through[event.stream]}"
        if event.through_ms < max(event.end_ms, through.get(event.stream, 0)):
            yield f"{event.id} goes back to {event.through_ms} ms"
        through[event.stream] = event.through_ms


def _words(tape: Tape) -> Iterator[str]:
    """The words of every stream that was heard to its end are what reached the log, in order, each once."""
    said: dict[str, list[str]] = defaultdict(list)
    cut: dict[str, bool] = {}
    for one in tape.of(speech.TranscriptSettled):
        event = one.event
        assert isinstance(event, speech.TranscriptSettled)
        words = plain(event.text).split()
        # A gap in the audio may cut a word in two: each half is heard as that word.
        whole_word = not (cut.get(event.stream) and words and said[event.stream][-1:] == words[:1])
        said[event.stream] += words if whole_word else words[1:]
        if words or not cut.get(event.stream):
            cut[event.stream] = event.through_ms - event.end_ms < 2 * voice.FRAME_MS
    whole = {
        one.event.stream
        for one in tape.of(speech.StreamHeard)
        if isinstance(one.event, speech.StreamHeard) and one.event.complete
    }
    for name, frames in tape.heard.items():
        words, unsure = _words_on_log(frames)
        if said[name] == words or (unsure and said[name] == words[:-1]):
            continue
        is_prefix = said[name] == words[: len(said[name])]
        if name in whole or not is_prefix:
            yield f"{name}: settled {said[name]}, the log has {words}{' (the last one too short)' if unsure else ''}"


def _words_on_log(frames: dict[int, MediaReceived]) -> tuple[list[str], bool]:
    """The words, and whether the last one is too short at the stream's end to be found by a detector."""
    words: list[str] = []
    voiced_ms = 0
    silent_ms = 10_000
    for sequence in sorted(frames):
        word = voice.word_in(frames[sequence].payload)
        if word is None:
            silent_ms += voice.FRAME_MS
            continue
        voiced_ms = voiced_ms + voice.FRAME_MS if silent_ms < 300 else voice.FRAME_MS
        silent_ms = 0
        if word != voice.COUGH and (not words or words[-1] != voice.text_of(word)):
            words.append(voice.text_of(word))
    return words, bool(words) and voiced_ms < UNCONFIRMED_MS and silent_ms < 1300


def _said_once(tape: Tape) -> Iterator[str]:
    """No millisecond of a sentence goes out twice, but from the beginning of the word at the last mark on."""
    texts = {
        (one.event.reply, one.event.index): plain(one.event.text)
        for one in tape.of(turn.ReplySentence)
        if isinstance(one.event, turn.ReplySentence)
    }
    marks = _marks(tape)
    written: dict[tuple[str, int], tuple[str, int]] = {}
    for media in _in_order(tape):
        key = (media.reply, media.sentence)
        end_ms = media.offset_ms + len(media.payload) // 8
        text = texts.get(key)
        if text is None:
            yield f"sound of {key}, which is not on the log"
            continue
        if not voice.is_spoken(text, media.offset_ms, media.payload):
            yield f"{key} at {media.offset_ms} ms of {media.stream} is not what {text!r} sounds like"
        before = written.get(key)
        if before is not None and media.offset_ms < before[1]:
            allowed = _repeats(text, marks.get(key, []))
            if media.offset_ms not in allowed:
                yield (
                    f"{key} {text!r}: {media.offset_ms} to {end_ms} ms on {media.stream} after {before[1]} ms on "
                    f"{before[0]}; a repeat may begin at {sorted(allowed)}"
                )
        written[key] = (media.stream, end_ms)


def _in_order(tape: Tape) -> list[MediaSpoken]:
    found = []
    seen = set()
    for record in tape.outcome.media:
        media = unpack_media(record.value)
        if isinstance(media, MediaSpoken) and (media.stream, media.sequence) not in seen:
            seen.add((media.stream, media.sequence))
            found.append(media)
    return found


def _marks(tape: Tape) -> dict[tuple[str, int], list[int]]:
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for one in tape.of(stream.PlaybackMarked, stream.PlaybackCleared):
        event = one.event
        assert isinstance(event, stream.PlaybackMarked | stream.PlaybackCleared)
        found[event.reply, event.sentence].append(event.heard_ms)
    return found


def _repeats(text: str, heard: list[int]) -> set[int]:
    """Where a repeat may begin: the start of the sentence if nothing of it was ever marked, else the word's."""
    allowed = {0}
    for heard_ms in heard:
        allowed.add(heard_ms)
        allowed.add(heard_ms // 20 * 20)
        characters = heard_ms // voice.CHARACTER_MS
        begin = text.rfind(" ", 0, max(0, min(characters, len(text)))) + 1
        allowed.add(begin * voice.CHARACTER_MS)
    return allowed


def _heard_through(tape: Tape) -> Iterator[str]:
    """What was marked before a take began is not said in it again, but for the word that was cut."""
    texts: dict[tuple[str, int], str] = {}
    marks: dict[tuple[str, int], int] = {}
    known: dict[tuple[str, int], int] = {}  # when the take began
    started: set[tuple[str, int]] = set()
    latest = ""
    for one in tape.admitted:
        match one.event:
            case stream.StreamOpened() as event:
                latest = event.stream
            case turn.ReplySentence() as event:
                texts[event.reply, event.index] = plain(event.text)
            case turn.ReplyStarted() | turn.ReplyResumed():
                known = dict(marks)
            case call.CallAdopted(role="conversation"):
                known = dict(marks)
            case stream.PlaybackMarked() | stream.PlaybackCleared() as event:
                key = (event.reply, event.sentence)
                marks[key] = max(marks.get(key, 0), event.heard_ms)
            case stream.PlaybackStarted() as event if event.stream == latest:  # an older one's word may come late
                key = (event.reply, event.sentence)
                begin_ms = _word_begin(texts.get(key, ""), known.get(key, 0))
                if key in started and event.offset_ms < begin_ms - TOLERANCE_MS:
                    yield f"{key} {texts.get(key)!r} again from {event.offset_ms} ms, {known[key]} were heard"
                started.add(key)


def _word_begin(text: str, heard_ms: int) -> int:
    characters = max(0, heard_ms - TOLERANCE_MS) // voice.CHARACTER_MS
    if characters >= len(text) - 1:
        return heard_ms
    return (text.rfind(" ", 0, characters) + 1) * voice.CHARACTER_MS


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
    for events in tape.lives().values():
        ended_at = next((one.at for one in events if isinstance(one.event, call.CallEnded)), None)
        in_turns = {u for one in events if isinstance(one.event, turn.TurnTaken) for u in one.event.utterances}
        closed_at = max((one.at for one in events if isinstance(one.event, stream.StreamOpened)), default=0)
        for one in events:
            event = one.event
            if not isinstance(event, speech.TranscriptSettled) or not plain(event.text) or event.id in in_turns:
                continue
            gone_at = min((x.at for x in events if _is_gone(x.event) and x.at >= closed_at), default=1 << 62)
            if one.at + 6000 < min(ended_at or 1 << 62, gone_at):
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
    returned = defaultdict(int)
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


Check = Callable[[Tape], Iterator[str]]
CHECKS: dict[str, Check] = {
    "every call ends sealed": _sealed,
    "after the seal only the allowed": _late,
    "the chain holds": _chain,
    "every utterance is settled once": _settled_once,
    "the words are what was said": _words,
    "nothing is said twice": _said_once,
    "what was heard is not said again": _heard_through,
    "one reply at a time": _one_reply,
    "no reply without its cause": _causes,
    "every turn is answered once": _answered,
    "an utterance is in one turn": _utterances,
    "words become turns": _taken,
    "a tool takes effect once": _tools,
    "sentences follow each other": _sentences,
}
