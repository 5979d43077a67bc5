"""How values are kept: the same values in Python whatever the database, and its own types in PostgreSQL.

PostgreSQL knows no NUL in a text, and neither database keeps half of a surrogate pair: such characters become U+FFFD
on the way in, in both, so that both hold the same.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, String, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# What both databases and Python's calendar can say: the years 1 to 9999.
EARLIEST_MS = (datetime(1, 1, 2, tzinfo=UTC) - EPOCH) // MILLISECOND
LATEST_MS = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // MILLISECOND


def clean(text: str) -> str:
    """The text without characters that no database keeps."""
    text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Word(TypeDecorator[str]):
    """A short text: an id, a name, a code."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


class Prose(TypeDecorator[str]):
    """A text of any length."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


class Ordered(TypeDecorator[str]):
    """A word whose order is that of its code points in both databases, so that a beginning is a range of an index."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(collation="C") if dialect.name == "postgresql" else String())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


class Moment(TypeDecorator[int]):
    """Whole ms since 1970: `timestamptz` in PostgreSQL, the number itself in SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        wanted = DateTime(timezone=True) if dialect.name == "postgresql" else BigInteger()
        return dialect.type_descriptor(wanted)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        at = max(EARLIEST_MS, min(value, LATEST_MS))
        return EPOCH + at * MILLISECOND if dialect.name == "postgresql" else at

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return (value - EPOCH) // MILLISECOND if isinstance(value, datetime) else value


class Document(TypeDecorator[Any]):
    """Lists and dictionaries: JSONB in PostgreSQL."""

    impl = JSON
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        wanted = JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(wanted(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return _cleaned(value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _cleaned(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return value
