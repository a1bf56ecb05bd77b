"""What Alembic runs for every command: use the connection that `psg.migrate` hands over, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
