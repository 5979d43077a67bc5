"""What must hold of sound: every word heard once, every millisecond said once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from calltape.simulation import voice
from calltape.simulation.tape import Admitted, Tape
from schema import call, speech, stream, turn
from schema.heard import TOLERANCE_MS
from schema.media import MediaReceived, MediaSpoken
from schema.private import plain
from schema.registry import unpack_media

# Speech shorter than the segmenter's confirmation may end a stream unheard.
UNCONFIRMED_MS = 120
UNCERTAIN_MS = 170  # a line's latency there and back: who hangs up has gone for so long before ingest can know
PIECE_MS = 200  # the longest piece of audio with a mark of its own


def callers_name(stream_id: str) -> str:
    """Ingest's own part of a stream's name, the end of an id of its process, follows the caller's."""
    return stream_id.rpartition(".")[0]


def settled_once(tape: Tape) -> Iterator[str]:
    through: dict[str, int] = {}
    for one in tape.of(speech.TranscriptSettled):
        event = one.event
        assert isinstance(event, speech.TranscriptSettled)
        if event.start_ms < through.get(event.stream, 0):
            yield f"{event.id} begins at {event.start_ms} ms of {event.stream}, heard to {through[event.stream]}"
        if event.through_ms < max(event.end_ms, through.get(event.stream, 0)):
            yield f"{event.id} goes back to {event.through_ms} ms"
        through[event.stream] = event.through_ms


def settled_for_something(tape: Tape) -> Iterator[str]:
    """A line without words closes speech that nobody understood; where no speech is open it says nothing."""
    speaking: set[str] = set()
    for one in tape.of(speech.SpeechStarted, speech.SpeechStopped, speech.TranscriptSettled):
        match one.event:
            case speech.SpeechStarted() as event:
                speaking.add(event.stream)
            case speech.SpeechStopped() as event:
                speaking.discard(event.stream)
            case speech.TranscriptSettled() as event if not plain(event.text) and event.stream not in speaking:
                yield f"{event.id} has no words and closes nothing at {event.through_ms} ms of {event.stream}"


def words_as_said(tape: Tape) -> Iterator[str]:
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
    heard = _heard_to_the_end(tape)
    given_up = {one.event.stream for one in tape.of(stream.StreamLost) if isinstance(one.event, stream.StreamLost)}
    for name, frames in tape.heard.items():
        # What a silent door sends after its stream was given up is nobody's any more.
        end_ms = heard[name].through_ms if name in given_up and name in heard else 1 << 62
        words, unsure = _words_on_log({at: frame for at, frame in frames.items() if frame.ms < end_ms})
        if said[name] == words or (unsure and said[name] == words[:-1]):
            continue
        is_prefix = said[name] == words[: len(said[name])]
        if (name in heard and heard[name].complete) or not is_prefix:
            yield f"{name}: settled {said[name]}, the log has {words}{' (the last one too short)' if unsure else ''}"


def _heard_to_the_end(tape: Tape) -> dict[str, speech.StreamHeard]:
    """By stream. What hearing says once the call is sealed does not count: its lines are void by then (R3)."""
    found: dict[str, speech.StreamHeard] = {}
    sealed: set[str] = set()
    for one in tape.of(speech.StreamHeard, call.CallSealed):
        match one.event:
            case call.CallSealed():
                sealed.add(one.life)
            case speech.StreamHeard() as event if one.life not in sealed:
                found[event.stream] = event
    return found


def _words_on_log(frames: dict[int, MediaReceived]) -> tuple[list[str], bool]:
    """The words, and whether the last one is too short at the stream's end to be found by a detector."""
    words: list[str] = []
    voiced_ms = 0
    silent_ms = 10_000
    for word in _pieces(frames):
        if word is None:
            silent_ms += voice.FRAME_MS
            continue
        voiced_ms = voiced_ms + voice.FRAME_MS if silent_ms < 300 else voice.FRAME_MS
        silent_ms = 0
        if word != voice.COUGH and (not words or words[-1] != voice.text_of(word)):
            words.append(voice.text_of(word))
    return words, bool(words) and voiced_ms < UNCONFIRMED_MS and silent_ms < 1300


def _pieces(frames: dict[int, MediaReceived]) -> Iterator[int | None]:
    """20 ms after 20 ms: the word each is a part of."""
    for sequence in sorted(frames):
        payload = frames[sequence].payload
        for begin in range(0, len(payload), voice.FRAME_BYTES):
            yield voice.word_in(payload[begin : begin + 2])


def said_once(tape: Tape) -> Iterator[str]:
    """No millisecond of a sentence goes out twice, but from the beginning of the word at the last mark on."""
    texts = {
        (one.event.reply, one.event.index): plain(one.event.text)
        for one in tape.of(turn.ReplySentence)
        if isinstance(one.event, turn.ReplySentence)
    }
    marks = _marks(tape)
    streams = [one.event.stream for one in tape.of(stream.StreamOpened) if isinstance(one.event, stream.StreamOpened)]
    epochs = {name: epoch for epoch, name in enumerate(streams)}
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
        if before is not None and epochs.get(media.stream, 0) < epochs.get(before[0], 0):
            continue  # a door that does not know yet plays to a socket nobody listens to
        if before is not None and media.offset_ms < before[1]:
            allowed = _repeats(text, marks.get(key, []))
            if media.offset_ms not in allowed:
                yield (
                    f"{key} {text!r}: {media.offset_ms} to {end_ms} ms on {media.stream} after {before[1]} ms on "
                    f"{before[0]}; a repeat may begin at {sorted(allowed)}"
                )
        written[key] = (media.stream, end_ms)


