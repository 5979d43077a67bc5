"""From decisions to the events that say them."""

from __future__ import annotations

from collections.abc import Callable

from schema.call import CallEnded, CallSealed
from schema.envelope import Event, MadeBy
from schema.stream import StreamLost, StreamSuperseded
from schema.turn import (
    Latency,
    ReplyFinished,
    ReplyInterrupted,
    ReplyResumed,
    ReplyStarted,
    ToolReturned,
    TurnTaken,
)
from workers.callstate import CallState
from workers.talk import (
    Decision,
    End,
    Finish,
    Interrupt,
    Lose,
    Reply,
    Resume,
    ReturnUnknown,
    Seal,
    StartReply,
    Supersede,
    TakeTurn,
)


def draft(
    decision: Decision, state: CallState, *, new_id: Callable[[], str], now: int, made_by: MadeBy | None
) -> Event:
    """The event that says a decision. The writer adds `prior`, `role` and tenant."""
    id_, call_id = new_id(), state.life.call_id
    match decision:
        case TakeTurn():
            return TurnTaken(
                id=id_,
                call_id=call_id,
                utterances=decision.utterances,
                text=decision.text,
                kind=decision.kind,  # type: ignore[arg-type]
                cause=decision.utterances[-1],
            )
        case StartReply():
            return ReplyStarted(
                id=id_,
                call_id=call_id,
                why=decision.why,  # type: ignore[arg-type]
                in_answer_to=decision.in_answer_to,
                agent=str((state.profile_body or {}).get("name", state.talk.agent)),
                prompt_hash=state.profile_hash,
                made_by=made_by,
                cause=decision.in_answer_to,
            )
        case _:
            return _draft_rest(decision, state, id_, now)


def _draft_rest(decision: Decision, state: CallState, id_: str, now: int) -> Event:
    """What becomes of a reply that was started."""
    call_id = state.life.call_id
    match decision:
        case Interrupt():
            return ReplyInterrupted(
                id=id_,
                call_id=call_id,
                reply=decision.reply,
                why=decision.why,  # type: ignore[arg-type]
                cause=decision.cause,
            )
        case Resume():
            return ReplyResumed(
                id=id_,
                call_id=call_id,
                reply=decision.reply,
                generation=decision.generation,
                after_index=decision.after_index,
                why=decision.why,  # type: ignore[arg-type]
            )
        case Finish():
            latency = _latency(state.talk.reply) if state.talk.reply is not None else Latency()
            return ReplyFinished(
                id=id_, call_id=call_id, reply=decision.reply, interrupted=decision.interrupted, latency=latency
            )
        case _:
            return _draft_life(decision, state, id_, now)


def _draft_life(decision: Decision, state: CallState, id_: str, now: int) -> Event:
    call_id = state.life.call_id
    match decision:
        case ReturnUnknown():
            message = "its owner died before it returned"
            return ToolReturned(id=id_, call_id=call_id, call=decision.call, status="unknown", message=message)
        case End():
            duration_ms = max(0, now - state.life.started_at)
            return CallEnded(id=id_, call_id=call_id, reason=decision.reason, duration_ms=duration_ms)
        case Supersede():
            return StreamSuperseded(id=id_, call_id=call_id, stream=decision.stream, by=decision.by)
        case Lose():
            return StreamLost(id=id_, call_id=call_id, stream=decision.stream)
        case Seal():
            return CallSealed(id=id_, call_id=call_id, complete=decision.complete, unheard=decision.unheard)
        case _:
            raise AssertionError(f"no event says {decision!r}")


def _latency(reply: Reply) -> Latency:
    """Every stage from the log's own times; None where the log does not know."""
    first = reply.sentences[0] if reply.sentences else None
    begun = min((s.started_at for s in reply.sentences if s.started_at), default=0)
    over = max((s.started_at for s in reply.sentences if s.over), default=0)
    turn = reply.turn
    voiced_at = turn.voiced_at if turn is not None else 0
    return Latency(
        endpoint=_span(voiced_at, turn.at) if turn else None,
        stt=_span(voiced_at, turn.settled_at) if turn else None,
        agent=_span(turn.at, first.at) if turn and first else None,
        tts=_span(first.at, begun) if first else None,
        first_audio=_span(voiced_at, begun),
        heard=_span(begun, reply.touched_at) if over else None,
    )


def _span(begin: int, end: int) -> int | None:
    return max(0, end - begin) if begin and end else None
