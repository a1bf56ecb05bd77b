"""What callers say of a task for their own use: a name, an id and metadata."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("name", sa.Text))
    op.add_column("tasks", sa.Column("external_id", sa.Text))
    # JSON, not JSONB: callers get back what they sent, and 1e308 does not become 309 digits.
    op.add_column("tasks", sa.Column("metadata", sa.JSON))


def downgrade() -> None:
    for column in ("metadata", "external_id", "name"):
        op.drop_column("tasks", column)