def as_recorded(tape: Tape) -> Iterator[str]:
    """What a caller received on a stream is what the log says was sent on it, from the first byte on.

    Either may be a little longer: a process that dies loses its last tick, a line that is cut what is on the way.
    """
    sent: dict[str, bytearray] = defaultdict(bytearray)
    for media in _in_order(tape):
        sent[callers_name(media.stream)].extend(media.payload)
    for name, received in tape.outcome.received.items():
        recorded = bytes(sent[name])
        length = min(len(received), len(recorded))
        if received[:length] != recorded[:length]:
            same = next(at for at in range(length) if received[at] != recorded[at])
            yield f"{name}: received {len(received)} bytes, recorded {len(recorded)}, equal up to {same}"
        if len(received) > len(recorded) and not tape.outcome.mishaps:
            yield f"{name}: {len(received) - len(recorded)} bytes were received that are not on the log"


def as_heard(tape: Tape) -> Iterator[str]:
    """Nothing counts as heard that the caller's ear was not given time for, on any line that held.

    A process that dies while the log is slow takes audio with it that was sent: where the record is short, the ear's
    place in a sentence cannot be told.
    """
    claimed: dict[tuple[str, str, int], int] = {}
    told: dict[tuple[str, int], int] = defaultdict(int)  # a sentence that goes on elsewhere counts from its beginning
    for one in tape.of(stream.PlaybackMarked, stream.PlaybackCleared):
        event = one.event
        assert isinstance(event, stream.PlaybackMarked | stream.PlaybackCleared)
        if event.heard_ms > told[event.reply, event.sentence]:
            told[event.reply, event.sentence] = event.heard_ms
            claimed[event.stream, event.reply, event.sentence] = event.heard_ms
    heard, sent = _heard_by_ear(tape)
    unsure = tape.outcome.broken | {name for name, audio in tape.outcome.received.items() if len(audio) > sent[name]}
    for key, heard_ms in claimed.items():
        if callers_name(key[0]) not in unsure and heard_ms > heard.get(key, 0) + UNCERTAIN_MS:
            yield f"{key}: {heard_ms} ms count as heard, the caller heard {heard.get(key, 0)}"


def heard_counts(tape: Tape) -> Iterator[str]:
    """What the caller's ear was given on a line that held until its end was told counts as heard, but for the last
    piece, which may be on its way back as an echo then."""
    told: dict[tuple[str, int], int] = defaultdict(int)
    for one in tape.of(stream.PlaybackMarked, stream.PlaybackCleared):
        event = one.event
        assert isinstance(event, stream.PlaybackMarked | stream.PlaybackCleared)
        told[event.reply, event.sentence] = max(told[event.reply, event.sentence], event.heard_ms)
    closed = {one.event.stream for one in tape.of(stream.StreamClosed) if isinstance(one.event, stream.StreamClosed)}
    heard, _ = _heard_by_ear(tape)
    for key, heard_ms in heard.items():
        counted_ms = told[key[1:]]
        held = key[0] in closed and callers_name(key[0]) not in tape.outcome.broken
        if held and heard_ms > counted_ms + PIECE_MS + UNCERTAIN_MS:
            yield f"{key}: the caller heard {heard_ms} ms, {counted_ms} count"


def _heard_by_ear(tape: Tape) -> tuple[dict[tuple[str, str, int], int], dict[str, int]]:
    """(stream, reply, sentence) -> how far into the sentence the caller really heard; and the bytes on record of each
    of the caller's streams."""
    found: dict[tuple[str, str, int], int] = {}
    sent: dict[str, int] = defaultdict(int)
    for media in _in_order(tape):
        name = callers_name(media.stream)
        begin, end = sent[name], sent[name] + len(media.payload)
        sent[name] = end
        for cut_from, cut_to in tape.outcome.unheard.get(name, ()):
            if cut_from < end and cut_to > begin:
                end = max(begin, cut_from)
        end = min(end, max(begin, len(tape.outcome.received.get(name, b""))))
        if end > begin:
            key = (media.stream, media.reply, media.sentence)
            found[key] = max(found.get(key, 0), media.offset_ms + (end - begin) // 8)
    return found, sent


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


def heard_once(tape: Tape) -> Iterator[str]:
    """What was marked before a take began is not said in it again, but for the word that was cut.

    What a new stream is sent begins where the log knew the caller to be when that stream opened: marks of the older
    one may come later.
    """
    for events in tape.lives().values():
        yield from _heard_once(events)


def _heard_once(events: list[Admitted]) -> Iterator[str]:
    texts: dict[tuple[str, int], str] = {}
    marks: dict[tuple[str, int], int] = {}
    known: dict[tuple[str, int], int] = {}  # when the take began
    started: dict[tuple[str, int], str] = {}  # the latest stream it began on
    at_opening: dict[tuple[str, int], int] = {}
    latest = ""
    for one in events:
        match one.event:
            case stream.StreamOpened() as event:
                latest, at_opening = event.stream, dict(marks)
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
                heard_ms = (known if started.get(key) == latest else at_opening).get(key, 0)
                if key in started and event.offset_ms < _word_begin(texts.get(key, ""), heard_ms) - TOLERANCE_MS:
                    yield f"{key} {texts.get(key)!r} again from {event.offset_ms} ms, {heard_ms} were heard"
                started[key] = latest


def _word_begin(text: str, heard_ms: int) -> int:
    characters = max(0, heard_ms - TOLERANCE_MS) // voice.CHARACTER_MS
    if characters >= len(text) - 1:
        return heard_ms
    return (text.rfind(" ", 0, characters) + 1) * voice.CHARACTER_MS
