"""An undisturbed call as chaos places it: its events as they stood on a real log, its tables, and its caller."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from calltape.chaos.calling import Placed, shown_of
from calltape.chaos.told import Told, Utterance
from clients.report import CallReport
from eventlog.port import Record
from projections.queries import call_details
from schema.envelope import type_of
from schema.registry import decode
from schema.topics import EVENTS
from tests.support.databases import Database

BEGAN_AT = 1_770_000_000_000
FILE = Path(__file__).with_name("chaos_call.jsonl")
# On the carrier's clock: hearing puts the edges of words 100 ms later.
SAID = (
    Utterance("remind me to pay the rent on monday", 1, 3840, 6213),
    Utterance("yes that is right", 1, 10900, 12060),
    Utterance("what can you do", 1, 15400, 16480),
    Utterance("that is all thank you", 1, 19440, 20836),
)


@cache
def a_real_call() -> tuple[Record, ...]:
    """Every event of the call, in the log's order and with the log's times."""
    found = []
    for position, line in enumerate(FILE.read_text().splitlines()):
        event = json.loads(line)
        at = BEGAN_AT + event.pop("at")
        found.append(Record(EVENTS.name, 0, position, at, event["call_id"], json.dumps(event).encode()))
    return tuple(found)


def place_of(records: Sequence[Record], kind: str, which: int) -> int:
    """Where in the list the first, second, … event of a kind stands."""
    places = [number for number, record in enumerate(records) if type_of(decode(record.value)) == kind]
    return places[which - 1]


def told(database: Database, records: Sequence[Record], said: Sequence[Utterance] = SAID) -> Told:
    """What chaos gathers of a call of these events, from an empty database."""
    database.rebuilt(records)
    details = database.run(lambda engine: call_details(engine, records[0].key))
    return Told(shown_of(details), b"", b"", (), without_frames(records), said, details)


def without_frames(records: Sequence[Record]) -> list[Record]:
    """Its sound is not kept here: no door knows of a frame."""
    return [record for record in records if type_of(decode(record.value)) != "stream.closed"]


def placed(told: Told, *, streams: int = 1, missed: str = "", failures: Sequence[str] = ()) -> Placed:
    report = CallReport(call_id="CA1", streams=streams, failures=list(failures))
    return Placed(told, report, missed)


def changed(records: Sequence[Record], place: int, **fields: object) -> list[Record]:
    """With other fields of one event."""
    found = list(records)
    found[place] = replace(found[place], value=json.dumps(json.loads(found[place].value) | fields).encode())
    return found
