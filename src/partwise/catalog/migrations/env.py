"""Run by Alembic: migrate on the connection that ``schema.migrate`` holds, inside its transaction."""

from alembic import context

from partwise.catalog.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # Alembic assumes that SQLite cannot undo DDL, as the driver's own transactions cannot; begun by us, it can.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
