"""The words that can be searched: of each line, and of a call's latest summary. What is sealed is not among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, delete, exists, func, literal, select, union_all

from projections.statements import add, find
from projections.tables import calls, lines, summaries, texts
from projections.values import Handlers, Place, is_sealed
from projections.words import words_of
from schema.insight import CallSummarised
from schema.private import Private, Sealed
from schema.speech import TranscriptSettled
from schema.stream import TextTyped
from schema.turn import ReplySentence

BATCH = 1_000
_PARTITION_BITS = 48  # below them the position, and one bit for the summary


def number_of(partition: int, position: int, *, summary: bool = False) -> int:
    """The key of a text: of a line by its own record's place, of a summary by the place of its call's beginning."""
    return partition << _PARTITION_BITS | position << 1 | summary


def _line(connection: Connection, event: TranscriptSettled | TextTyped | ReplySentence, place: Place) -> None:
    _keep(connection, number_of(place.partition, place.position), place.life, "line", event.id, event.text)


def _summarised(connection: Connection, event: CallSummarised, place: Place) -> None:
    revisions = select(func.max(summaries.c.revision)).where(summaries.c.life == place.life)
    call = find(connection, calls, life=place.life)
    latest = connection.execute(revisions).scalar()
    if call is None or (latest is not None and latest > event.revision):
        return
    number = number_of(call["partition"], call["position"], summary=True)
    connection.execute(delete(texts).where(texts.c.number == number))
    _keep(connection, number, place.life, "summary", event.id, event.summary)


def _keep(connection: Connection, number: int, life: str, source: str, source_id: str, text: Private[str]) -> None:
    words = "" if isinstance(text, Sealed) else words_of(text)
    if words:
        row = {"number": number, "life": life, "source": source, "source_id": source_id, "words": words}
        add(connection, texts, row)


def rows_of_tables(connection: Connection) -> Iterator[list[dict[str, Any]]]:
    """Batches of rows for `texts`, from lines and summaries that were projected before there was a search."""
    spoken = select(
        lines.c.id, lines.c.life, lines.c.text, lines.c.position, calls.c.partition, literal("line").label("source")
    ).join(calls, calls.c.life == lines.c.life)
    newer = summaries.alias()
    revised = exists().where(newer.c.life == summaries.c.life, newer.c.revision > summaries.c.revision)
    summed = select(
        summaries.c.id, summaries.c.life, summaries.c.summary, calls.c.position, calls.c.partition, literal("summary")
    ).join(calls, calls.c.life == summaries.c.life)
    asked = union_all(spoken.where(lines.c.kind != "dtmf"), summed.where(~revised))
    found = connection.execute(asked, execution_options={"stream_results": True})
    while some := found.fetchmany(BATCH):
        rows = [_row(*values) for values in some if not is_sealed(values[2])]
        if filled := [row for row in rows if row["words"]]:
            yield filled


def _row(source_id: str, life: str, text: str, position: int, partition: int, source: str) -> dict[str, Any]:
    number = number_of(partition, position, summary=source == "summary")
    return {"number": number, "life": life, "source": source, "source_id": source_id, "words": words_of(text)}


HANDLERS: Handlers = {
    TranscriptSettled: _line,
    TextTyped: _line,
    ReplySentence: _line,
    CallSummarised: _summarised,
}
