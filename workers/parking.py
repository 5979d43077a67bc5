"""The last words on a call whose events could not be understood, or of which one can never be written."""

from __future__ import annotations

from collections.abc import Callable

from schema.call import CallEnded, CallSealed
from schema.envelope import Event
from schema.failure import WorkFailed


def last_words(call_id: str, new_id: Callable[[], str]) -> list[Event]:
    """It failed, it is over, nothing more will be said."""
    message = "the call's events could not be understood, or one of them is too large to be written"
    return [
        WorkFailed(id=new_id(), call_id=call_id, stage="fold", code="not_understood", message=message),
        CallEnded(id=new_id(), call_id=call_id, reason="failed"),
        CallSealed(id=new_id(), call_id=call_id, complete=False),
    ]
