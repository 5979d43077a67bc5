"""The calls: who spoke with whom through which door, and how it ended."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, update

from projections.statements import add, change
from projections.tables import calls
from projections.values import Handlers, Place, made_by, stored
from schema.call import CallEnded, CallReported, CallSealed, CallStarted, CallTransferred, ProfileUsed
from schema.speech import TranscriptSettled
from schema.turn import AgentChanged, ReplyStarted, ReplyVoiced, TurnTaken

COUNT_TURN = update(calls).where(calls.c.life == bindparam("of_life")).values(turns=calls.c.turns + 1)


def _set(connection: Connection, place: Place, **values: object) -> None:
    if values:
        change(connection, calls, {"life": place.life}, **values)


def _started(connection: Connection, event: CallStarted, place: Place) -> None:
    row = {
        "life": place.life,
        "call_id": event.call_id,
        "tenant_id": event.tenant_id,
        "user_id": event.user_id,
        "channel": event.channel,
        "from_number": stored(event.from_),
        "to_number": stored(event.to),
        "direction": event.direction,
        "agent": event.agent,
        "language": event.language,
        "partition": place.partition,
        "position": place.position,
        "started_at": place.at,
    }
    add(connection, calls, row)


def _profile_used(connection: Connection, event: ProfileUsed, place: Place) -> None:
    _set(connection, place, profile_hash=event.hash)


def _transferred(connection: Connection, event: CallTransferred, place: Place) -> None:
    _set(connection, place, transferred_to=stored(event.to))


def _reported(connection: Connection, event: CallReported, place: Place) -> None:
    _set(connection, place, carrier_status=event.status, carrier_reason=event.reason)


def _ended(connection: Connection, event: CallEnded, place: Place) -> None:
    duration_ms = event.duration_ms or place.clock_ms
    _set(connection, place, ended_at=place.at, reason=event.reason, duration_ms=duration_ms)


def _sealed(connection: Connection, event: CallSealed, place: Place) -> None:
    _set(connection, place, sealed_at=place.at, complete=event.complete, unheard=list(event.unheard))


def _agent_changed(connection: Connection, event: AgentChanged, place: Place) -> None:
    _set(connection, place, agent=event.agent)


def _turn_taken(connection: Connection, event: TurnTaken, place: Place) -> None:
    connection.execute(COUNT_TURN, {"of_life": place.life})


def _settled(connection: Connection, event: TranscriptSettled, place: Place) -> None:
    _set(connection, place, **made_by(event.made_by, "stt_"))


def _reply_started(connection: Connection, event: ReplyStarted, place: Place) -> None:
    _set(connection, place, **made_by(event.made_by))


def _voiced(connection: Connection, event: ReplyVoiced, place: Place) -> None:
    _set(connection, place, **made_by(event.made_by, "tts_"))


HANDLERS: Handlers = {
    CallStarted: _started,
    ProfileUsed: _profile_used,
    CallTransferred: _transferred,
    CallReported: _reported,
    CallEnded: _ended,
    CallSealed: _sealed,
    AgentChanged: _agent_changed,
    TurnTaken: _turn_taken,
    TranscriptSettled: _settled,
    ReplyStarted: _reply_started,
    ReplyVoiced: _voiced,
}
