"""When `keep` of a task was switched off: from then on it has the notice period of the others."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an empty column: no row is rewritten."""
    op.execute("ALTER TABLE tasks ADD COLUMN IF NOT EXISTS unkept_at timestamptz")


def downgrade() -> None:
    """Drop `unkept_at`: an old task that is no longer kept expires at once, as before."""
    op.drop_column("tasks", "unkept_at")
