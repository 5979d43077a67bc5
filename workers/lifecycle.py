"""Is the call alive: pure `fold` and `owed` over streams, silence of the wire, the end and the seal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from schema import call, failure, speech, stream, turn
from schema.envelope import AnyEvent
from schema.private import plain
from workers.life import Life, LifeRules, Line
from workers.talk import Decision, End, Lose, Seal, Supersede, Wait

TERMINAL = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})


Fold = Callable[[Life, Any, int, int], Life]


def fold(life: Life, event: AnyEvent, position: int, at: int) -> Life:
    """The state after one admitted event."""
    step = STEPS.get(type(event))
    return life if step is None else step(life, event, position, at)


def owed(life: Life) -> tuple[Decision, ...]:
    """What the state demands: one decision, or timers."""
    if not life.started_id or life.sealed:
        return ()
    for rule in RULES:
        decision = rule(life)
        if decision is not None:
            return (decision,)
    return waits(life)


def _supersede(life: Life) -> Decision | None:
    newest = life.newest
    for line in life.lines.values():
        if newest is not None and line.epoch < newest.epoch and not line.gone and not line.outdated:
            return Supersede(line.id, newest.id)
    return None


def _lose(life: Life) -> Decision | None:
    return next((Lose(line.id) for line in life.lines.values() if line.silent and not line.gone), None)


def _end(life: Life) -> Decision | None:
    return End(life.end_wanted) if life.end_wanted and not life.ended_at else None


def _seal(life: Life) -> Decision | None:
    # Only who has read the end back knows every stream that was opened before it.
    if not life.ended_position or life.open_reply or life.open_tools:
        return None
    unheard = tuple(line.id for line in life.lines.values() if not (line.heard and line.heard_whole))
    if all(line.gone and line.heard for line in life.lines.values()):
        return Seal(not unheard, unheard)
    return Seal(False, unheard) if life.seal_now else None


RULES: tuple[Callable[[Life], Decision | None], ...] = (_supersede, _lose, _end, _seal)


def waits(life: Life) -> tuple[Wait, ...]:
    """The timers of a call's life, in log time."""
    rules = life.rules
    found = [
        Wait(f"ingest:{line.id}", line.reported_at + rules.ingest_silent_ms, of_absence=True)
        for line in life.lines.values()
        if not line.gone
    ]
    if life.ended_at:
        return (*found, Wait("seal", life.ended_at + rules.seal_ms))
    found.append(Wait("longest", life.started_at + rules.longest_ms))
    if life.line is None:
        until = life.streamless_at + rules.grace_ms
        if life.transfer_owed is not None:
            # The carrier may have taken the caller away: nobody hangs up on them before it was asked (again).
            until = max(until, life.transfer_since + rules.transfer_ms)
        found.append(Wait("grace", until, of_absence=True))
    else:
        found.append(Wait("idle", life.active_at + rules.idle_ms, of_absence=True))
    return tuple(found)


def _call_started(life: Life, event: call.CallStarted, position: int, at: int) -> Life:
    return Life(
        rules=life.rules,
        call_id=event.call_id,
        tenant_id=event.tenant_id,
        channel=event.channel,
        started_id=event.id,
        started_at=at,
        streamless_at=at,
        active_at=at,
    )


def _stream_opened(life: Life, event: stream.StreamOpened, position: int, at: int) -> Life:
    if event.stream in life.lines:
        return life
    spoken = event.spoken
    line = Line(
        event.stream,
        len(life.lines) + 1,
        event.door,
        event.mailbox,
        spoken.encoding,
        spoken.sample_rate,
        position,
        reported_at=at,
        channels=spoken.channels,
        packet_ms=spoken.packet_ms,
    )
    return replace(life, lines={**life.lines, event.stream: line}, active_at=at)


def _stream_degraded(life: Life, event: stream.StreamDegraded, position: int, at: int) -> Life:
    return _with_line(life, event.stream, at, degraded=True)


def _stream_measured(life: Life, event: stream.StreamMeasured, position: int, at: int) -> Life:
    line = life.lines.get(event.stream)
    if line is None:
        return life
    active_at = at if event.frames > line.frames else life.active_at
    return _with_line(replace(life, active_at=active_at), event.stream, at, reported_at=at, frames=event.frames)


def _stream_closed(life: Life, event: stream.StreamClosed, position: int, at: int) -> Life:
    if event.stream not in life.lines:
        return life
    is_current = life.line is not None and life.line.id == event.stream
    gone = _with_line(life, event.stream, at, gone=event.reason, last_sequence=event.last_sequence)
    # A carrier that was told to transfer takes the caller away, perhaps before its order is on the log.
    is_taken_away = life.transferred or life.transfer_owed is not None
    if event.reason == "stop" and not is_taken_away and is_current:
        return _wants_end(gone, "caller_hung_up")
    if event.reason == "too_long":
        return _wants_end(gone, "too_long")
    return gone


def _stream_lost(life: Life, event: stream.StreamLost, position: int, at: int) -> Life:
    return _with_line(life, event.stream, at, gone="lost")


def _stream_superseded(life: Life, event: stream.StreamSuperseded, position: int, at: int) -> Life:
    return _with_line(life, event.stream, at, outdated=True)


def _stream_heard(life: Life, event: speech.StreamHeard, position: int, at: int) -> Life:
    return _with_line(life, event.stream, at, heard=True, heard_whole=event.complete)


def _with_line(life: Life, stream_id: str, at: int, **changes: Any) -> Life:
    line = life.lines.get(stream_id)
    if line is None:
        return life
    changed = replace(life, lines={**life.lines, stream_id: replace(line, **changes)})
    if life.line is not None and changed.line is None:
        return replace(changed, streamless_at=at)
    return changed


