"""Whether what came of work begun earlier may still be said."""

from __future__ import annotations

from schema.call import CallTransferred
from schema.envelope import Event
from schema.failure import WorkFailed
from schema.turn import AgentChanged, ReplyComposed, ReplySentence, ReplyVoiced, ToolCalled, ToolReturned
from workers.callstate import CallState


def still_fits(state: CallState, draft: Event) -> bool:
    """A reply that was interrupted, composed or given up takes nothing more."""
    reply = state.talk.reply
    match draft:
        case ReplySentence():
            fits = reply is not None and reply.id == draft.reply and reply.generation == draft.generation
            return fits and reply is not None and not reply.interrupted and not reply.composed
        case ReplyComposed() | ToolCalled():
            return reply is not None and reply.id == draft.reply and not reply.interrupted and not reply.composed
        case ReplyVoiced():
            named = reply is not None and reply.id == draft.reply
            sentences = reply.sentences if reply is not None else ()
            return named and any(s.index == draft.index and s.duration_ms is None for s in sentences)
        case ToolReturned():
            return any(tool.id == draft.call for tool in state.talk.tools)
        case AgentChanged():
            # Said again by who goes on with the reply after a takeover: the call is handed over once.
            is_open = reply is not None and reply.id == draft.cause and not reply.interrupted and not reply.composed
            return is_open and state.talk.agent != draft.agent
        case CallTransferred():
            # The carrier did it, even if the call ended meanwhile; of two answers to one wish, the first.
            return draft.cause == state.life.transfer_wanted[0] or not state.life.transferred
        case WorkFailed(stage="transfer"):
            return state.life.transfer_owed is not None and state.life.transfer_owed[0] == draft.cause
        case WorkFailed(stage="hang_up"):
            return state.life.hang_up_owed
        case _:
            return not state.life.ended_at
