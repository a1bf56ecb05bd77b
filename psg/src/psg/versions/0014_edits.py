"""Adds a task's `edit`, and the segment of the edit that a part belongs to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("edit", postgresql.JSONB))
    op.add_column("parts", sa.Column("segment", sa.Integer))
    op.add_column("parts", sa.Column("name", sa.Text))


def downgrade() -> None:
    op.drop_column("parts", "name")
    op.drop_column("parts", "segment")
    op.drop_column("tasks", "edit")
