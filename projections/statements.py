"""The three statements handlers need, built once for each shape: building them anew costs more than running them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, RowMapping, Select, Table, Update, bindparam, insert, select, update


def add(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Inserts one row."""
    connection.execute(_insert(table), row)


def change(connection: Connection, table: Table, where: Mapping[str, Any], **values: Any) -> int:
    """Sets columns of the rows whose columns equal `where`; returns how many there were."""
    given = {f"if_{name}": value for name, value in where.items()} | {f"to_{name}": values[name] for name in values}
    return connection.execute(_update(table, tuple(where), tuple(values)), given).rowcount


def find(connection: Connection, table: Table, **where: Any) -> RowMapping | None:
    """The latest row whose columns equal `where`."""
    given = {f"if_{name}": value for name, value in where.items()}
    return connection.execute(_select(table, tuple(where)), given).mappings().first()


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


@cache
def _update(table: Table, where: tuple[str, ...], values: tuple[str, ...]) -> Update:
    same = [table.c[name] == bindparam(f"if_{name}") for name in where]
    return update(table).where(*same).values({table.c[name]: bindparam(f"to_{name}") for name in values})


@cache
def _select(table: Table, where: tuple[str, ...]) -> Select[Any]:
    same = [table.c[name] == bindparam(f"if_{name}") for name in where]
    latest = [table.c.position.desc()] if "position" in table.c else []
    return select(table).where(*same).order_by(*latest).limit(1)
