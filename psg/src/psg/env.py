"""What Alembic runs for every command, on `psg.migrate`'s connection.

One transaction a revision.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
