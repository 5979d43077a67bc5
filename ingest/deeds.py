"""What a person does on a socket besides speaking, as facts."""

from __future__ import annotations

from ingest.desk import Desk
from ingest.dialects import base
from ingest.lane import Line
from schema.admit import WISHES
from schema.call import RequestMade
from schema.stream import DtmfPressed, TextTyped, TurnReleased

Deed = base.Digit | base.Typed | base.Released | base.Wished


def put_down(desk: Desk, line: Line, deed: Deed, *, user_id: str) -> None:
    """One fact a deed. Wishes have a source of their own, which outlives the stream they came on."""
    match deed:
        case base.Digit(digit):
            desk.say(line, DtmfPressed, digit=digit)
        case base.Typed(text):
            desk.say(line, TextTyped, text=text)
        case base.Released():
            desk.say(line, TurnReleased)
        case base.Wished(kind):
            wish = RequestMade(
                id=desk.new_id(),
                call_id=line.call_id,
                tenant_id=line.tenant_id,
                source=line.stream + WISHES,
                sequence=line.next_sequence(),
                kind=kind,
                by=user_id,
            )
            desk.tape.say(wish, line.partition)
