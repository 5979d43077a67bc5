"""What alembic runs for every step, on the connection that `migrations.run` put into the configuration."""

from __future__ import annotations

from alembic import context

from projections.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,  # our SQLite connections begin their transactions themselves
)
with context.begin_transaction():
    context.run_migrations()
