"""The indexes of the full-text search: a generated `tsvector` with GIN in PostgreSQL, FTS5 over `texts` in SQLite.

Both belong to the database: whatever changes `texts` changes them in the same transaction, an erased call included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import DDL, ColumnElement, Select, bindparam, column, event, false, func, literal_column, select, table

from projections.tables import texts
from projections.words import Term, terms_of

POSTGRESQL = (
    "ALTER TABLE texts ADD COLUMN vector tsvector GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED",
    "CREATE INDEX ix_texts_vector ON texts USING gin (vector)",
)
# The tokenizer called ascii takes whatever is not ASCII for a part of a word, which it is here: `words` are split
# already, by newer tables of letters than SQLite's. `number` is the row's own id, which VACUUM leaves alone.
SQLITE = (
    ("CREATE VIRTUAL TABLE texts_index USING fts5(words, content='texts', content_rowid='number', tokenize='ascii')"),
    (
        "CREATE TRIGGER texts_added AFTER INSERT ON texts BEGIN"
        " INSERT INTO texts_index (rowid, words) VALUES (new.number, new.words); END"
    ),
    (
        "CREATE TRIGGER texts_removed AFTER DELETE ON texts BEGIN"
        " INSERT INTO texts_index (texts_index, rowid, words) VALUES ('delete', old.number, old.words); END"
    ),
    (
        "CREATE TRIGGER texts_changed AFTER UPDATE ON texts BEGIN"
        " INSERT INTO texts_index (texts_index, rowid, words) VALUES ('delete', old.number, old.words);"
        " INSERT INTO texts_index (rowid, words) VALUES (new.number, new.words); END"
    ),
)


def _said_to(dialect: str, statement: str) -> Any:
    order: Any = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
    return order.execute_if(dialect=dialect)


for _name, _statements in (("postgresql", POSTGRESQL), ("sqlite", SQLITE)):
    for _statement in _statements:
        event.listen(texts, "after_create", _said_to(_name, _statement))

_INDEX = table("texts_index", column("rowid"), column("texts_index"))
_VECTOR: ColumnElement[Any] = literal_column("texts.vector")
_SIMPLE: ColumnElement[str] = literal_column("'simple'")


def lives_that_mention(question: str, dialect: str) -> Select[tuple[str]]:
    """The lives in which one text has every word of the question."""
    terms = terms_of(question)
    found = select(texts.c.life)
    if not terms:
        return found.where(false())
    if dialect == "postgresql":
        return found.where(_VECTOR.op("@@")(func.to_tsquery(_SIMPLE, bindparam(None, _tsquery(terms)))))
    matching = select(_INDEX.c.rowid).where(_INDEX.c.texts_index.op("MATCH")(bindparam(None, _match(terms))))
    return found.where(texts.c.number.in_(matching))


def _tsquery(terms: Iterable[Term]) -> str:
    """Words hold letters, digits and marks alone: nothing in them needs an escape."""
    said = (" <-> ".join(f"'{word}'" for word in term.words) + (":*" if term.begins else "") for term in terms)
    return " & ".join(said)


def _match(terms: Iterable[Term]) -> str:
    said = (f'"{" ".join(term.words)}"' + (" *" if term.begins else "") for term in terms)
    return " AND ".join(said)
