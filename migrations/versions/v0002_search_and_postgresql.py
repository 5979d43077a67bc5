"""The full-text search; PostgreSQL's own types; indexes for what is asked; whose call it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

Columns = TypeVar("Columns")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENTS = {
    "admissions": ["started_at"],
    "calls": ["started_at", "ended_at", "sealed_at"],
    "failures": ["at"],
    "replies": ["spoke_at"],
    "speech_moments": ["at"],
    "stream_measurements": ["at"],
    "streams": ["opened_at", "closed_at"],
    "summaries": ["at"],
}
DOCUMENTS = {
    "action_items": ["cites"],
    "admissions": ["roles", "sources", "superseded"],
    "calls": ["unheard"],
    "key_points": ["cites"],
    "stream_measurements": ["client"],
    "summaries": ["cites"],
    "tools": ["arguments", "result"],
    "turns": ["utterances"],
}
ORDERED = {"admissions": ["call_id"], "calls": ["call_id"]}
GONE: dict[str, list[tuple[str, ...]]] = {
    "calls": [("call_id",), ("started_at",), ("tenant_id", "started_at")],
    "failures": [("stage",)],
}
NEW: dict[str, list[tuple[str, ...]]] = {
    "calls": [
        ("call_id", "position"),
        ("started_at", "life"),
        ("tenant_id", "started_at", "life"),
        ("channel", "started_at", "life"),
        ("agent", "started_at", "life"),
        ("from_number", "started_at", "life"),
        ("to_number", "started_at", "life"),
        ("tenant_id", "user_id", "started_at", "life"),
    ],
    "action_items": [("done", "due")],
    "failures": [("stage", "at", "position")],
}
LIVE = "ended_at IS NULL AND sealed_at IS NULL"
SEARCH = {
    "postgresql": (
        "ALTER TABLE texts ADD COLUMN vector tsvector GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED",
        "CREATE INDEX ix_texts_vector ON texts USING gin (vector)",
    ),
    "sqlite": (
        (
            "CREATE VIRTUAL TABLE texts_index USING fts5(words, content='texts', content_rowid='number',"
            " tokenize='ascii')"
        ),
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
    ),
}


def upgrade() -> None:
    for table, columns in _each(GONE):
        op.drop_index(_name(table, columns), table_name=table)
    if op.get_bind().dialect.name == "postgresql":
        _to_its_own_types()
    for table, columns in _each(NEW):
        op.create_index(_name(table, columns), table, list(columns), unique=False)
    live = sa.text(LIVE)
    op.create_index(op.f("ix_calls_live"), "calls", ["started_at", "life"], sqlite_where=live, postgresql_where=live)
    _add_owners()
    _add_texts()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE texts_index")
    op.drop_index(op.f("ix_texts_life"), table_name="texts")
    op.drop_table("texts")
    with op.batch_alter_table("admissions") as admissions:
        admissions.drop_column("user_id")
    op.drop_index(op.f("ix_calls_live"), table_name="calls")
    for table, columns in _each(NEW):
        op.drop_index(_name(table, columns), table_name=table)
    if op.get_bind().dialect.name == "postgresql":
        _to_plain_types()
    for table, columns in _each(GONE):
        op.create_index(_name(table, columns), table, list(columns), unique=False)


def _each(named: Mapping[str, Sequence[Columns]]) -> list[tuple[str, Columns]]:
    return [(table, columns) for table, several in named.items() for columns in several]


def _name(table: str, columns: tuple[str, ...]) -> str:
    return str(op.f(f"ix_{table}_{'_'.join(columns)}"))


def _to_its_own_types() -> None:
    for table, column in _each(MOMENTS):
        # Whole numbers all the way: a quotient of floats could end a microsecond beside.
        moment = f"timestamptz 'epoch' + {column} * interval '1 millisecond'"
        op.alter_column(table, column, type_=sa.DateTime(timezone=True), postgresql_using=moment)
    for table, column in _each(DOCUMENTS):
        op.alter_column(table, column, type_=postgresql.JSONB(), postgresql_using=f"{column}::jsonb")
    for table, column in _each(ORDERED):
        op.alter_column(table, column, type_=sa.String(collation="C"))


def _to_plain_types() -> None:
    for table, column in _each(MOMENTS):
        milliseconds = f"(extract(epoch FROM {column}) * 1000)::bigint"
        op.alter_column(table, column, type_=sa.BigInteger(), postgresql_using=milliseconds)
    for table, column in _each(DOCUMENTS):
        op.alter_column(table, column, type_=sa.JSON(), postgresql_using=f"{column}::json")
    for table, column in _each(ORDERED):
        op.alter_column(table, column, type_=sa.String(collation="default"))


def _add_owners() -> None:
    """Whose call it is, for the admission of calls that live while this runs."""
    op.add_column("admissions", sa.Column("user_id", sa.String(), nullable=False, server_default=""))
    op.execute(
        "UPDATE admissions SET user_id = coalesce((SELECT c.user_id FROM calls c WHERE c.life = admissions.life), '')"
    )
    with op.batch_alter_table("admissions") as admissions:
        admissions.alter_column("user_id", existing_type=sa.String(), server_default=None)


def _add_texts() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    texts = op.create_table(
        "texts",
        sa.Column("number", number, autoincrement=False, nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_texts_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_texts")),
    )
    op.create_index(op.f("ix_texts_life"), "texts", ["life"], unique=False)
    for statement in SEARCH[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement)
    _fill(texts)


def _fill(texts: sa.Table) -> None:
    """From the rows that are there already, as the projector would have done."""
    # The one import of the program: what is a word has to be what the program's questions take for one.
    from projections.texts import rows_of_tables

    connection = op.get_bind()
    for rows in rows_of_tables(connection):
        connection.execute(sa.insert(texts), rows)
