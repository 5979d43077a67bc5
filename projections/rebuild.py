"""Builds all tables anew from the log."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from sqlalchemy import Connection, delete

from eventlog.port import Record
from projections.base import apply_batch
from projections.errors import translated
from projections.tables import METADATA

BATCH = 1_000  # records; a larger one gains nothing measurable


def clear(connection: Connection) -> None:
    """Empties every table, positions and admission state included."""
    with translated():
        for table in reversed(METADATA.sorted_tables):
            connection.execute(delete(table))


def rebuild(connection: Connection, records: Iterable[Record]) -> dict[int, int]:
    """Empties the tables and applies `records` from the first, in the caller's one transaction, so that readers see
    the old tables until it commits. Returns the next position of each partition.
    """
    clear(connection)
    reached: dict[int, int] = {}
    remaining = iter(records)
    while batch := list(islice(remaining, BATCH)):
        reached |= apply_batch(connection, batch)
    return reached