def _caller_acted(life: Life, event: Any, position: int, at: int) -> Life:
    return _with_line(replace(life, active_at=at), event.stream, at, reported_at=at)


def _playback(life: Life, event: Any, position: int, at: int) -> Life:
    return _with_line(life, event.stream, at, reported_at=at)


def _request_made(life: Life, event: call.RequestMade, position: int, at: int) -> Life:
    if event.kind == "transfer":
        return replace(life, transfer_wanted=(event.id, plain(event.to)), transfer_since=at)
    return _wants_end(life, "request") if event.kind == "hang_up" else life


def _call_transferred(life: Life, event: call.CallTransferred, position: int, at: int) -> Life:
    is_newest = event.cause == life.transfer_wanted[0]
    wanted = ("", "") if is_newest else life.transfer_wanted
    return _wants_end(replace(life, transferred=True, transfer_wanted=wanted), "transferred")


def _call_adopted(life: Life, event: call.CallAdopted, position: int, at: int) -> Life:
    return replace(life, transfer_since=at) if event.role == "conversation" else life


def _work_failed(life: Life, event: failure.WorkFailed, position: int, at: int) -> Life:
    """The carrier does not transfer: the call goes on with the caller, if there still is one."""
    if event.stage != "transfer" or (event.cause and event.cause != life.transfer_wanted[0]):
        return life
    life = replace(life, transfer_wanted=("", ""))
    if event.code == "call_over" or (life.newest is not None and life.newest.gone == "stop"):
        return _wants_end(life, "caller_hung_up")
    return replace(life, streamless_at=at) if life.line is None else life


def _call_reported(life: Life, event: call.CallReported, position: int, at: int) -> Life:
    if event.status not in TERMINAL:
        return replace(life, active_at=at)
    return _wants_end(life, "caller_hung_up" if event.status == "completed" else f"carrier_{event.status}")


def _reply_started(life: Life, event: turn.ReplyStarted, position: int, at: int) -> Life:
    return replace(life, open_reply=event.id)


def _reply_composed(life: Life, event: turn.ReplyComposed, position: int, at: int) -> Life:
    return replace(life, goodbye={event.reply: event.hang_up}) if event.hang_up else life


def _reply_finished(life: Life, event: turn.ReplyFinished, position: int, at: int) -> Life:
    reason = life.goodbye.get(event.reply, "")
    life = replace(life, open_reply="" if life.open_reply == event.reply else life.open_reply)
    # A goodbye that was talked over is taken back: the caller still wants something.
    return _wants_end(life, reason) if reason and not event.interrupted else life


def _tool_called(life: Life, event: turn.ToolCalled, position: int, at: int) -> Life:
    return replace(life, open_tools=life.open_tools | {event.id})


def _tool_returned(life: Life, event: turn.ToolReturned, position: int, at: int) -> Life:
    return replace(life, open_tools=life.open_tools - {event.call})


TIMER_ENDS = {"longest": "too_long", "idle": "idle", "grace": "grace_over"}


def _timer_rang(life: Life, event: turn.TimerRang, position: int, at: int) -> Life:
    if event.role != "conversation":
        return life
    if event.name in TIMER_ENDS:
        # The timer rang for what the log said when it was due: what came in between may have ended its reason.
        still_due = any(wait.name == event.name and wait.until <= event.due for wait in waits(life))
        return _wants_end(life, TIMER_ENDS[event.name]) if still_due else life
    if event.name.startswith("ingest:"):
        stream_id = event.name.removeprefix("ingest:")
        line = life.lines.get(stream_id)
        if line is not None and line.reported_at + life.rules.ingest_silent_ms <= event.due:
            return _with_line(life, stream_id, at, silent=True)
    return replace(life, seal_now=True) if event.name == "seal" else life


def _wants_end(life: Life, reason: str) -> Life:
    return life if life.end_wanted else replace(life, end_wanted=reason)


def _call_ended(life: Life, event: call.CallEnded, position: int, at: int) -> Life:
    return replace(
        life, ended_at=at, ended_position=position, end_reason=event.reason, end_wanted=life.end_wanted or event.reason
    )


def _call_sealed(life: Life, event: call.CallSealed, position: int, at: int) -> Life:
    return replace(life, sealed=True)


STEPS: dict[type[msgspec.Struct], Fold] = {
    call.CallStarted: _call_started,
    call.CallAdopted: _call_adopted,
    call.CallTransferred: _call_transferred,
    call.CallReported: _call_reported,
    failure.WorkFailed: _work_failed,
    call.RequestMade: _request_made,
    call.CallEnded: _call_ended,
    call.CallSealed: _call_sealed,
    stream.StreamOpened: _stream_opened,
    stream.StreamDegraded: _stream_degraded,
    stream.StreamMeasured: _stream_measured,
    stream.StreamClosed: _stream_closed,
    stream.StreamLost: _stream_lost,
    stream.StreamSuperseded: _stream_superseded,
    stream.DtmfPressed: _caller_acted,
    stream.TextTyped: _caller_acted,
    stream.TurnReleased: _caller_acted,
    stream.PlaybackStarted: _playback,
    stream.PlaybackMarked: _playback,
    stream.PlaybackCleared: _playback,
    speech.StreamHeard: _stream_heard,
    turn.ReplyStarted: _reply_started,
    turn.ReplyComposed: _reply_composed,
    turn.ReplyFinished: _reply_finished,
    turn.ToolCalled: _tool_called,
    turn.ToolReturned: _tool_returned,
    turn.TimerRang: _timer_rang,
}


__all__ = ["RULES", "TERMINAL", "Life", "LifeRules", "Line", "fold", "owed", "waits"]
