"""The position of an event among those that callers have been given: decision 0056.

Ids are taken by INSERT, but transactions may commit in another order.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an empty column: no row is rewritten. Its values come from the sequence of the ids."""
    op.execute("ALTER TABLE task_events ADD COLUMN IF NOT EXISTS position bigint")
    op.execute("GRANT USAGE ON SEQUENCE task_events_id_seq TO worker")


def downgrade() -> None:
    """Drop `position`: an event that was committed late has its row's id again, as before."""
    op.execute("REVOKE USAGE ON SEQUENCE task_events_id_seq FROM worker")
    op.drop_column("task_events", "position")
