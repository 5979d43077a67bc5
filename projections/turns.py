"""The turns, what answered them, and how long each stage took."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, delete, func, or_, select

from projections.statements import add, change, find
from projections.streams import played_ms
from projections.tables import calls, replies, speech_moments, tools, turns
from projections.values import Handlers, Place, made_by, stored
from schema.call import CallSealed
from schema.envelope import Event
from schema.speech import SpeechPaused, SpeechStarted, TranscriptRevised, TranscriptSettled
from schema.stream import DtmfPressed, PlaybackCleared, TextTyped
from schema.turn import ReplyComposed, ReplyFinished, ReplyInterrupted, ReplyResumed, ReplyStarted, TurnTaken


def _taken(connection: Connection, event: TurnTaken, place: Place) -> None:
    before = select(func.count()).select_from(turns).where(turns.c.life == place.life)
    speaker = _call(connection, place)
    row = {
        "id": event.id,
        "life": place.life,
        "position": place.position,
        "number": connection.execute(before).scalar_one() + 1,
        "taken_ms": place.clock_ms,
        "kind": event.kind,
        "text": stored(event.text),
        "utterances": list(event.utterances),
        "agent": speaker["agent"],
        "profile_hash": speaker["profile_hash"],
    }
    add(connection, turns, row)


def _call(connection: Connection, place: Place) -> RowMapping:
    call = find(connection, calls, life=place.life)
    if call is None:
        raise LookupError("the call has no row: its beginning could not be applied")
    return call


def _reply_started(connection: Connection, event: ReplyStarted, place: Place) -> None:
    speaker = _call(connection, place)
    turn = _turn_behind(connection, event, place)
    row = {
        "id": event.id,
        "life": place.life,
        "position": place.position,
        "started_ms": place.clock_ms,
        "why": event.why,
        "in_answer_to": event.in_answer_to,
        "turn": turn,
        "generation": event.generation,
        "agent": event.agent or speaker["agent"],
        "profile_hash": speaker["profile_hash"],
        "prompt_hash": event.prompt_hash,
        "seed": event.seed,
        **made_by(event.made_by),
    }
    add(connection, replies, row)
    if turn:
        change(connection, turns, {"id": turn, "life": place.life, "reply": ""}, reply=event.id)


def _turn_behind(connection: Connection, event: ReplyStarted, place: Place) -> str:
    """The turn a reply goes back to: named by it, by the reply that called its tool, or by who handed the call over."""
    if event.why == "turn":
        return event.in_answer_to
    if event.why == "handover":
        return _turn_before(connection, place)
    if event.why != "tool":
        return ""
    asked = (
        select(replies.c.turn)
        .join(tools, tools.c.reply == replies.c.id)
        .where(tools.c.life == place.life)
        .where(or_(tools.c.id == event.in_answer_to, tools.c.returned == event.in_answer_to))
    )
    return connection.execute(asked).scalar() or ""


def _turn_before(connection: Connection, place: Place) -> str:
    """Who was given the call goes on with the turn that its predecessor was answering."""
    earlier = select(replies.c.turn).where(replies.c.life == place.life, replies.c.position < place.position)
    return connection.execute(earlier.order_by(replies.c.position.desc()).limit(1)).scalar() or ""


def _composed(connection: Connection, event: ReplyComposed, place: Place) -> None:
    _set(connection, place, event.reply, sentences=event.sentences, hang_up=event.hang_up)


def _finished(connection: Connection, event: ReplyFinished, place: Place) -> None:
    spent = event.latency
    _set(
        connection,
        place,
        event.reply,
        finished_ms=place.clock_ms,
        interrupted=event.interrupted,
        endpoint=spent.endpoint,
        stt=spent.stt,
        agent_ms=spent.agent,
        tts=spent.tts,
        first_audio=spent.first_audio,
        heard=spent.heard,
    )


def _interrupted(connection: Connection, event: ReplyInterrupted, place: Place) -> None:
    spoke_at = None
    if event.why == "barge_in":
        speech = find(connection, speech_moments, id=event.cause, life=place.life)
        spoke_at = None if speech is None else speech["at"]
    _set(connection, place, event.reply, interrupted=True, interrupted_why=event.why, spoke_at=spoke_at)


def _resumed(connection: Connection, event: ReplyResumed, place: Place) -> None:
    _set(connection, place, event.reply, generation=event.generation)
    if event.why == "false_barge_in":
        _set(connection, place, event.reply, interrupted=False, interrupted_why="", spoke_at=None)


def _cleared(connection: Connection, event: PlaybackCleared, place: Place) -> None:
    """From the event in which the caller was heard to speak to the moment playback fell silent."""
    reply = find(connection, replies, id=event.reply, life=place.life)
    if reply is not None and reply["spoke_at"] is not None and reply["barge_in"] is None:
        # Of two words on it the earlier: the log may have been away, and the stream's clock may run ahead of it.
        silent_at = min(place.at, place.started_at + played_ms(connection, event, place))
        _set(connection, place, event.reply, barge_in=max(0, silent_at - reply["spoke_at"]))


def _remember(connection: Connection, event: Event, place: Place) -> None:
    add(connection, speech_moments, {"id": event.id, "life": place.life, "at": place.at})


def _sealed(connection: Connection, event: CallSealed, place: Place) -> None:
    connection.execute(delete(speech_moments).where(speech_moments.c.life == place.life))


def _set(connection: Connection, place: Place, reply: str, **values: object) -> None:
    change(connection, replies, {"id": reply, "life": place.life}, **values)


HANDLERS: Handlers = {
    TurnTaken: _taken,
    ReplyStarted: _reply_started,
    ReplyComposed: _composed,
    ReplyFinished: _finished,
    ReplyInterrupted: _interrupted,
    ReplyResumed: _resumed,
    PlaybackCleared: _cleared,
    CallSealed: _sealed,
    **dict.fromkeys((SpeechStarted, SpeechPaused, TranscriptRevised, TranscriptSettled), _remember),
    **dict.fromkeys((DtmfPressed, TextTyped), _remember),
}
