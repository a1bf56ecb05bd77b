"""What Alembic runs for every command: use the connection that `psg.migrate` hands over, one transaction a revision."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
